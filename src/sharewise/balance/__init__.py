"""How several losses become one update: ``backward()``, one method a file."""

from ._aim import AIM
from ._backward import backward
from ._balance import Balance
from ._balancer import Balancer, GradientBalancer, GramBalancer, LossBalancer
from ._constant import Constant
from ._equal import Equal
from ._graddrop import GradDrop
from ._measure import measure
from ._pcgrad import PCGrad
from ._reducer import MeanReducer, Reducer
from ._registry import available, create
from ._take import MODES
from ._uncertainty import Uncertainty

__all__ = [
    "AIM",
    "MODES",
    "Balance",
    "Balancer",
    "Constant",
    "Equal",
    "GradDrop",
    "GradientBalancer",
    "GramBalancer",
    "LossBalancer",
    "MeanReducer",
    "PCGrad",
    "Reducer",
    "Uncertainty",
    "available",
    "backward",
    "create",
    "measure",
]
