"""Published schedules, tried: ``son-goku``, with its loop for a budget of task gradients.

Names are loaded when first used: the registry imports this package only to read what a system claims.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_WHERE = {
    "Budget": "_budget",
    "DigitTasks": "_digits",
    "GroupedTasks": "_groups",
    "Problem": "_budget",
    "Trained": "_budget",
    "edge_accuracy": "_groups",
    "train": "_budget",
}

__all__ = ["Budget", "DigitTasks", "GroupedTasks", "Problem", "Trained", "edge_accuracy", "train"]

if TYPE_CHECKING:
    from ._budget import Budget, Problem, Trained, train
    from ._digits import DigitTasks
    from ._groups import GroupedTasks, edge_accuracy


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_WHERE[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
