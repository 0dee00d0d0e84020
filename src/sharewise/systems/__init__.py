"""Published systems, each with its claims tested: ``available()``, ``get(id)``, ``reproduce(id, seeds)``."""

from ._claim import Claim, Paper
from ._registry import SCALES, Arm, Scale, System, available, get, system

__all__ = ["SCALES", "Arm", "Claim", "Paper", "Scale", "System", "available", "get", "system"]
