"""The simulated truth: its drivers, its splits, its observations."""

from __future__ import annotations

import numpy as np
import pytest

from sharewise.systems.crops import GDDPhenology, Weather, seattle, simulate
from sharewise.systems.crops._simulator import Simulation, _phenology_theta, spring_chill, usual_chill, water_deficit


@pytest.fixture(scope="module")
def phenology() -> Simulation:
    return simulate("phenology", seattle(), seed=0, cultivars=4, train=3, test=2)


def test_water_deficit_by_hand() -> None:
    # Evapotranspiration is zero below -17.8 C, so that only rain counts: 3, then 3 * 29/30 + 6, negative.
    date = np.datetime64("2020-01-30") + np.arange(2)
    cold = np.full(2, -30.0)
    weather = Weather(date, cold, cold, np.array([3.0, 6.0]), np.ones(2), 46.0)
    assert water_deficit(weather).tolist() == pytest.approx([-3, -3 * 29 / 30 - 6])


def test_spring_chill_by_hand() -> None:
    days = np.datetime64("2020-01-30") + np.arange(271)
    level = np.where(np.arange(271) < 91, 4.0, -50.0)
    weather = Weather(days, level, level, np.zeros(271), np.ones(271), 46.0)
    assert spring_chill(weather) == 91 * 6


def test_parameters_follow_their_drivers() -> None:
    real = seattle()
    days = np.datetime64("2013-01-30") + np.arange(271)
    level = np.full(271, 30.0)
    drought = Weather(days, level - 10, level + 10, np.zeros(271), np.ones(271), 46.0)
    box = GDDPhenology.box
    own = box.clip(box.stock).numpy()[None]
    theta = _phenology_theta(own, [drought], box, usual_chill(real))[0]
    assert theta[-1, 0] == pytest.approx(8.19 + 2.5, abs=0.05), "deep deficit: the whole 2.5 C"
    assert theta[0, 0] == pytest.approx(8.19 + 2.5 * np.tanh(water_deficit(drought)[0] / 60))
    assert theta[0, 4] == pytest.approx(659 * 0.75, rel=0.01), "no chill at all: a quarter less"
    assert np.ptp(theta[:, [1, 2, 3, 4, 5, 6]], axis=0).max() == 0


def test_splits_share_no_year(phenology: Simulation) -> None:
    years = [{row.tobytes() for row in s.temperature} for s in (phenology.train, phenology.validation, phenology.test)]
    assert not years[0] & years[1] and not years[0] & years[2] and not years[1] & years[2]
    assert len(phenology.train) == 12 and phenology.train.cultivars == tuple(f"cultivar-{i:02d}" for i in range(4))


def test_observations_are_weekly_and_a_day_off_at_most(phenology: Simulation) -> None:
    seen, truth = phenology.train.observed, phenology.truth["train"]
    assert seen.any(0).nonzero()[0].tolist() == list(range(0, 271, 7))
    exact = 0
    for target, stages in zip(phenology.train.target, truth, strict=True):
        for day in range(7, 264, 7):
            assert target[day] in np.minimum(stages[day - 1 : day + 2], 4)
            exact += target[day] == min(stages[day], 4)
    assert exact < seen.sum(), "some observations must be off"


def test_every_cultivar_goes_through_the_stages(phenology: Simulation) -> None:
    truth = phenology.truth["test"]
    assert (np.diff(truth, axis=1) >= 0).all()
    assert (truth.max(1) >= 3).mean() > 0.9


def test_hardiness() -> None:
    found = simulate("hardiness", seattle(), seed=0, cultivars=3, train=2, test=1)
    assert found.train.days == 227 and found.train.observed.any(0).nonzero()[0].tolist() == list(range(0, 227, 14))
    noise = (found.train.target - found.truth["train"])[found.train.observed]
    assert 0.4 < noise.std() < 0.8
    assert found.truth["train"].min() > -40 and found.truth["train"].max() < 0


def test_seeds() -> None:
    one, two, other = (simulate("phenology", seattle(), s, 3, 1, 1, 1) for s in (5, 5, 6))
    assert np.array_equal(one.train.target, two.train.target, equal_nan=True)
    assert not np.array_equal(one.train.temperature, other.train.temperature)
