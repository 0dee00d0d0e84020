"""Published systems, each with its claims tested: ``available()``, ``get(id)``, ``reproduce(id, seeds)``."""

from . import ledger
from ._claim import Claim, Paper
from ._registry import SCALES, Arm, Scale, System, available, get, system
from ._result import JudgedClaim, Result
from ._run import reproduce
from ._verdict import FEWEST_SEEDS, Judgement, judge

__all__ = [
    "FEWEST_SEEDS",
    "SCALES",
    "Arm",
    "Claim",
    "JudgedClaim",
    "Judgement",
    "Paper",
    "Result",
    "Scale",
    "System",
    "available",
    "get",
    "judge",
    "ledger",
    "reproduce",
    "system",
]
