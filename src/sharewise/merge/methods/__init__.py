"""The methods, one a file."""

from ._bmm import BMM
from ._breadcrumbs import Breadcrumbs, BreadcrumbsTies
from ._dare import DareLinear, DareTies
from ._della import Della, DellaLinear
from ._fisher import Fisher
from ._iso import IsoC, IsoCTS
from ._karcher import Karcher
from ._knots import KnOTS
from ._linear import Linear
from ._lines import LiNeS
from ._m2a import M2A
from ._masks import EMR, Consensus, Tall
from ._model_stock import ModelStock
from ._multislerp import MultiSlerp
from ._nearswap import NearSwap
from ._nuslerp import NuSlerp
from ._passthrough import Passthrough
from ._pcb import PCB
from ._regmean import RegMean
from ._sce import SCE
from ._slerp import Slerp
from ._task_arithmetic import TaskArithmetic
from ._ties import Ties
from ._tsv import TSV
from ._wudi import WUDI

__all__ = [
    "BMM",
    "EMR",
    "M2A",
    "PCB",
    "SCE",
    "TSV",
    "WUDI",
    "Breadcrumbs",
    "BreadcrumbsTies",
    "Consensus",
    "DareLinear",
    "DareTies",
    "Della",
    "DellaLinear",
    "Fisher",
    "IsoC",
    "IsoCTS",
    "Karcher",
    "KnOTS",
    "LiNeS",
    "Linear",
    "ModelStock",
    "MultiSlerp",
    "NearSwap",
    "NuSlerp",
    "Passthrough",
    "RegMean",
    "Slerp",
    "Tall",
    "TaskArithmetic",
    "Ties",
]
