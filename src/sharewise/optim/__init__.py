"""How the step is taken."""

from ._momentum import GradientMomentum

__all__ = ["GradientMomentum"]
