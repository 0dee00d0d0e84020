"""The simulator keeps what it promises, for every structure of outliers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharewise.errors import OptionError
from sharewise.systems.representation import simulate, subspace_error

SIZES = {"tasks": 20, "n": 5, "p": 10, "r": 3}


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from((0.0, 0.2, 0.5, 0.95, 1.0)),
    st.sampled_from((0.0, 0.3, 0.8, 1.0)),
    st.sampled_from(("random", "subspace", "uniform")),
)
def test_inliers_lie_as_far_from_the_basis_as_asked(seed, eps, h, outliers):
    found = simulate(seed, eps=eps, h=h, outliers=outliers, **SIZES)
    assert (~found.inlier).sum() == round(eps * 20)
    inside = found.coefficients @ found.basis @ found.basis.T
    away = np.linalg.norm(found.coefficients - inside, axis=1) / np.linalg.norm(found.coefficients, axis=1)
    assert away[found.inlier] == pytest.approx(h, abs=1e-9)
    if outliers != "uniform":
        assert np.linalg.norm(found.coefficients, axis=1) == pytest.approx(2.0)
    else:
        assert np.abs(found.coefficients[~found.inlier]).max(initial=0) <= 1
    if outliers == "subspace":
        assert np.linalg.matrix_rank(found.coefficients[~found.inlier]) <= 3


def test_targets_follow_their_coefficients():
    found = simulate(0, tasks=3, n=4000, p=5, r=1)
    for t in range(3):
        fit = np.linalg.lstsq(found.tasks.x[t], found.tasks.y[t], rcond=None)[0]
        assert fit == pytest.approx(found.coefficients[t], abs=0.08)
        assert (found.tasks.y[t] - found.tasks.x[t] @ found.coefficients[t]).std() == pytest.approx(1, abs=0.05)
    labels = simulate(0, tasks=1, n=20_000, p=4, r=1, loss="logistic")
    score = labels.tasks.x[0] @ labels.coefficients[0]
    assert labels.tasks.y[0][score > 2].mean() == pytest.approx(0.94, abs=0.03)
    assert labels.tasks.y[0][np.abs(score) < 0.2].mean() == pytest.approx(0.5, abs=0.05)


def test_the_seed_decides():
    one, same, other = simulate(1, **SIZES), simulate(1, **SIZES), simulate(2, **SIZES)
    assert (one.tasks.y == same.tasks.y).all() and not (one.tasks.y == other.tasks.y).any()
    moved = simulate(2, basis=one.basis, **SIZES)
    assert subspace_error(one.basis, moved.basis) < 1e-9


def test_subspace_error_by_hand():
    e = np.eye(3)
    assert subspace_error(e[:, :1], e[:, :1]) == 0
    assert subspace_error(e[:, :1], e[:, :2]) == 1
    assert subspace_error(e[:, :0], e[:, :1]) == 1
    slanted = np.array([[0.6], [0.8], [0]])
    assert subspace_error(e[:, :1], slanted) == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"eps": 1.5}, "between 0 and 1"),
        ({"h": -0.1}, "between 0 and 1"),
        ({"r": 6, "p": 10}, "p >= 2 r"),
        ({"outliers": "many"}, '"random", "subspace" or "uniform"'),
    ],
)
def test_wrong_options_are_named(options, words):
    with pytest.raises(OptionError, match=words):
        simulate(0, **options)
