"""RAS as a user meets it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharewise.errors import DataError, OptionError
from sharewise.systems.representation import RAS, LinearTasks, errors, simulate, subspace_error
from sharewise.systems.representation._folds import FOLDS, cross_validated, fold_of

SEEDS = st.integers(0, 10_000)
SMALL = {"tasks": 12, "n": 40, "p": 8, "r": 2}
PENALTIES = ("subspace", "centre", "squared")


def small(seed: int, **options) -> LinearTasks:
    return simulate(seed, **{**SMALL, "eps": 0.4, **options}).tasks


def pairs(tasks: LinearTasks) -> list[tuple[np.ndarray, np.ndarray]]:
    return list(zip(tasks.x, tasks.y, strict=True))


def test_a_tiny_case_by_hand():
    # X^T X / n = I, so step 1 gives y's coefficients and step 3 is one shrinkage. B / sqrt(3) has values
    # sqrt(6) along e1 and 1 / sqrt(3) along e2; with tau = 1 only e1 stays. A strength of 1/2 halves (0, 1).
    x = np.array([[1.0, 1], [1, -1], [1, 1], [1, -1]])
    truth = np.array([[3.0, 0], [3.0, 0], [0, 1.0]])
    gamma = 0.5 * np.sqrt(4) / np.sqrt(2 + np.log(3))
    model = RAS(gamma=gamma, threshold=1.0).fit([(x, x @ b) for b in truth])
    assert model.spectrum.values.tolist() == pytest.approx([np.sqrt(6), 1 / np.sqrt(3)])
    assert model.spectrum.rank == 1 and model.spectrum.threshold == 1.0
    assert model.single_task == pytest.approx(truth)
    assert model.coefficients == pytest.approx(np.array([[3.0, 0], [3.0, 0], [0, 0.5]]))
    assert model.predict(2, [[0.0, 2.0]]).tolist() == pytest.approx([1.0])
    coefficients, intercept = model.transfer(x, x @ [1.0, 2.0])
    assert coefficients.tolist() == pytest.approx([1.0, 1.5]) and intercept == 0


@settings(max_examples=10, deadline=None)
@given(SEEDS, st.sampled_from(PENALTIES))
def test_no_strength_is_single_task_learning(seed, penalty):
    model = RAS(gamma=0, penalty=penalty).fit(small(seed))
    assert model.coefficients == pytest.approx(model.single_task, abs=1e-6)


@settings(max_examples=10, deadline=None)
@given(SEEDS, st.sampled_from(("subspace", "centre")))
def test_a_great_strength_is_the_fit_within_the_subspace(seed, penalty):
    tasks = small(seed)
    model = RAS(gamma=1e4, penalty=penalty, rank=3).fit(tasks)
    a = model.spectrum.basis
    for t, (x, y) in enumerate(pairs(tasks)):
        assert model.coefficients[t] == pytest.approx(a @ np.linalg.lstsq(x @ a, y, rcond=None)[0], abs=1e-6)


@settings(max_examples=10, deadline=None)
@given(SEEDS, st.sampled_from(PENALTIES))
def test_the_order_of_tasks_and_rows_does_not_matter(seed, penalty):
    tasks, rng = small(seed), np.random.default_rng(seed)
    order, rows = rng.permutation(12), rng.permutation(40)
    model = RAS(penalty=penalty).fit(tasks)
    moved = RAS(penalty=penalty).fit([(tasks.x[t][rows], tasks.y[t][rows]) for t in order])
    assert moved.coefficients == pytest.approx(model.coefficients[order], abs=1e-6)
    assert moved.spectrum.values == pytest.approx(model.spectrum.values)


@settings(max_examples=10, deadline=None)
@given(SEEDS, st.sampled_from(PENALTIES), st.floats(0.1, 10))
def test_rotated_columns_rotate_and_scaled_targets_scale(seed, penalty, scale):
    tasks = small(seed)
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(8, 8)))[0]
    model = RAS(penalty=penalty).fit(tasks)
    turned = RAS(penalty=penalty).fit([(x @ turn, y) for x, y in pairs(tasks)])
    assert turned.coefficients @ turn.T == pytest.approx(model.coefficients, abs=1e-6)
    # The strength has the unit of y, so it must scale along.
    scaled = RAS(gamma=0.5 * (1 if penalty == "squared" else scale), penalty=penalty)
    scaled.fit([(x, scale * y) for x, y in pairs(tasks)])
    assert scaled.coefficients == pytest.approx(scale * model.coefficients, abs=1e-5 * scale)
    assert scaled.spectrum.rank == model.spectrum.rank


def test_reference_values_of_the_method():
    # 100 tasks, n 100, p 40, r 3, 80 % of tasks in a second subspace: an independent prototype of the same
    # reading gave single-task 0.79, RAS 0.43, other tasks 0.36, with 6 directions (five seeds).
    found = [simulate(s, eps=0.8, outliers="subspace") for s in range(5)]
    models = [RAS().fit(f.tasks) for f in found]
    inlier = [errors(m.coefficients, f)[f.inlier].mean() for m, f in zip(models, found, strict=True)]
    other = [errors(m.coefficients, f)[~f.inlier].mean() for m, f in zip(models, found, strict=True)]
    alone = [errors(m.single_task, f)[f.inlier].mean() for m, f in zip(models, found, strict=True)]
    assert np.mean(inlier) == pytest.approx(0.43, abs=0.02)
    assert np.mean(other) == pytest.approx(0.36, abs=0.01)
    assert np.mean(alone) == pytest.approx(0.80, abs=0.02)
    assert {m.spectrum.rank for m in models} == {6}
    assert max(subspace_error(m.spectrum.basis, f.basis) for m, f in zip(models, found, strict=True)) < 0.35


def test_logistic_tasks_gain_and_transfer():
    options = {"tasks": 40, "n": 300, "p": 15, "r": 2, "outliers": "subspace", "loss": "logistic"}
    found = simulate(0, eps=0.5, **options)
    model = RAS(loss="logistic").fit(found.tasks)
    assert model.spectrum.rank == 4
    gained, alone = errors(model.coefficients, found), errors(model.single_task, found)
    assert gained.mean() < 0.7 * alone.mean()
    target = simulate(1, **{**options, "tasks": 1, "n": 80}, basis=found.basis)
    moved, _ = model.transfer(target.tasks.x[0], target.tasks.y[0])
    own = RAS(loss="logistic", gamma=0, threshold=0.0).fit(target.tasks)
    assert errors(moved[None], target)[0] < 0.7 * errors(own.coefficients, target)[0]


def test_intercepts_are_free():
    tasks = pairs(small(3))
    plain = RAS(gamma=1.0, intercept=True).fit(tasks)
    shifted = RAS(gamma=1.0, intercept=True).fit([(x, y + 100.0 * t) for t, (x, y) in enumerate(tasks)])
    assert shifted.coefficients == pytest.approx(plain.coefficients, abs=1e-4)
    assert shifted.intercepts - plain.intercepts == pytest.approx(100.0 * np.arange(12), abs=1e-4)
    moved, intercept = shifted.transfer(tasks[0][0], tasks[0][1] + 7.0)
    assert intercept == pytest.approx(7.0 + plain.intercepts[0], abs=1e-3)
    assert moved == pytest.approx(plain.coefficients[0], abs=1e-3)
    centre = RAS(penalty="centre", intercept=True).fit(tasks)
    offset = RAS(penalty="centre", intercept=True).fit([(x, y + 5.0) for x, y in tasks])
    assert offset.intercepts - centre.intercepts == pytest.approx(np.full(12, 5.0), abs=1e-4)


def test_tasks_of_different_length_are_as_given():
    tasks = [(x[: 20 + t], y[: 20 + t]) for t, (x, y) in enumerate(pairs(small(4)))]
    model = RAS().fit(tasks)
    for t, (x, y) in enumerate(tasks):
        assert model.single_task[t] == pytest.approx(np.linalg.lstsq(x, y, rcond=None)[0])
    assert np.isfinite(model.coefficients).all()


def test_fewer_rows_than_columns_need_a_threshold():
    tasks = [(x[:6], y[:6]) for x, y in pairs(small(5))]
    with pytest.raises(DataError, match="give a threshold"):
        RAS().fit(tasks)
    assert np.isfinite(RAS(threshold=0.5).fit(tasks).coefficients).all()


def test_cross_validation_prefers_sharing_where_tasks_share():
    shared = RAS(gamma="cv").fit(small(6, eps=0.0))
    assert shared.gammas.min() > 0 and len(set(shared.gammas)) == 1
    # One direction kept, of twelve unrelated ones: the bias is wrong for every task. What little is chosen
    # is the gain of shrinking eight coefficients at all.
    unrelated = small(6, eps=1.0, n=200)
    assert RAS(gamma="cv", rank=1).fit(unrelated).gammas.max() <= 0.1 < shared.gammas.min()
    each = RAS(gamma="cv per task", rank=2).fit(small(6, n=200, outliers="random"))
    assert len(set(each.gammas)) > 1


def test_folds_are_even_and_cover():
    tasks = LinearTasks.of([(np.ones((n, 1)), np.arange(n)) for n in (23, 40)])
    fold = fold_of(tasks, 0)
    assert (fold[0, 23:] == -1).all()
    for t, n in enumerate((23, 40)):
        counts = np.bincount(fold[t, :n])
        assert len(counts) == FOLDS and counts.max() - counts.min() <= 1


def test_cross_validation_never_shows_a_held_out_row():
    tasks = small(7)
    fold = fold_of(tasks, 0)
    seen = []

    def path(train: LinearTasks) -> np.ndarray:
        seen.append(train.used)
        assert (train.y[~train.used] == 0).all() and (train.x[~train.used] == 0).all()
        return np.zeros((12, 8, 6))

    assert (cross_validated(tasks, path, "squared", 0, per_task=False) == 0).all()  # a tie: the smallest
    assert [(~used & (fold == k)).sum() for k, used in enumerate(seen)] == [(fold == k).sum() for k in range(5)]


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: RAS(gamma="auto"), OptionError, '"cv" or "cv per task"'),
        (lambda: RAS(gamma=-1), OptionError, "gamma is -1"),
        (lambda: RAS(penalty="l1"), OptionError, '"subspace", "centre" or "squared"'),
        (lambda: RAS(loss="hinge"), OptionError, '"squared" or "logistic"'),
        (lambda: RAS(c=0), OptionError, "c must be > 0"),
        (lambda: RAS().transfer([[1.0]], [1.0]), OptionError, "call fit first"),
        (lambda: RAS().fit([]), DataError, "no tasks"),
        (lambda: RAS().fit([([[1.0, 2]], [1.0, 2])]), DataError, "task 0: X has shape"),
        (lambda: RAS().fit([(np.ones((9, 2)), np.ones(9)), (np.ones((9, 3)), np.ones(9))]), DataError, "task 1 has 3"),
        (lambda: RAS().fit([(np.full((9, 2), np.nan), np.ones(9))]), DataError, "task 0 holds NaN"),
        (lambda: RAS(loss="logistic").fit([(np.ones((9, 1)), np.arange(9))]), DataError, "expected 0 and 1"),
        (lambda: RAS(loss="logistic").fit([(np.ones((9, 1)), np.ones(9))]), DataError, "one class only"),
        (lambda: RAS(gamma="cv", threshold=1.0).fit([(np.eye(9), np.ones(9))]), DataError, "needs 10"),
        (lambda: RAS().fit(small(0)).transfer(np.ones((5, 3)), np.ones(5)), DataError, "3 columns"),
    ],
)  # fmt: skip
def test_wrong_input_is_named(call, error, words):
    with pytest.raises(error, match=words):
        call()
