"""How the settings of the arms were chosen: ``python -m sharewise.systems.molecules._tuning few|many``.

Every method tries the same six pairs of learning rate and weight decay (with many molecules the three rates without
decay), on simulated worlds whose seeds no reported run uses. AIM's two settings of its own come along with these
pairs, so that it has as many trials as the others. A trial is judged on molecules of these worlds, by the mean error
relative to the spread of labels. Ablations take the settings of the method they change.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from ._aim_arms import DEFAULT, WITH_MANY
from ._compare import METHODS, errors, parts_for
from ._simulator import simulate

WORLDS = (100, 101)
RATES, DECAYS = (1e-3, 3e-3, 1e-2), (0.0, 1e-3)
POLICY = ((5e-3, 0.08), (2e-2, 0.8), (2e-2, 0.08), (5e-3, 0.8), (5e-3, 0.08), (2e-2, 0.8))


def trials(method: str, many: bool) -> Iterator[dict[str, Any]]:
    """The settings a method tries."""
    pairs = [(lr, decay) for lr in RATES for decay in (DECAYS[:1] if many else DECAYS)]
    for (lr, decay), (policy_lr, progress) in zip(pairs, POLICY, strict=False):
        settings: dict[str, Any] = {"lr": lr, "weight_decay": decay}
        if METHODS[method]["balancer"] == "aim":
            settings["options"] = {"lr": policy_lr, "progress_weight": progress}
        yield settings


def validation_error(method: str, world: int, many: bool, settings: dict[str, Any]) -> float:
    """Mean over properties of the error relative to the spread of labels."""
    data = simulate(world, DEFAULT.many if many else DEFAULT.few, DEFAULT.test)
    budget = DEFAULT.ample if many else DEFAULT.scarce
    model = budget.model(method, world, **settings).fit_parts(parts_for(method, data.train))
    spread = np.array([y.std() for y in data.test.targets.values()])
    return float((errors(model, data.test) / spread).mean())


def main(which: str) -> None:
    """Print every trial of every method."""
    many = which == "many"
    for method in WITH_MANY if many else METHODS:
        for settings in trials(method, many):
            found = [validation_error(method, world, many, settings) for world in WORLDS[: 1 if many else None]]
            print(f"{method:12s} {np.mean(found):.4f} {np.round(found, 4)} {settings}", flush=True)


if __name__ == "__main__":
    from ...train import single_thread

    with single_thread():
        main(sys.argv[1])
