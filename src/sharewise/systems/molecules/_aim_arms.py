"""The arms of the system ``aim``: one simulated world a seed, few molecules and many."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ._compare import BEYOND, METHODS, VARIANTS, Budget, delta_m, errors, parts_for
from ._model import PropertyModel
from ._policy import PolicyHistory
from ._simulator import Simulation, simulate

WITH_MANY = ("stl", "linear", "pcgrad", "aim-matrix")
"""Arms that are also run with many molecules."""


@dataclass(frozen=True)
class Sizes:
    """Of one scale: molecules to learn from, few and many, to judge with, and the budgets."""

    few: int
    many: int
    test: int
    scarce: Budget
    ample: Budget


DEFAULT = Sizes(
    300, 10_000, 2000,
    Budget((64, 4), (16,), epochs=40, batch=32, plateau=6, patience=12, rates=BEYOND),
    Budget((64, 4), (16,), epochs=12, batch=250, plateau=6, patience=12, rates=BEYOND),
)  # fmt: skip
SMOKE = Sizes(
    60, 120, 50,
    Budget((16, 4), (8,), epochs=2, batch=32, plateau=6, patience=12, rates=BEYOND),
    Budget((16, 4), (8,), epochs=1, batch=60, plateau=6, patience=12, rates=BEYOND),
)  # fmt: skip
PAPER = Sizes(
    300, 10_000, 5000,
    Budget((64, 4), (32,), epochs=400, batch=32, plateau=50, patience=75, rates=BEYOND),
    Budget((64, 4), (32,), epochs=400, batch=32, plateau=50, patience=75, rates=BEYOND),
)  # fmt: skip


def arms(sizes: Sizes) -> dict[str, Callable[[int], dict[str, float]]]:
    """Every arm; those of :data:`WITH_MANY` also report what they do with many molecules."""

    @lru_cache(maxsize=2)
    def world(seed: int, molecules: int) -> Simulation:
        return simulate(seed, molecules, sizes.test)

    @lru_cache(maxsize=2)
    def alone(seed: int, molecules: int) -> np.ndarray:
        return train("stl", seed, molecules)[0]

    def train(arm: str, seed: int, molecules: int) -> tuple[np.ndarray, PropertyModel]:
        budget = sizes.scarce if molecules == sizes.few else sizes.ample
        found = world(seed, molecules)
        model = budget.model(arm, seed).fit_parts(parts_for(arm, found.train))
        return errors(model, found.test), model

    def make(arm: str) -> Callable[[int], dict[str, float]]:
        def run(seed: int) -> dict[str, float]:
            reference = alone(seed, sizes.few)
            found, model = (reference, None) if arm == "stl" else train(arm, seed, sizes.few)
            metrics = {"delta_m": delta_m(found, reference), "mae": float(found.mean()), "mae_hard": float(found[0])}
            if model is not None and model.policy is not None:
                metrics |= policy_metrics(model.policy, world(seed, sizes.few))
            if arm in WITH_MANY:
                many = alone(seed, sizes.many)
                found = many if arm == "stl" else train(arm, seed, sizes.many)[0]
                metrics |= {"delta_m_many": delta_m(found, many), "mae_many": float(found.mean())}
            return metrics

        return run

    return {arm: make(arm) for arm in (*METHODS, *VARIANTS)}


def policy_metrics(policy: PolicyHistory, world: Simulation) -> dict[str, float]:
    """Do shares removed, or angles alone, tell pairs of different groups from pairs of one? Areas under the ROC curve
    over ordered pairs, from means over the last quarter of training; and how far the thresholds went."""
    from sklearn.metrics import roc_auc_score

    pairs = ~np.eye(len(world.block), dtype=bool)
    truth = world.conflicting[pairs]
    return {
        "conflict_auc": float(roc_auc_score(truth, policy.late("removed")[pairs])),
        "cosine_auc": float(roc_auc_score(truth, -policy.late("cosines")[pairs])),
        "tau_size": float(np.abs(policy.thresholds[-1][pairs]).mean()),
    }
