"""Onset days and backward transitions, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from sharewise.systems.crops import backward_share, inconsistent_share, onset_day, onset_errors

STAGES = np.array([[0, 0, 1, 1, 2, 3.0], [0, 1, 1, 1, 1, 1.0]])


def test_onset_days() -> None:
    assert onset_day(STAGES, 1).tolist() == [2, 1]
    assert onset_day(STAGES, 2).tolist() == [4, 6]  # never: the season's length
    assert onset_day(np.array([[0, 0.4, 0.6, 2.7]]), 1).tolist() == [2]
    assert onset_day(np.array([[0, 0.4, 0.6, 2.7]]), 2).tolist() == [3]  # jumped over, hence reached


def test_errors_count_seasons_that_reach_the_stage() -> None:
    late = np.array([[0, 0, 0, 1, 1, 2.0], [0, 0, 0, 0, 0, 0]])
    found = onset_errors(late, STAGES)
    assert found["budbreak_rmse"] == pytest.approx(np.sqrt((1**2 + 5**2) / 2))
    assert found["bloom_rmse"] == 1.0  # only the first season reaches it
    assert found["veraison_rmse"] == 1.0  # day 5, forecast never: 6
    assert found["onset_rmse"] == pytest.approx(2 + np.sqrt(13))


def test_backward_share() -> None:
    forecast = np.array([[0, 1, 0, 1, 1, 2.0], [0, 0.4, 0.2, 0.1, 0, 1]])
    # Changes: up, down, up, up in the first season, one up in the second; wiggles below 0.5 are none.
    assert backward_share(forecast) == pytest.approx(20.0)
    assert inconsistent_share(forecast) == 50.0
    assert backward_share(STAGES) == 0.0
    assert backward_share(np.zeros((2, 5))) == 0.0
