"""The exact parts of RAS: proximal map, biased regularisation, threshold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize

from sharewise.errors import DataError, ModelError
from sharewise.systems.representation._prox import biased_regularisation, noise_edge, shrink, spectrum
from sharewise.systems.representation._tasks import LinearTasks, LogisticLoss, SquaredLoss, make_loss

SEEDS = st.integers(0, 10_000)


def draw(seed: int, tasks: int = 4, n: int = 30, p: int = 6, labels: bool = False) -> LinearTasks:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(tasks, n, p)) * rng.uniform(0.5, 2, size=p)
    score = np.einsum("tnp,tp->tn", x, rng.normal(size=(tasks, p)))
    y = (rng.random((tasks, n)) < 1 / (1 + np.exp(-score))) if labels else score + rng.normal(size=(tasks, n))
    return LinearTasks(x, y.astype(float), np.ones((tasks, n), dtype=bool))


def basis(seed: int, p: int, r: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed + 1).normal(size=(p, r)))[0]


def test_shrink_by_hand():
    # Keep the first axis; outside is (3, 4) of length 5. A size of 2 leaves 3/5 of it, a size of 7 nothing.
    w, keep = np.array([[[9.0], [3.0], [4.0]]]), np.eye(3)[:, :1]
    assert shrink(w, np.array([2.0]), keep)[0, :, 0].tolist() == pytest.approx([9, 1.8, 2.4])
    assert shrink(w, np.array([7.0]), keep)[0, :, 0].tolist() == pytest.approx([9, 0, 0])
    # Around a centre: outside of w - (0, 3, 0) is (0, 4); half of it stays.
    centre = np.array([[[0.0], [3.0], [0.0]]])
    assert shrink(w, np.array([2.0]), keep, centre)[0, :, 0].tolist() == pytest.approx([9, 3, 2])
    # The squared norm divides by 1 + 2 size and never reaches 0.
    assert shrink(w, np.array([2.0]), keep, squared=True)[0, :, 0].tolist() == pytest.approx([9, 0.6, 0.8])
    # Nothing outside: nothing happens, and nothing is divided by 0.
    assert shrink(np.array([[[1.0], [0.0], [0.0]]]), np.array([1.0]), keep)[0, :, 0].tolist() == [1, 0, 0]


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.floats(0.01, 3), st.integers(0, 4), st.booleans())
def test_shrink_minimises_what_a_proximal_map_must(seed, size, r, squared):
    rng, keep = np.random.default_rng(seed), basis(seed, 5, r)
    w, centre = rng.normal(size=(1, 5, 1)), rng.normal(size=(1, 5, 1))

    def objective(b: np.ndarray) -> float:
        outside = (b - centre[0, :, 0]) - keep @ (keep.T @ (b - centre[0, :, 0]))
        norm = np.linalg.norm(outside)
        return 0.5 * np.sum((b - w[0, :, 0]) ** 2) + size * (norm**2 if squared else norm)

    found = shrink(w, np.array([size]), keep, centre, squared)[0, :, 0]
    # Strongly convex: no point near or far may be lower.
    for other in found + rng.normal(size=(50, 5)) * np.logspace(-6, 0, 50)[:, None]:
        assert objective(found) <= objective(other) + 1e-12


def by_secular_equation(gram: np.ndarray, moment: np.ndarray, keep: np.ndarray, strength: float) -> np.ndarray:
    """The minimiser another way: inside the subspace, or where mu |Q b(mu)| = strength (one root)."""
    q = np.eye(len(gram)) - keep @ keep.T
    inside = keep @ np.linalg.solve(keep.T @ gram @ keep, keep.T @ moment) if keep.shape[1] else 0 * moment
    if np.linalg.norm(q @ (moment - gram @ inside)) <= strength:
        return inside

    def solution(mu: float) -> np.ndarray:
        return np.linalg.solve(gram + mu * q, moment)

    mu = brentq(lambda m: m * np.linalg.norm(q @ solution(m)) - strength, 1e-14, 1e9, xtol=1e-15, rtol=1e-14)
    return solution(mu)


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.integers(0, 5), st.floats(0.001, 5))
def test_squared_loss_agrees_with_the_secular_equation(seed, r, strength):
    tasks, keep = draw(seed), basis(seed, 6, r)
    loss = SquaredLoss(tasks)
    start = loss.minimise()
    found = biased_regularisation(loss, start, np.full((4, 1), strength), keep, tolerance=1e-11)[..., 0]
    for t in range(4):
        wanted = by_secular_equation(loss.gram[t], loss.moment[t, :, 0], keep, strength)
        assert found[t] == pytest.approx(wanted, abs=1e-6)


def test_logistic_loss_agrees_with_a_general_minimiser():
    tasks, keep = draw(3, tasks=2, n=60, p=4, labels=True), basis(3, 4, 2)
    loss = LogisticLoss(tasks)
    start = loss.minimise()
    found = biased_regularisation(loss, start, np.full((2, 1), 0.05), keep, tolerance=1e-11)[..., 0]
    for t in range(2):

        def objective(b: np.ndarray, t: int = t) -> float:
            score = tasks.x[t] @ b
            outside = b - keep @ (keep.T @ b)
            return np.mean(np.logaddexp(0, score) - tasks.y[t] * score) + 0.05 * np.linalg.norm(outside)

        wanted = minimize(
            objective, start[t], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-13, "maxiter": 4000}
        )
        assert objective(found[t]) <= wanted.fun + 1e-10
        assert found[t] == pytest.approx(wanted.x, abs=1e-4)


@pytest.mark.parametrize("labels", [False, True])
def test_single_task_fits_have_no_gradient(labels):
    loss = make_loss(draw(5, labels=labels), "logistic" if labels else "squared", 1e-3)
    b = loss.minimise()
    assert np.abs(loss.gradient(b[..., None])).max() < 1e-9
    keep = basis(5, 6, 2)
    within = loss.minimise(keep)
    slope = loss.gradient(within[..., None])[..., 0]
    assert np.abs(slope @ keep).max() < 1e-9  # stationary within the subspace
    assert within == pytest.approx(within @ keep @ keep.T)


def test_separable_labels_still_give_a_finite_fit():
    x = np.linspace(-3, 3, 40)[None, :, None]
    tasks = LinearTasks(x, (x[..., 0] > 0).astype(float), np.ones((1, 40), dtype=bool))
    b = LogisticLoss(tasks, 1e-4).minimise()
    assert np.isfinite(b).all() and 5 < b[0, 0] < 1000


@pytest.mark.parametrize("labels", [False, True])
def test_many_strengths_at_once_are_as_each_alone(labels):
    tasks, keep = draw(7, labels=labels), basis(7, 6, 2)
    loss = make_loss(tasks, "logistic" if labels else "squared", 1e-3)
    start, strengths = loss.minimise(), np.array([0.0, 0.05, 0.3])
    together = biased_regularisation(loss, start, np.tile(strengths, (4, 1)), keep, tolerance=1e-10)
    for j, strength in enumerate(strengths):
        alone = biased_regularisation(loss, start, np.full((4, 1), strength), keep, tolerance=1e-10)
        assert together[..., j] == pytest.approx(alone[..., 0], abs=1e-7)


def test_spectrum_by_hand():
    # Two tasks along e1 with length 3, two along e2 with length 1: B / sqrt(4) has values sqrt(18)/2, sqrt(2)/2.
    b = np.array([[3.0, 0, 0], [3.0, 0, 0], [0, 1.0, 0], [0, -1.0, 0]])
    found = spectrum(b, 0.8)
    assert found.values[:2].tolist() == pytest.approx([np.sqrt(18) / 2, np.sqrt(2) / 2])
    assert found.rank == 1 and np.abs(found.basis[:, 0]).tolist() == pytest.approx([1, 0, 0])
    assert spectrum(b, 0.7).rank == 2
    assert spectrum(b, 9.0).rank == 0
    assert spectrum(b, 9.0, rank=2).rank == 2


def test_noise_edge_by_hand_and_on_pure_noise():
    # One column of ones, y = +-1: residual variance 4/3 over n - p - 1 = 2 rows, p = T = 1: edge 2 sqrt(2/3).
    tasks = LinearTasks(np.ones((1, 4, 1)), np.array([[1.0, -1, 1, -1]]), np.ones((1, 4), dtype=bool))
    loss = SquaredLoss(tasks)
    assert noise_edge(tasks, loss, loss.minimise(), 1) == pytest.approx(2 * np.sqrt(2 / 3))
    for kind in ("squared", "logistic"):
        rng = np.random.default_rng(0)
        y = rng.normal(size=(60, 400)) if kind == "squared" else (rng.random((60, 400)) < 0.5).astype(float)
        noise = LinearTasks(rng.normal(size=(60, 400, 20)), y, np.ones((60, 400), dtype=bool))
        fitted = make_loss(noise, kind)
        alone = fitted.minimise()
        edge = noise_edge(noise, fitted, alone, 20)
        assert spectrum(alone, 0.0).values[0] / edge == pytest.approx(1, abs=0.08)


def test_too_few_rows_are_named():
    tasks = draw(1, n=7, p=6)
    loss = SquaredLoss(tasks)
    with pytest.raises(DataError, match=r"task 0 has 7 rows for 6 coefficients.*give a threshold"):
        noise_edge(tasks, loss, np.zeros((4, 6)), 6)


def test_a_fit_that_does_not_settle_says_so():
    tasks = draw(2)
    with pytest.raises(ModelError, match=r"within 3 steps.*standardise"):
        biased_regularisation(SquaredLoss(tasks), np.zeros((4, 6)), np.full((4, 1), 0.1), basis(2, 6, 1), most=3)
