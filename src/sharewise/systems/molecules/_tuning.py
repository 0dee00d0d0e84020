"""How the settings of the arms were chosen: ``python -m sharewise.systems.molecules._tuning METHOD...``.

Every method tries the same three learning rates with 300 molecules, on simulated worlds whose seeds no reported run
uses. AIM's settings of its own come along with these rates, so that it has as many trials as the others. A method
whose largest rate was its best goes on to larger ones until one is worse; on real molecules, with larger networks, it
keeps the best of the three. A trial is judged on further molecules of these worlds, by the mean error relative to the
spread of labels. Ablations take the settings of the method they change; with 10,000 molecules all keep what they have
with 300.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from ._aim_arms import DEFAULT
from ._compare import METHODS, errors, parts_for
from ._simulator import simulate

WORLDS = (100, 101)
RATES = (1e-3, 3e-3, 1e-2)
LARGER = (3e-2, 1e-1)
POLICY = ((5e-3, 0.8), (2e-2, 0.08), (5e-3, 0.08))
"""AIM's learning rate and weight of progress, one pair for each of :data:`RATES`; the last for :data:`LARGER`."""


def _settings(method: str, lr: float, policy: tuple[float, float]) -> dict[str, Any]:
    settings: dict[str, Any] = {"lr": lr}
    if METHODS[method]["balancer"] == "aim":
        settings["options"] = {"lr": policy[0], "progress_weight": policy[1]}
    return settings


def trials(method: str) -> Iterator[dict[str, Any]]:
    """The settings every method tries."""
    for lr, policy in zip(RATES, POLICY, strict=True):
        yield _settings(method, lr, policy)


def simulated_error(method: str, seed: int, settings: dict[str, Any]) -> float:
    """Mean over properties of the error relative to the spread of labels."""
    data = simulate(seed, DEFAULT.few, DEFAULT.test)
    model = DEFAULT.scarce.model(method, seed, **settings).fit_parts(parts_for(method, data.train))
    spread = np.array([y.std() for y in data.test.targets.values()])
    return float((errors(model, data.test) / spread).mean())


def _trial(method: str, settings: dict[str, Any]) -> float:
    found = [simulated_error(method, seed, settings) for seed in WORLDS]
    print(f"{method:12s} {np.mean(found):.4f} {np.round(found, 4)} {settings}", flush=True)
    return float(np.mean(found))


def main(methods: list[str]) -> None:
    """Print every trial of these methods (all, if none is named)."""
    for method in methods or METHODS:
        found = [_trial(method, settings) for settings in trials(method)]
        for lr in LARGER:
            if found[-1] > min(found):
                break
            found.append(_trial(method, _settings(method, lr, POLICY[-1])))


if __name__ == "__main__":
    from ...train import single_thread

    with single_thread():
        main(sys.argv[1:])
