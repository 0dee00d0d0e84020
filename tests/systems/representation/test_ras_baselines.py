"""The methods RAS is compared with do what they are known for."""

from __future__ import annotations

import numpy as np
import pytest

from sharewise.systems.representation import (
    errors,
    known_rank_projection,
    penalised_erm,
    pooled,
    simulate,
    single_task,
    winsorised_spectral,
)

SIZES = {"tasks": 30, "n": 60, "p": 12, "r": 2}


def test_single_and_pooled_are_least_squares():
    tasks = simulate(0, **SIZES).tasks
    assert single_task(tasks)[3] == pytest.approx(np.linalg.lstsq(tasks.x[3], tasks.y[3], rcond=None)[0])
    every = np.linalg.lstsq(tasks.x.reshape(-1, 12), tasks.y.ravel(), rcond=None)[0]
    found = pooled(tasks)
    assert found[0] == pytest.approx(every) and (found == found[0]).all()


def test_a_known_rank_is_a_hard_bias():
    clean, mixed = simulate(1, **SIZES), simulate(1, eps=0.7, outliers="subspace", **SIZES)
    found = known_rank_projection(clean.tasks, 2)
    assert np.linalg.matrix_rank(found) == 2
    assert errors(found, clean).mean() < 0.6 * errors(single_task(clean.tasks), clean).mean()
    inlier = mixed.inlier
    wrong = errors(known_rank_projection(mixed.tasks, 2), mixed)[inlier].mean()
    assert wrong > 1.5 * errors(single_task(mixed.tasks), mixed)[inlier].mean()


def test_winsorising_limits_one_huge_task():
    found = simulate(2, **SIZES)
    found.tasks.y[0] = 1000.0 * found.tasks.x[0] @ np.ones(12)
    _, spectrum = winsorised_spectral(found.tasks, r_bar=12)
    # The task of norm 3464 counts as one of norm 5: at most 5 / sqrt(30) above the others' own values.
    assert spectrum.values[0] < 2.0 + 5 / np.sqrt(30)
    edge = np.sqrt((12 + np.log(30)) / 60) + 0.05 * 5 * 12**-0.75
    assert spectrum.threshold == pytest.approx(edge)


def test_both_earlier_methods_gain_where_tasks_share():
    found = simulate(3, **SIZES)
    alone = errors(single_task(found.tasks), found).mean()
    assert errors(winsorised_spectral(found.tasks, r_bar=12)[0], found).mean() < 0.8 * alone
    assert errors(penalised_erm(found.tasks, 2, steps=60), found).mean() < 0.8 * alone


def test_penalised_erm_ends():
    found = simulate(4, **SIZES)
    # No room to move: a great strength on the bases and on the coefficients is one shared basis.
    stiff = penalised_erm(found.tasks, 2, strength=1e4, gamma=1e4, steps=60)
    assert np.linalg.svd(stiff)[1][2] < 0.02 * np.linalg.svd(stiff)[1][1]
    # No strength on the coefficients: single-task learning, whatever the bases.
    free = penalised_erm(found.tasks, 2, gamma=0.0, steps=2)
    assert free == pytest.approx(single_task(found.tasks), abs=1e-5)
