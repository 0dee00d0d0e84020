"""Daily weather of one place: reading it, the model's input features, and resampled seasons.

Day length and extraterrestrial radiation follow R. G. Allen et al., "Crop evapotranspiration", FAO
Irrigation and Drainage Paper 56 (1998), equations 21-25 and 34; reference evapotranspiration is Hargreaves'
temperature-only form, equation 52 there.
"""

from __future__ import annotations

import csv
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError

Array = NDArray[np.float64]
FEATURES = ("DAY_SIN", "DAY_COS", "TEMP", "TMIN", "TMAX", "RAIN", "WIND", "DAYL", "ETO")
_COLUMNS = {"date": "date", "tmin": "temp_min", "tmax": "temp_max", "rain": "precipitation", "wind": "wind"}


def _sunset_angle(day: Array, latitude: float) -> tuple[Array, Array]:
    declination = 0.409 * np.sin(2 * np.pi * day / 365 - 1.39)
    cosine = -np.tan(np.radians(latitude)) * np.tan(declination)
    return np.arccos(np.clip(cosine, -1, 1)), declination


def day_length(day: Array, latitude: float) -> Array:
    """Daylight hours on day of the year ``day`` (1 to 366) at ``latitude`` in degrees; FAO 56, equation 34."""
    return 24 / np.pi * _sunset_angle(np.asarray(day, float), latitude)[0]


def evapotranspiration(day: Array, tmin: Array, tmax: Array, latitude: float) -> Array:
    """Hargreaves' reference evapotranspiration in mm a day; FAO 56, equations 21 and 52, never negative."""
    day = np.asarray(day, float)
    angle, declination = _sunset_angle(day, latitude)
    phi = np.radians(latitude)
    distance = 1 + 0.033 * np.cos(2 * np.pi * day / 365)
    radiation = (
        24 * 60 / np.pi * 0.0820 * distance
        * (angle * np.sin(phi) * np.sin(declination) + np.cos(phi) * np.cos(declination) * np.sin(angle))
    )  # fmt: skip
    mean = (tmin + tmax) / 2
    spread = np.sqrt(np.maximum(tmax - tmin, 0))
    return np.maximum(0.0023 * (mean + 17.8) * spread * 0.408 * radiation, 0)


@dataclass(frozen=True)
class Weather:
    """Daily weather, one value a day in each array.

    Args:
        date: ``datetime64[D]``, consecutive days.
        tmin, tmax: degrees Celsius.
        rain: millimetres.
        wind: metres a second.
        latitude: degrees north.

    Raises:
        DataError: if lengths differ, a value is not finite, days are missing, ``tmin > tmax`` or rain is
            negative. The message names the column and the first bad day.
    """

    date: NDArray[np.datetime64]
    tmin: Array
    tmax: Array
    rain: Array
    wind: Array
    latitude: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "date", np.asarray(self.date, "datetime64[D]"))
        for name in ("tmin", "tmax", "rain", "wind"):
            values = np.asarray(getattr(self, name), np.float64)
            object.__setattr__(self, name, values)
            if values.shape != self.date.shape:
                raise DataError(f"weather: {name} has {values.size} values for {self.date.size} dates")
            self._refuse(~np.isfinite(values), name, "is not a finite number")
        if self.date.size < 1 or self.date.ndim != 1:
            raise DataError("weather: no days found; give at least one day")
        gaps = np.flatnonzero(np.diff(self.date) != np.timedelta64(1, "D"))
        if gaps.size:
            raise DataError(
                f"weather: days must follow one another, but {self.date[gaps[0] + 1]} comes after "
                f"{self.date[gaps[0]]}; sort the rows and fill the missing days"
            )
        self._refuse(self.tmin > self.tmax, "tmin", "is above tmax")
        self._refuse(self.rain < 0, "rain", "is negative")
        if not -90 <= self.latitude <= 90:
            raise DataError(f"weather: latitude must lie in [-90, 90], found {self.latitude}")

    def _refuse(self, bad: NDArray[np.bool_], name: str, what: str) -> None:
        if bad.any():
            first = int(np.flatnonzero(bad)[0])
            raise DataError(f"weather: {name} {what} on {self.date[first]}; correct or fill that day")

    def __len__(self) -> int:
        return len(self.date)

    @property
    def day(self) -> Array:
        """Day of the year, 1 to 366."""
        return (self.date - self.date.astype("datetime64[Y]")).astype(np.float64) + 1

    @property
    def mean(self) -> Array:
        """Mean temperature of the day, ``(tmin + tmax) / 2``."""
        return (self.tmin + self.tmax) / 2

    def season(self, first: dt.date, days: int) -> Weather:
        """The ``days`` days from ``first`` on; :class:`DataError` if the record does not hold them all."""
        start = int((np.datetime64(first, "D") - self.date[0]).astype(int))
        if start < 0 or start + days > len(self):
            raise DataError(
                f"weather: a season of {days} days from {first} was asked for, the record runs from "
                f"{self.date[0]} to {self.date[-1]}"
            )
        part = slice(start, start + days)
        return Weather(
            self.date[part], self.tmin[part], self.tmax[part], self.rain[part], self.wind[part], self.latitude
        )

    def features(self) -> Array:
        """Model inputs ``[days, 9]`` in the order of ``FEATURES``, not yet standardised."""
        angle = 2 * np.pi * self.day / 365.25
        columns = (
            np.sin(angle), np.cos(angle), self.mean, self.tmin, self.tmax, self.rain, self.wind,
            day_length(self.day, self.latitude),
            evapotranspiration(self.day, self.tmin, self.tmax, self.latitude),
        )  # fmt: skip
        return np.stack(columns, -1)


def read_weather(path: Path | str, latitude: float, columns: Mapping[str, str] | None = None) -> Weather:
    """Weather from a CSV file with a header.

    Args:
        path: UTF-8 file, one row a day, dates as ``2012-01-31`` or ``2012/01/31``.
        latitude: degrees north.
        columns: which column holds ``date``, ``tmin``, ``tmax``, ``rain``, ``wind``; by default ``date``,
            ``temp_min``, ``temp_max``, ``precipitation``, ``wind``.

    Raises:
        DataError: no such file or column, or a cell that is no number or date (names file, row, column).
    """
    path = Path(path)
    names = {**_COLUMNS, **(columns or {})}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f'weather file "{path}" cannot be read: {error}') from error
    if not rows:
        raise DataError(f'weather file "{path}" has no rows; expected a header and one row a day')
    missing = [n for n in names.values() if n not in rows[0]]
    if missing:
        raise DataError(
            f'weather file "{path}" has no column {missing}; found {list(rows[0])}. Name yours with columns='
        )
    dates = [_date(row[names["date"]], path, i) for i, row in enumerate(rows)]
    table = {
        key: np.array([_number(row[names[key]], path, i, names[key]) for i, row in enumerate(rows)])
        for key in ("tmin", "tmax", "rain", "wind")
    }
    return Weather(np.array(dates, "datetime64[D]"), **table, latitude=latitude)


def _date(cell: str | None, path: Path, row: int) -> dt.date:
    try:
        return dt.date.fromisoformat((cell or "").strip().replace("/", "-")[:10])
    except ValueError:
        raise DataError(f'weather file "{path}", row {row + 2}: "{cell}" is no date like 2012-01-31') from None


def _number(cell: str | None, path: Path, row: int, column: str) -> float:
    try:
        return float(cell or "")
    except ValueError:
        raise DataError(f'weather file "{path}", row {row + 2}, column {column}: "{cell}" is no number') from None


def seattle() -> Weather:
    """Four years (2012-2015) of daily weather in Seattle, from the package ``vega_datasets`` (offline).

    The latitude is set to 46 degrees north, that of the vineyards of the published study; Seattle itself
    lies at 47.6. Raises :class:`DataError` with the command to install the package if it is missing.
    """
    try:
        from vega_datasets import data
    except ImportError as error:
        raise DataError('the weather of Seattle needs vega_datasets: pip install "sharewise[data]"') from error
    return read_weather(data.seattle_weather.filepath, latitude=46.0)


def resample(
    weather: Weather,
    first_day: int,
    days: int,
    random: np.random.Generator,
    block: int = 15,
    persistence: float = 0.7,
    spread: float = 1.5,
) -> Weather:
    """A new season from old ones: blocks of the same calendar window, plus autocorrelated temperature noise.

    Each block of ``block`` calendar days is taken whole from a randomly drawn year of ``weather`` that has
    it. An AR(1) series with coefficient ``persistence`` and stationary standard deviation ``spread``
    (degrees Celsius) is added to tmin and tmax alike. 29 February is never used.

    Args:
        weather: at least one full year.
        first_day: day of the year of the first day, 1 to 365.
        days: length; may run into the next year.
        random: source of randomness.

    Raises:
        DataError: if no year of ``weather`` holds some block.
    """
    calendar = weather.date.astype("datetime64[D]").astype(dt.date)
    position = {(d.year, d.month, d.day): i for i, d in enumerate(calendar)}
    years = sorted({d.year for d in calendar})
    new_year = dt.date(2001, 1, 1)
    wanted = [new_year + dt.timedelta(int((first_day - 1 + i) % 365)) for i in range(days)]
    picked: list[int] = []
    for start in range(0, days, block):
        window = wanted[start : start + block]
        options = [rows for year in years if (rows := _rows(window, year, position)) is not None]
        if not options:
            raise DataError(f"weather: no year holds the days from {window[0]:%d %b} to {window[-1]:%d %b}")
        picked += options[int(random.integers(len(options)))]
    shock = random.standard_normal(days) * spread
    noise = np.empty(days)
    noise[0] = shock[0]
    for i in range(1, days):
        noise[i] = persistence * noise[i - 1] + np.sqrt(1 - persistence**2) * shock[i]
    taken = np.array(picked)
    begin = np.datetime64(new_year + dt.timedelta(first_day - 1))
    return Weather(
        begin + np.arange(days), weather.tmin[taken] + noise, weather.tmax[taken] + noise,
        weather.rain[taken], weather.wind[taken], weather.latitude,
    )  # fmt: skip


def _rows(window: Sequence[dt.date], year: int, position: Mapping[tuple[int, int, int], int]) -> list[int] | None:
    """Rows of the calendar days ``window`` in ``year`` (and the next, past December), or None if one is missing."""
    rows = [position.get((year + int(d < window[0]), d.month, d.day)) for d in window]
    found = [r for r in rows if r is not None]
    return found if len(found) == len(rows) else None
