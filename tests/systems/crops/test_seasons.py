"""The data contract: what it holds, and what it refuses."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from sharewise.errors import DataError
from sharewise.systems.crops import Seasons, Weather, seasons_from


def arrays(n: int = 3, days: int = 4) -> dict[str, np.ndarray]:
    target = np.full((n, days), np.nan)
    target[:, 1] = 1
    return {
        "features": np.ones((n, days, 2)),
        "temperature": np.ones((n, days)),
        "day_length": np.ones((n, days)),
        "target": target,
    }


def test_contents() -> None:
    seasons = Seasons(("b", "a", "b"), **arrays())
    assert (len(seasons), seasons.days, seasons.cultivars) == (3, 4, ("a", "b"))
    assert seasons.observed.sum(1).tolist() == [1, 1, 1]
    assert seasons.select([2, 1]).cultivar == ("b", "a")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": np.ones((3, 4))}, r"must be \[seasons, days, features\]"),
        ({"temperature": np.ones((3, 5))}, r"temperature must be \[3, 4\] like features, found \[3, 5\]"),
        ({"features": np.full((3, 4, 2), np.nan)}, r'features is not finite in season 0 \(cultivar "b"\), day 0'),
        ({"target": np.full((3, 4), np.inf)}, "target is not finite in season 0"),
        ({"day_length": np.full((3, 4), np.nan)}, "day_length is not finite"),
    ],
)
def test_refusals_name_the_place(change: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Seasons(("b", "a", "b"), **{**arrays(), **change})


def test_names_must_fit() -> None:
    with pytest.raises(DataError, match="2 cultivar names for 3 seasons"):
        Seasons(("a", "b"), **arrays())


def record() -> Weather:
    days = 731
    date = np.datetime64("2019-01-01") + np.arange(days)
    level = np.arange(days, dtype=float) / 100
    return Weather(date, level, level + 8, np.zeros(days), np.ones(days), 46.0)


def test_seasons_from_dated_observations() -> None:
    seasons = seasons_from(
        record(),
        {
            ("Merlot", 2019): {dt.date(2019, 1, 30): 0, dt.date(2019, 4, 10): 1},
            ("Syrah", 2020): {dt.date(2020, 5, 1): 2},
        },
    )
    assert seasons.cultivar == ("Merlot", "Syrah") and seasons.days == 271
    assert seasons.target[0, 0] == 0 and seasons.target[0, 70] == 1 and np.isnan(seasons.target[0, 1])
    assert seasons.target[1, 92] == 2  # 30 January to 1 May in a leap year
    assert seasons.temperature[0, 0] == pytest.approx(29 / 100 + 4)
    assert seasons.features.shape == (2, 271, 9)


def test_observations_outside_are_refused() -> None:
    with pytest.raises(DataError, match='cultivar "Merlot" 2019: the observation of 2019-12-24 lies outside'):
        seasons_from(record(), {("Merlot", 2019): {dt.date(2019, 12, 24): 4}})
    with pytest.raises(DataError, match="the record runs from"):
        seasons_from(record(), {("Merlot", 2021): {}})
    with pytest.raises(DataError, match="no observations given"):
        seasons_from(record(), {})
