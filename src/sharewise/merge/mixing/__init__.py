"""Merges that are more than one state dict: mixed while the model runs."""

from ._adamerging import AdaMerged, adamerging
from ._ensemble import Ensemble
from ._masked import Masked
from ._regmean import regmean_plus_plus
from ._surgery import Surgery
from ._task_model import TaskModel
from ._twin import TwinMerging
from ._wemoe import WEMoE

__all__ = [
    "AdaMerged",
    "Ensemble",
    "Masked",
    "Surgery",
    "TaskModel",
    "TwinMerging",
    "WEMoE",
    "adamerging",
    "regmean_plus_plus",
]
