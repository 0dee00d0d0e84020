"""A truth to test against: cultivars in hidden families whose parameters follow drivers the stock model ignores.

Real weather, resampled to more seasons, drives simulated vines. Every parameter of a cultivar is its
family's mean plus a cultivar's own offset (standard deviation 5 % of the range). Within the season,

* the base temperature follows the water deficit, ``TBASEM + 2.5 tanh(deficit / 60 mm)``, where the deficit
  is a leaky bucket with a memory of 30 days, filled by evapotranspiration minus rain;
* TSUM2 follows the chill of the spring, ``TSUM2 (1 + 0.25 tanh(z))``, where z is the standardised sum of
  ``max(0, 10 - TEMP)`` over days 30 to 120 of the year;
* ENACCLIM follows the temperature's trend over five days, ``ENACCLIM (1 - 0.8 tanh(trend / 4 C))``: buds
  harden faster while it grows colder.

All drivers are functions of the model's inputs, none is an input itself, and all cultivars respond alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ._hardiness import FergusonHardiness
from ._parameters import ParameterBox
from ._phenology import GDDPhenology
from ._process import Process, run
from ._seasons import Seasons, season_table
from ._weather import Weather, evapotranspiration, resample

Array = NDArray[np.float64]
PHENOLOGY_START, PHENOLOGY_DAYS = 30, 271
HARDINESS_START, HARDINESS_DAYS = 274, 227
_CHILL_DAYS = slice(0, 91)

# Order of GDDPhenology.box. The families trade base temperature against thermal sums, as fitted cultivars
# do. They are centred so that the stock model is unbiased over cultivars (mean onset error within 3 days
# for budbreak, bloom and veraison): it must not lose for a reason a grower would have noticed.
_PHENOLOGY_FAMILIES = np.array(
    [
        [8.8, 25.0, 96.0, 215.0, 540.0, 520.0, 1000.0],
        [10.0, 25.0, 92.0, 185.0, 455.0, 450.0, 1000.0],
        [11.2, 25.0, 84.0, 150.0, 365.0, 380.0, 1000.0],
    ]
)
# Order of FergusonHardiness.box.
_HARDINESS_FAMILIES = np.array(
    [
        [-1.2, -23.5, 13.0, 3.5, 0.08, 0.04, 0.08, 0.10, -520.0],
        [-1.2, -25.7, 14.0, 3.0, 0.10, 0.03, 0.10, 0.08, -600.0],
        [-1.6, -28.0, 15.0, 2.5, 0.12, 0.02, 0.10, 0.06, -680.0],
    ]
)


@dataclass(frozen=True)
class Simulation:
    """Simulated seasons, split by weather year: no year of one split occurs in another.

    ``truth`` of a split is the noise-free output of every day ``[N, T]``, for judging only.
    """

    train: Seasons
    validation: Seasons
    test: Seasons
    truth: dict[str, Array]


def simulate(
    process_name: str,
    weather: Weather,
    seed: int,
    cultivars: int = 12,
    train: int = 4,
    validation: int = 1,
    test: int = 2,
) -> Simulation:
    """Simulate ``"phenology"`` or ``"hardiness"`` seasons of ``cultivars`` cultivars in three families.

    Each split has three times as many weather years as a cultivar has seasons in it, and every cultivar is
    observed in its own random choice of them, as in a collection whose vines were watched in different
    years. Stages are observed every 7th day, read from a day up to one day off; LTE50 every 14th day with
    a standard deviation of 0.6 C.

    Args:
        process_name: which model.
        weather: real weather to resample from, at least one full year.
        seed: everything random follows from it.
        cultivars: number of tasks, at least 3.
        train, validation, test: seasons of each cultivar in each split.
    """
    random = np.random.default_rng([seed, 0 if process_name == "phenology" else 1])
    process, families, truth_of, first, days = _SETUPS[process_name]
    model = process()
    family = np.arange(cultivars) % 3
    spread = 0.05 * (model.box.high - model.box.low).numpy()
    offsets = random.normal(size=(cultivars, len(model.box))) * spread
    own = model.box.clip(torch.as_tensor(families[family] + offsets)).numpy()
    chill = usual_chill(weather)

    parts: dict[str, Seasons] = {}
    truths: dict[str, Array] = {}
    for split, count in {"train": train, "validation": validation, "test": test}.items():
        years = [resample(weather, first, days, random) for _ in range(3 * count)]
        chosen = np.stack([random.choice(len(years), count, replace=False) for _ in range(cultivars)])
        stretches = [years[y] for y in chosen.ravel()]
        values = np.repeat(own, count, axis=0)
        theta = truth_of(values, stretches, model.box, chill)
        truths[split] = _roll_out(model, stretches, theta)
        names = [f"cultivar-{c:02d}" for c in range(cultivars) for _ in range(count)]
        target = _OBSERVE[process_name](truths[split], random)
        parts[split] = season_table(names, stretches, target)
    return Simulation(parts["train"], parts["validation"], parts["test"], truths)


def water_deficit(weather: Weather, memory: float = 30.0) -> Array:
    """Leaky bucket in millimetres: ``d <- (1 - 1/memory) d + evapotranspiration - rain``, empty at the start."""
    demand = evapotranspiration(weather.day, weather.tmin, weather.tmax, weather.latitude) - weather.rain
    deficit = np.zeros(len(weather))
    level = 0.0
    for day, change in enumerate(demand):
        level = (1 - 1 / memory) * level + change
        deficit[day] = level
    return deficit


def spring_chill(weather: Weather) -> float:
    """``sum(max(0, 10 - TEMP))`` over the first 91 days of a phenology season (days 30 to 120 of the year)."""
    return float(np.maximum(0, 10 - weather.mean[_CHILL_DAYS]).sum())


def usual_chill(weather: Weather) -> tuple[float, float]:
    """Mean and standard deviation of the spring chill over a fixed sample of 100 resampled years."""
    climate = np.random.default_rng(0)
    sums = [spring_chill(resample(weather, PHENOLOGY_START, 91, climate)) for _ in range(100)]
    return float(np.mean(sums)), float(np.std(sums))


def _phenology_theta(own: Array, stretches: list[Weather], box: ParameterBox, chill: tuple[float, float]) -> Array:
    theta = np.repeat(own[:, None, :], PHENOLOGY_DAYS, axis=1)
    for row, stretch in enumerate(stretches):
        z = (spring_chill(stretch) - chill[0]) / chill[1]
        theta[row, :, 0] += 2.5 * np.tanh(water_deficit(stretch) / 60)
        theta[row, :, 4] *= 1 + 0.25 * np.tanh(z)
    return box.clip(torch.as_tensor(theta)).numpy()


def _hardiness_theta(own: Array, stretches: list[Weather], box: ParameterBox, chill: tuple[float, float]) -> Array:
    theta = np.repeat(own[:, None, :], HARDINESS_DAYS, axis=1)
    for row, stretch in enumerate(stretches):
        trend = np.zeros(len(stretch))
        trend[5:] = stretch.mean[5:] - stretch.mean[:-5]
        theta[row, :, 4] *= 1 - 0.8 * np.tanh(trend / 4)
    return box.clip(torch.as_tensor(theta)).numpy()


def _roll_out(model: Process, stretches: list[Weather], theta: Array) -> Array:
    table = season_table([""] * len(stretches), stretches, np.zeros(theta.shape[:2]))
    warmth, light, values = (torch.as_tensor(a).unsqueeze(0) for a in (table.temperature, table.day_length, theta))
    # The season is the batch here: [G = 1, T, B].
    output = run(model, warmth.transpose(1, 2), light.transpose(1, 2), values.transpose(1, 2))
    return output[0].T.numpy()


def _observe_stage(truth: Array, random: np.random.Generator) -> Array:
    n, days = truth.shape
    target = np.full((n, days), np.nan)
    seen = np.arange(0, days, 7)
    shifted = np.clip(seen + random.integers(-1, 2, size=(n, len(seen))), 0, days - 1)
    target[:, seen] = np.minimum(np.take_along_axis(truth, shifted, 1), 4)
    return target


def _observe_hardiness(truth: Array, random: np.random.Generator) -> Array:
    n, days = truth.shape
    target = np.full((n, days), np.nan)
    seen = np.arange(0, days, 14)
    target[:, seen] = truth[:, seen] + random.normal(0, 0.6, size=(n, len(seen)))
    return target


_Setup = tuple[
    Callable[[], Process],
    Array,
    Callable[[Array, list[Weather], ParameterBox, tuple[float, float]], Array],
    int,
    int,
]
_SETUPS: dict[str, _Setup] = {
    "phenology": (GDDPhenology, _PHENOLOGY_FAMILIES, _phenology_theta, PHENOLOGY_START, PHENOLOGY_DAYS),
    "hardiness": (FergusonHardiness, _HARDINESS_FAMILIES, _hardiness_theta, HARDINESS_START, HARDINESS_DAYS),
}
_OBSERVE: dict[str, Callable[[Array, np.random.Generator], Array]] = {
    "phenology": _observe_stage,
    "hardiness": _observe_hardiness,
}
