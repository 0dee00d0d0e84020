"""Who proposes what a search tries next: Optuna's samplers by name, in studies that begin with given trials."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from ..errors import MergeError

if TYPE_CHECKING:
    import optuna

Sampler = Literal["tpe", "cmaes", "gp"]
SAMPLERS = ("tpe", "cmaes", "gp")


def new_study(sampler: Sampler, seed: int, starts: Sequence[Mapping[str, Any]], draws: int) -> optuna.Study:
    """A study that maximizes, proposes ``starts`` first, and draws the same for the same seed.

    ``tpe``: Parzen estimators; ``cmaes``: covariance matrix adaptation; ``gp``: a Gaussian process (Matérn 5/2, log
    expected improvement), after ``draws`` trials at random, ``starts`` among them.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    number = int.from_bytes(hashlib.sha256(f"{sampler}\0{seed}".encode()).digest()[:4], "little")
    chosen: optuna.samplers.BaseSampler
    if sampler == "cmaes":
        chosen = optuna.samplers.CmaEsSampler(seed=number, warn_independent_sampling=False)
    elif sampler == "gp":
        chosen = optuna.samplers.GPSampler(seed=seed, n_startup_trials=draws)
    else:
        chosen = optuna.samplers.TPESampler(seed=number)
    study = optuna.create_study(direction="maximize", sampler=chosen)
    for start in starts:
        study.enqueue_trial(dict(start))
    return study


def finite(value: float, whose: str) -> float:
    """``value``; raises :class:`MergeError` where trials could not be compared by it."""
    if not math.isfinite(value):
        raise MergeError(f"{whose} is {value}: it must be a finite number, so that trials compare")
    return float(value)
