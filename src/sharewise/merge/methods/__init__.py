"""The methods, one a file."""

from ._linear import Linear
from ._slerp import Slerp
from ._task_arithmetic import TaskArithmetic

__all__ = ["Linear", "Slerp", "TaskArithmetic"]
