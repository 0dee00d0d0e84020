"""Systems about shared representations; the parts that work on a user's own data."""

from ._ras import RAS
from ._ras_baselines import (
    known_rank_projection,
    penalised_erm,
    pooled,
    single_task,
    winsorised_spectral,
)
from ._ras_simulator import Simulated, errors, simulate, subspace_error
from ._tasks import LinearTasks

__all__ = [
    "RAS",
    "LinearTasks",
    "Simulated",
    "errors",
    "known_rank_projection",
    "penalised_erm",
    "pooled",
    "simulate",
    "single_task",
    "subspace_error",
    "winsorised_spectral",
]
