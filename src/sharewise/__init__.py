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
_MODULES = (
    "tasks",
    "data",
    "sharing",
    "balance",
    "schedule",
    "optim",
    "train",
    "merge",
    "audit",
    "study",
    "systems",
    "errors",
    "files",
)

__all__ = [
    "Balance",
    "Balancer",
    "Batch",
    "Fitted",
    "HardSharing",
    "PerTaskSource",
    "SharewiseError",
    "Splits",
    "Task",
    "TensorSource",
    "__version__",
    "audit",
    "backward",
    "balance",
    "binary",
    "custom",
    "data",
    "errors",
    "files",
    "fit",
    "fit_table",
    "load",
    "merge",
    "multiclass",
    "multilabel",
    "optim",
    "ranking",
    "regression",
    "schedule",
    "segmentation",
    "sharing",
    "study",
    "systems",
    "tasks",
    "train",
]

if TYPE_CHECKING:
    from . import audit as audit
    from . import balance as balance
    from . import data as data
    from . import errors as errors
    from . import files as files
    from . import merge as merge
    from . import optim as optim
    from . import schedule as schedule
    from . import sharing as sharing
    from . import study as study
    from . import systems as systems
    from . import tasks as tasks
    from . import train as train
    from .balance import Balance as Balance
    from .balance import Balancer as Balancer
    from .balance import backward as backward
    from .data import Batch as Batch
    from .data import PerTaskSource as PerTaskSource
    from .data import Splits as Splits
    from .data import TensorSource as TensorSource
    from .errors import SharewiseError as SharewiseError
    from .sharing import HardSharing as HardSharing
    from .tasks import Task as Task
    from .tasks import binary as binary
    from .tasks import custom as custom
    from .tasks import multiclass as multiclass
    from .tasks import multilabel as multilabel
    from .tasks import ranking as ranking
    from .tasks import regression as regression
    from .tasks import segmentation as segmentation
    from .train import Fitted as Fitted
    from .train import fit as fit
    from .train import fit_table as fit_table
    from .train import load as load


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
