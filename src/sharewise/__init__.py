"""Sharewise: learn several tasks with one model, and know whether that was wise.

Names are loaded when first used, so that ``import sharewise`` costs no more than it must.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_WHERE = {
    "Task": "tasks",
    "regression": "tasks",
    "binary": "tasks",
    "multiclass": "tasks",
    "multilabel": "tasks",
    "segmentation": "tasks",
    "ranking": "tasks",
    "custom": "tasks",
    "Batch": "data",
    "Splits": "data",
    "TensorSource": "data",
    "PerTaskSource": "data",
    "HardSharing": "sharing",
    "Balance": "balance",
    "Balancer": "balance",
    "backward": "balance",
    "Fitted": "train",
    "fit": "train",
    "fit_table": "train",
    "load": "train",
    "SharewiseError": "errors",
}
_MODULES = ("tasks", "data", "sharing", "balance", "train", "audit", "study", "systems", "errors", "files")

__all__ = [*_WHERE, *_MODULES, "__version__"]  # noqa: PLE0604

if TYPE_CHECKING:
    from . import audit, balance, data, errors, files, sharing, study, systems, tasks, train
    from .balance import Balance, Balancer, backward
    from .data import Batch, PerTaskSource, Splits, TensorSource
    from .errors import SharewiseError
    from .sharing import HardSharing
    from .tasks import Task, binary, custom, multiclass, multilabel, ranking, regression, segmentation
    from .train import Fitted, fit, fit_table, load


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        value = getattr(importlib.import_module(f".{_WHERE[name]}", __name__), name)
    elif name in _MODULES:
        value = importlib.import_module(f".{name}", __name__)
    else:
        raise AttributeError(f"module 'sharewise' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
