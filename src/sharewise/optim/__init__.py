"""How the step is taken."""

from ._disagreement import alignment, disagreement, hessian, top_curvature
from ._madam import MAdam
from ._momentum import GradientMomentum
from ._polar import polar
from ._sage import SAGE
from ._sam import SAM, GroupSAM
from ._two_pass import Step, two_pass_step
from ._wrapper import TaskOptimizer

__all__ = [
    "SAGE",
    "SAM",
    "GradientMomentum",
    "GroupSAM",
    "MAdam",
    "Step",
    "TaskOptimizer",
    "alignment",
    "disagreement",
    "hessian",
    "polar",
    "top_curvature",
    "two_pass_step",
]
