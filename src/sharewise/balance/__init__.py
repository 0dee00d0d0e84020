"""How several losses become one update: ``backward()``, one method a file."""

from ._accumulate import Accumulation
from ._aim import AIM
from ._aligned_mtl import AlignedMTL
from ._alpha_fairness import alpha_fairness
from ._backward import backward
from ._balance import Balance
from ._balancer import Balancer, GradientBalancer, GramBalancer, LossBalancer, remembers_rows
from ._cagrad import CAGrad
from ._config import ConFIG
from ._constant import Constant
from ._db_mtl import DBMTL
from ._dualproj import DualProj
from ._dwa import DWA
from ._equal import Equal
from ._excess_mtl import ExcessMTL
from ._fairgrad import FairGrad
from ._famo import FAMO
from ._gcond import Decision, GCond
from ._gls import GLS
from ._graddrop import GradDrop
from ._gradnorm import GradNorm
from ._gradvac import GradVac
from ._guided import GuidedBalancer
from ._imtl_g import IMTLG
from ._imtl_l import IMTLL
from ._krum import Krum
from ._measure import measure
from ._mgda import MGDA
from ._moco import MoCo
from ._modo import MoDo
from ._nashmtl import NashMTL
from ._outer import OuterUpdate
from ._owo_fmtl import OWOFMTL
from ._pcgrad import PCGrad
from ._recorder import Recorder
from ._reducer import MeanReducer, Reducer
from ._registry import available, create
from ._rlw import RLW
from ._rotograd import RotoGrad
from ._scale_invariant import ScaleInvariant
from ._sdmgrad import SDMGrad
from ._shared import layers
from ._stch import STCH
from ._take import MODES
from ._task_rows import TaskRows
from ._trimmed_mean import TrimmedMean
from ._uncertainty import Uncertainty
from ._upgrad import UPGrad

__all__ = [
    "AIM",
    "DBMTL",
    "DWA",
    "FAMO",
    "GLS",
    "IMTLG",
    "IMTLL",
    "MGDA",
    "MODES",
    "OWOFMTL",
    "RLW",
    "STCH",
    "Accumulation",
    "AlignedMTL",
    "Balance",
    "Balancer",
    "CAGrad",
    "ConFIG",
    "Constant",
    "Decision",
    "DualProj",
    "Equal",
    "ExcessMTL",
    "FairGrad",
    "GCond",
    "GradDrop",
    "GradNorm",
    "GradVac",
    "GradientBalancer",
    "GramBalancer",
    "GuidedBalancer",
    "Krum",
    "LossBalancer",
    "MeanReducer",
    "MoCo",
    "MoDo",
    "NashMTL",
    "OuterUpdate",
    "PCGrad",
    "Recorder",
    "Reducer",
    "RotoGrad",
    "SDMGrad",
    "ScaleInvariant",
    "TaskRows",
    "TrimmedMean",
    "UPGrad",
    "Uncertainty",
    "alpha_fairness",
    "available",
    "backward",
    "create",
    "layers",
    "measure",
    "remembers_rows",
]
