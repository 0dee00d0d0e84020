"""The arms of the system ``crop-hybrid``: every way to forecast, on the same seasons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from ._metrics import backward_share, inconsistent_share, onset_errors, rmse
from ._model import CropHybrid
from ._seasons import Seasons
from ._simulator import Simulation, simulate
from ._weather import seattle


@dataclass(frozen=True)
class Sizes:
    """Of one scale: cultivars and seasons, the network, and the budget that all learned arms share.

    ``every`` is the number of days between two predictions of parameters. ``lr`` replaces the learning rates
    of networks, which were tuned for the default scale. The other fields go to :class:`CropHybrid`.
    """

    cultivars: int = 12
    train: int = 5
    test: int = 2
    hidden: int = 48
    epochs: int = 100
    batch: int = 24
    every: int = 5
    lr: float | None = None
    lr_factor: float = 0.5
    clip: float | None = 0.5
    start_at_stock: bool = True


DEFAULT = Sizes()
SMOKE = Sizes(cultivars=3, train=2, test=1, hidden=8, epochs=2, batch=6)
PAPER = Sizes(
    cultivars=31, hidden=1024, epochs=400, batch=12, every=1, lr=2e-4, lr_factor=0.95, clip=None,
    start_at_stock=False,
)  # fmt: skip

# What an arm is. How learning rates were chosen: _tuning.py. The weight of the physics-informed baseline, 0.5 in
# the paper, was chosen there among 0.1, 0.25 and 0.5: half weight on an uncalibrated model holds it too firmly.
PHENOLOGY: dict[str, dict[str, Any]] = {
    "stock": {"method": "stock"},
    "constant": {"method": "constant", "sharing": "separate", "lr": 0.02},
    "temperature-response": {"method": "temperature-response", "sharing": "separate", "lr": 1e-2},
    "gru": {"method": "gru", "lr": 1e-3},
    "pinn": {"method": "pinn", "lr": 3e-3, "physics_weight": 0.1},
    "dmc-mtl": {"lr": 3e-3},
    "dmc-stl": {"sharing": "separate", "lr": 1e-3},
    "dmc-mtl-daily": {"every": 1, "lr": 3e-3},
    "dmc-add": {"sharing": "add", "lr": 3e-3},
    "dmc-mult": {"sharing": "mult", "lr": 3e-3},
    "dmc-multi-head": {"sharing": "multi-head", "lr": 3e-3},
    "dmc-one-hot": {"sharing": "one-hot", "lr": 3e-3},
}
HARDINESS: dict[str, dict[str, Any]] = {
    "stock": {"method": "stock"},
    "constant": {"method": "constant", "sharing": "separate", "lr": 0.02},
    "dmc-mtl": {"lr": 1e-3},
    "dmc-stl": {"sharing": "separate", "lr": 1e-3},
}
FEW = 2
FEW_ARMS = ("dmc-mtl", "dmc-stl")


def estimator(process: str, arm: str, sizes: Sizes, seed: int, **changes: Any) -> CropHybrid:
    """The untrained estimator of an arm at these sizes."""
    chosen = (PHENOLOGY if process == "phenology" else HARDINESS)[arm]
    settings = {
        "process": process, "hidden": sizes.hidden, "epochs": sizes.epochs, "batch": sizes.batch,
        "every": sizes.every, "lr_factor": sizes.lr_factor, "clip": sizes.clip,
        "start_at_stock": sizes.start_at_stock, "seed": seed, **chosen, **changes,
    }  # fmt: skip
    if sizes.lr is not None and settings.get("method", "dynamic") not in ("constant", "temperature-response"):
        settings["lr"] = sizes.lr
    return CropHybrid(**settings)


@lru_cache(maxsize=4)
def _simulated(process: str, seed: int, cultivars: int, train: int, test: int) -> Simulation:
    return simulate(process, seattle(), seed, cultivars, train, validation=1, test=test)


def first_seasons(seasons: Seasons, count: int) -> Seasons:
    """The first ``count`` seasons of every cultivar."""
    seen: dict[str, int] = {}
    rows = []
    for row, name in enumerate(seasons.cultivar):
        seen[name] = seen.get(name, 0) + 1
        if seen[name] <= count:
            rows.append(row)
    return seasons.select(rows)


def score(process: str, arm: str, sizes: Sizes, seed: int, few: int | None = None) -> dict[str, float]:
    """Train one arm on one simulated collection and judge it on seasons of years never seen."""
    data = _simulated(process, seed, sizes.cultivars, sizes.train, sizes.test)
    train = data.train if few is None else first_seasons(data.train, few)
    output = estimator(process, arm, sizes, seed).fit(train).predict(data.test).output
    truth = data.truth["test"]
    if process == "hardiness":
        return {"lte50_rmse": rmse(output, truth)}
    return {
        **onset_errors(output, truth),
        "backward_transitions": backward_share(output),
        "inconsistent_seasons": inconsistent_share(output),
    }


def arms(sizes: Sizes) -> dict[str, Callable[[int], dict[str, float]]]:
    """Every arm; those that exist for both processes report the metrics of both."""

    def both(arm: str) -> Callable[[int], dict[str, float]]:
        def run(seed: int) -> dict[str, float]:
            found = score("phenology", arm, sizes, seed)
            return found | score("hardiness", arm, _cultivars(sizes), seed) if arm in HARDINESS else found

        return run

    def few(arm: str) -> Callable[[int], dict[str, float]]:
        return lambda seed: score("phenology", arm, sizes, seed, few=min(FEW, sizes.train))

    return {arm: both(arm) for arm in PHENOLOGY} | {f"{arm}-few": few(arm) for arm in FEW_ARMS}


def _cultivars(sizes: Sizes) -> Sizes:
    """The paper has 31 cultivars with stages and 21 with hardiness."""
    return replace(sizes, cultivars=21) if sizes.cultivars == 31 else sizes
