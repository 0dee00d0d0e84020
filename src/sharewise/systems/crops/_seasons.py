"""The data contract: seasons of daily weather with a few observations in each."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ._weather import Weather


@dataclass(frozen=True)
class Seasons:
    """``N`` seasons of ``T`` days, each of one cultivar (the task).

    Args:
        cultivar: name of each season's cultivar, ``N`` of them.
        features: daily model inputs, ``[N, T, F]``; standardised inside the model.
        temperature: mean temperature, degrees Celsius, ``[N, T]``.
        day_length: hours, ``[N, T]``.
        target: what was observed, ``[N, T]``: the stage 0 to 4, or LTE50 in degrees Celsius. NaN = not
            observed that day; observations may be as sparse as you like.

    Raises:
        DataError: shapes that do not fit, a value that is not finite (named season and day), or no season.
    """

    cultivar: tuple[str, ...]
    features: NDArray[np.float64]
    temperature: NDArray[np.float64]
    day_length: NDArray[np.float64]
    target: NDArray[np.float64]

    def __post_init__(self) -> None:
        object.__setattr__(self, "cultivar", tuple(str(c) for c in self.cultivar))
        for name in ("features", "temperature", "day_length", "target"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), np.float64))
        if self.features.ndim != 3 or 0 in self.features.shape:
            raise DataError(
                f"seasons: features must be [seasons, days, features] and not empty, found {self.features.shape}"
            )
        n, days, _ = self.features.shape
        if len(self.cultivar) != n:
            raise DataError(f"seasons: {len(self.cultivar)} cultivar names for {n} seasons")
        for name in ("temperature", "day_length", "target"):
            values = getattr(self, name)
            if values.shape != (n, days):
                raise DataError(f"seasons: {name} must be [{n}, {days}] like features, found {list(values.shape)}")
            bad = np.isinf(values) if name == "target" else ~np.isfinite(values)
            self._refuse(bad, name)
        self._refuse(np.asarray(~np.isfinite(self.features).all(-1)), "features")

    def _refuse(self, bad: NDArray[np.bool_], name: str) -> None:
        if bad.any():
            season, day = (int(i) for i in np.argwhere(bad)[0])
            raise DataError(
                f'seasons: {name} is not finite in season {season} (cultivar "{self.cultivar[season]}"), '
                f"day {day}; fill it before training"
            )

    def __len__(self) -> int:
        return len(self.cultivar)

    @property
    def days(self) -> int:
        """Days in each season."""
        return self.features.shape[1]

    @property
    def observed(self) -> NDArray[np.bool_]:
        """Where the target was observed, ``[N, T]``."""
        return ~np.isnan(self.target)

    @property
    def cultivars(self) -> tuple[str, ...]:
        """The distinct cultivars, sorted."""
        return tuple(sorted(set(self.cultivar)))

    def select(self, rows: Sequence[int] | NDArray[np.int64]) -> Seasons:
        """The seasons at positions ``rows``."""
        index = np.asarray(rows, np.int64)
        return Seasons(
            tuple(self.cultivar[i] for i in index),
            self.features[index], self.temperature[index], self.day_length[index], self.target[index],
        )  # fmt: skip


def seasons_from(
    weather: Weather,
    observations: Mapping[tuple[str, int], Mapping[dt.date, float]],
    first_day: int = 30,
    days: int = 271,
) -> Seasons:
    """Seasons from a weather record and dated observations.

    Args:
        weather: covers every season asked for.
        observations: (cultivar, year) -> {date: value}; the year is the one the season starts in.
        first_day: day of the year on which seasons start (30 for phenology, 274 = 1 October for hardiness).
        days: length of each season.

    Raises:
        DataError: nothing observed, a date outside its season, or weather that does not cover a season.
    """
    if not observations:
        raise DataError("seasons: no observations given; expected {(cultivar, year): {date: value}}")
    parts: list[Weather] = []
    targets = np.full((len(observations), days), np.nan)
    for row, ((cultivar, year), dated) in enumerate(observations.items()):
        first = dt.date(year, 1, 1) + dt.timedelta(first_day - 1)
        parts.append(weather.season(first, days))
        for date, value in dated.items():
            day = (date - first).days
            if not 0 <= day < days:
                raise DataError(
                    f'seasons: cultivar "{cultivar}" {year}: the observation of {date} lies outside the '
                    f"season {first} to {first + dt.timedelta(days - 1)}"
                )
            targets[row, day] = value
    return season_table([c for c, _ in observations], parts, targets)


def season_table(cultivar: Sequence[str], weather: Sequence[Weather], target: NDArray[np.float64]) -> Seasons:
    """Seasons from one stretch of weather each and the target ``[N, T]``."""
    features = np.stack([w.features() for w in weather])
    return Seasons(tuple(cultivar), features, np.stack([w.mean for w in weather]), features[:, :, 7].copy(), target)
