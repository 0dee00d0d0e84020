"""Weather: formulas against published examples, resampling, reading, and refusals."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pytest

from sharewise.errors import DataError
from sharewise.systems.crops import FEATURES, Weather, read_weather, resample, seattle
from sharewise.systems.crops._weather import day_length, evapotranspiration


def plain(days: int = 730, start: str = "2011-01-01") -> Weather:
    date = np.datetime64(start) + np.arange(days)
    wave = 10 + 8 * np.sin(2 * np.pi * np.arange(days) / 365)
    return Weather(date, wave - 4, wave + 4, np.ones(days), np.full(days, 3.0), 46.0)


def test_day_length_of_the_handbook() -> None:
    # FAO 56, example 9: 3 September (day 246), 20 degrees south: 11.7 hours.
    assert day_length(np.array([246.0]), -20.0)[0] == pytest.approx(11.7, abs=0.05)
    assert day_length(np.array([80.0]), 0.0)[0] == pytest.approx(12.0)


def test_evapotranspiration_of_the_handbook() -> None:
    # FAO 56, example 20: July (day 196), 45.72 degrees north, 14.8 to 26.6 C: 5.0 mm a day.
    found = evapotranspiration(np.array([196.0]), np.array([14.8]), np.array([26.6]), 45.72)[0]
    assert found == pytest.approx(5.0, abs=0.05)
    assert evapotranspiration(np.array([1.0]), np.array([-40.0]), np.array([-30.0]), 46.0)[0] == 0


def test_features() -> None:
    weather = plain(40)
    table = weather.features()
    assert table.shape == (40, len(FEATURES)) == (40, 9)
    assert table[0, FEATURES.index("TEMP")] == pytest.approx(10.0)
    assert table[:, FEATURES.index("DAYL")] == pytest.approx(day_length(weather.day, 46.0))


def test_season_of_a_record() -> None:
    part = plain().season(dt.date(2011, 1, 30), 271)
    assert len(part) == 271 and part.day[0] == 30 and str(part.date[-1]) == "2011-10-27"
    with pytest.raises(DataError, match="the record runs from 2011-01-01 to 2012-12-30"):
        plain().season(dt.date(2012, 6, 1), 271)


def test_resampled_days_keep_their_calendar_window() -> None:
    weather = plain()
    new = resample(weather, 30, 271, np.random.default_rng(0), spread=0.0)
    assert len(new) == 271 and new.day[0] == 30
    # Both years follow the same wave (up to one day), so without noise the season must follow it too.
    wave = 10 + 8 * np.sin(2 * np.pi * np.arange(29, 300) / 365)
    assert np.abs(new.mean - wave).max() < 0.2


def test_resampling_crosses_new_year_and_leaves_out_leap_days() -> None:
    new = resample(plain(days=1100), 274, 227, np.random.default_rng(0), spread=0.0)
    assert (new.day[0], new.day[-1]) == (274, 135)


def test_noise_is_autocorrelated_with_the_stated_spread() -> None:
    random = np.random.default_rng(0)
    weather = plain()
    noise = np.stack(
        [
            resample(weather, 1, 300, np.random.default_rng(i)).mean
            - resample(weather, 1, 300, np.random.default_rng(i), spread=0.0).mean
            for i in random.integers(0, 10**6, 60)
        ]
    )
    assert noise.std() == pytest.approx(1.5, rel=0.05)
    lag = (noise[:, 1:] * noise[:, :-1]).mean() / noise.var()
    assert lag == pytest.approx(0.7, abs=0.04)


def test_same_seed_same_season() -> None:
    one, two = (resample(plain(), 30, 50, np.random.default_rng(4)) for _ in range(2))
    assert np.array_equal(one.features(), two.features())


def test_weather_of_seattle() -> None:
    weather = seattle()
    assert len(weather) == 1461 and str(weather.date[0]) == "2012-01-01"
    assert weather.tmax[0] == 12.8 and weather.rain[1] == 10.9 and weather.wind[4] == 6.1


def test_reading_a_file(tmp_path: Path) -> None:
    path = tmp_path / "site.csv"
    path.write_text("day,lo,hi,mm,ms\n2020-05-01,5,15,0,2\n2020-05-02,6,16,1.5,3\n")
    names = {"date": "day", "tmin": "lo", "tmax": "hi", "rain": "mm", "wind": "ms"}
    weather = read_weather(path, 46.0, names)
    assert weather.mean.tolist() == [10, 11] and weather.rain.tolist() == [0, 1.5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no rows"),
        ("date,temp_min,temp_max,wind\n2020-05-01,1,2,3\n", r"no column \['precipitation'\]"),
        ("date,temp_min,temp_max,precipitation,wind\nMay,1,2,3,4\n", 'row 2: "May" is no date'),
        (
            "date,temp_min,temp_max,precipitation,wind\n2020-05-01,1,x,3,4\n",
            'row 2, column temp_max: "x" is no number',
        ),
        (
            "date,temp_min,temp_max,precipitation,wind\n2020-05-01,1,2,3,4\n2020-05-03,1,2,3,4\n",
            "2020-05-03 comes after 2020-05-01",
        ),
        ("date,temp_min,temp_max,precipitation,wind\n2020-05-01,3,2,3,4\n", "tmin is above tmax on 2020-05-01"),
        ("date,temp_min,temp_max,precipitation,wind\n2020-05-01,1,2,-3,4\n", "rain is negative on 2020-05-01"),
        ("date,temp_min,temp_max,precipitation,wind\n2020-05-01,1,2,nan,4\n", "rain is not a finite number"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "site.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_weather(path, 46.0)
    with pytest.raises(DataError, match="cannot be read"):
        read_weather(tmp_path / "none.csv", 46.0)


def test_bad_arrays_are_named() -> None:
    date = np.datetime64("2020-01-01") + np.arange(3)
    good = np.ones(3)
    with pytest.raises(DataError, match="tmax has 2 values for 3 dates"):
        Weather(date, good, good[:2], good, good, 46.0)
    with pytest.raises(DataError, match="latitude must lie"):
        Weather(date, good, good, good, good, 146.0)
    with pytest.raises(DataError, match="no year holds the days from 30 Jan"):
        resample(Weather(date, good, good, good, good, 46.0), 30, 20, np.random.default_rng(0))
