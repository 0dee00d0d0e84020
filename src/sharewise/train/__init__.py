"""The loop: fit, resume, predict, export."""

from ._callbacks import Callback
from ._evaluate import evaluate, gather_targets, mean_losses, predict, score
from ._export import export
from ._fit import fit
from ._fitted import Fitted, load
from ._guide import Guide
from ._loop import Loop
from ._random import once_more, random_state
from ._settings import EpochRecord
from ._stopping import EarlyStopping
from ._table import build_table_model, fit_data, fit_table
from ._threads import single_thread

__all__ = [
    "Callback",
    "EarlyStopping",
    "EpochRecord",
    "Fitted",
    "Guide",
    "Loop",
    "build_table_model",
    "evaluate",
    "export",
    "fit",
    "fit_data",
    "fit_table",
    "gather_targets",
    "load",
    "mean_losses",
    "once_more",
    "predict",
    "random_state",
    "score",
    "single_thread",
]
