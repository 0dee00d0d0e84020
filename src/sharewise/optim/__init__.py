"""How the step is taken."""

from ._madam import MAdam
from ._momentum import GradientMomentum
from ._wrapper import TaskOptimizer

__all__ = ["GradientMomentum", "MAdam", "TaskOptimizer"]
