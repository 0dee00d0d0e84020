"""Quadratic programs over non-negative vectors: the optimality conditions, on every kind of matrix."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from helpers.matrices import SHAPES, matrices, rows
from sharewise.balance import _nonnegative
from sharewise.balance._cosines import positive_definite, split
from sharewise.balance._gram import gram_matrix
from sharewise.balance._nonnegative import minimise


def residual(matrix: Tensor, linear: Tensor, x: Tensor) -> float:
    """The largest violation of x >= 0, s >= 0, x s = 0, relative to the size of the terms."""
    s = x @ matrix + linear
    size = (x @ matrix.abs()).amax(1) + linear.abs().amax(1)
    assert float(x.min()) >= 0
    wrong = torch.maximum(-s.amin(1), (x * s).abs().amax(1) / x.amax(1).clamp_min(1))
    return float((wrong / size.clamp_min(1e-300)).max())


def programs(matrix: Tensor) -> list[tuple[Tensor, Tensor]]:
    """What the balancers solve: for each row, for a mean with norms far apart, and for the shortest combination."""
    cosines, norms = split(gram_matrix([matrix]))
    definite = positive_definite(cosines)
    lengths = norms / norms.amax().clamp_min(1e-300)
    inverse = lengths[lengths > 0].amin() / lengths if bool((lengths > 0).all()) else torch.ones_like(lengths)
    return [
        (definite, definite),
        (definite, (definite @ lengths)[None]),
        (definite + torch.outer(inverse, inverse), -inverse[None]),
    ]


def test_by_hand() -> None:
    # min x1^2/2 + x2^2/2 - x1 x2/2 - x1 + x2: with x2 = 0, x1 = 1, s2 = -1/2 + 1 = 1/2 >= 0
    matrix = torch.tensor([[1.0, -0.5], [-0.5, 1.0]], dtype=torch.float64)
    linear = torch.tensor([[-1.0, 1.0], [-1.0, -1.0], [1.0, 2.0]], dtype=torch.float64)
    # second: both positive, x1 = x2 = x, x / 2 = 1; third: nothing to gain
    assert minimise(matrix, linear).flatten().tolist() == pytest.approx([1.0, 0.0, 2.0, 2.0, 0.0, 0.0])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(matrices())
def test_optimality_conditions(matrix: Tensor) -> None:
    for definite, linear in programs(matrix):
        assert residual(definite, linear, minimise(definite, linear)) <= 1e-12


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("m", [2, 100])
def test_optimality_conditions_for_few_and_many(m: int, shape: str) -> None:
    for definite, linear in programs(rows(m, 150, shape, spread=6)):
        assert residual(definite, linear, minimise(definite, linear)) <= 1e-12


def test_the_interior_point_method_alone_finds_the_same_vector(monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(5):
        definite, linear = programs(rows(12, 30, "conflict", spread=3, seed=seed))[0]
        want = minimise(definite, linear)
        got = _nonnegative._interior(definite, linear)
        assert residual(definite, linear, got) <= 1e-12
        assert torch.allclose(got @ definite, want @ definite, rtol=0, atol=1e-9)


def test_dependent_rows_need_the_interior_point_method(monkeypatch: pytest.MonkeyPatch) -> None:
    # Guards the tests above: without such matrices they would not reach the second method.
    reached = []
    inner = _nonnegative._interior
    monkeypatch.setattr(_nonnegative, "_interior", lambda *a: reached.append(len(a[1])) or inner(*a))
    definite, linear = programs(rows(40, 60, "rank half", spread=6))[0]
    minimise(definite, linear)
    assert reached


@pytest.mark.parametrize("guess", [True, False])
def test_a_guess_changes_nothing(guess: bool) -> None:
    definite, linear = programs(rows(20, 40, "gaussian", spread=3))[0]
    passive = torch.full_like(linear, guess, dtype=torch.bool)
    assert torch.allclose(minimise(definite, linear, passive), minimise(definite, linear), rtol=0, atol=1e-12)


@pytest.mark.parametrize("exchanges", [12, 1])
def test_one_program_alone_is_solved_as_among_others(exchanges: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it has not settled, and goes on with the second method."""
    definite, linear = programs(rows(20, 40, "conflict", spread=3))[0]
    want = minimise(definite, linear)
    monkeypatch.setattr(_nonnegative, "_EXCHANGES", exchanges)
    for k in range(len(linear)):
        alone = minimise(definite, linear[k : k + 1])
        assert torch.allclose(alone[0] @ definite, want[k] @ definite, rtol=0, atol=1e-9)
    nothing = minimise(definite, torch.ones_like(linear[:1]))
    assert not nothing.any()
