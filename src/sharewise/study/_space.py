"""The settings tried in tuning: one space for all networks, one for all trees, defaults first."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

Settings = dict[str, float | int | str]

NETWORK: dict[str, Any] = {
    "learning_rate": 2e-3,
    "weight_decay": 1e-2,
    "width": 96,
    "depth": 2,
    "dropout": 0.1,
    "numeric_embedding": "piecewise",
}
"""The first trial of every network."""

TREES: dict[str, Any] = {
    "learning_rate": 0.08,
    "max_leaf_nodes": 15,
    "min_samples_leaf": 20,
    "l2_regularization": 1.0,
}
"""The first trial of boosted trees."""


def suggest(kind: str, tasks: Sequence[str], before: Sequence[tuple[Settings, float]], seed: int) -> Settings:
    """Settings of a model's next trial, given the ``(settings, objective)`` of those before.

    ``kind``: ``network``, ``weighted`` (a network with a constant weight for each of ``tasks``, tuned with the
    rest) or ``trees``. Trial 0 has the defaults; later ones come from Optuna's TPE sampler, whose first ten are drawn
    at random. The draw depends on the study's seed and the number of the trial alone: within a seed all networks try
    the same candidates (until the sampler has learned from the objective), each keeping what suits it best, so that a
    lucky draw is no arm's privilege; and a study that was killed suggests the same again.
    """
    if not before:
        return dict(TREES if kind == "trees" else NETWORK)
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    digest = hashlib.sha256(f"{seed}/{len(before)}".encode()).digest()
    sampler = optuna.samplers.TPESampler(seed=int.from_bytes(digest[:4], "little"))
    study = optuna.create_study(direction="maximize", sampler=sampler)
    space = _space(kind, tasks)
    for settings, value in before:
        tried = {name: settings[name] for name in space if name in settings}
        if len(tried) == len(space):
            study.add_trial(optuna.trial.create_trial(params=tried, distributions=space, value=value))
    return dict(study.ask(space).params)


def _space(kind: str, tasks: Sequence[str]) -> dict[str, Any]:
    from optuna.distributions import CategoricalDistribution as Choice
    from optuna.distributions import FloatDistribution as Float
    from optuna.distributions import IntDistribution as Int

    if kind == "trees":
        return {
            "learning_rate": Float(0.02, 0.3, log=True),
            "max_leaf_nodes": Choice([4, 7, 15, 31, 63]),
            "min_samples_leaf": Choice([5, 10, 20, 50, 100]),
            "l2_regularization": Float(0.01, 30.0, log=True),
        }
    space: dict[str, Any] = {
        "learning_rate": Float(5e-4, 1e-2, log=True),
        "weight_decay": Float(1e-4, 0.3, log=True),
        "width": Choice([32, 64, 96, 160]),
        "depth": Int(1, 3),
        "dropout": Float(0.0, 0.4),
        "numeric_embedding": Choice(["piecewise", "linear"]),
    }
    if kind == "weighted":
        space |= {f"weight/{name}": Float(0.25, 4.0, log=True) for name in tasks}
    return space
