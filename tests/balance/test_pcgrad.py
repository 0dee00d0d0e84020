"""PCGrad: hand-calculated values, the algorithm itself on rows, and its promise."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from helpers.matrices import matrices, rows
from sharewise.balance import create
from sharewise.balance._gram import gram_matrix


def on_rows(matrix: Tensor, seed: int) -> Tensor:
    """Algorithm 1 of Yu et al. (2020) as it is written, on the rows, with the orders the balancer draws."""
    g = matrix.double()
    m = len(g)
    order = torch.rand(m, m, generator=torch.Generator().manual_seed(seed)).argsort(1).tolist()
    total = torch.zeros(g.shape[1], dtype=torch.float64)
    for i in range(m):
        v = g[i].clone()
        for j in order[i]:
            against = v @ g[j]
            if j != i and against < 0:
                v -= against / (g[j] @ g[j]) * g[j]
        total += v
    return total


def test_two_conflicting_rows_by_hand() -> None:
    # g1 = (1, 0), g2 = (-1, 1): <g1, g2> = -1. v1 = g1 + g2 / 2 = (1/2, 1/2); v2 = g2 + g1 = (0, 1).
    matrix = torch.tensor([[1.0, 0.0], [-1.0, 1.0]])
    assert create("pcgrad").aggregate(matrix).tolist() == pytest.approx([0.5, 1.5])
    weights = create("pcgrad").weights(matrix.double() @ matrix.double().T)
    assert weights.tolist() == pytest.approx([2.0, 1.5])


def test_three_rows_by_hand_in_an_order_that_does_not_matter() -> None:
    # g3 is orthogonal to both others, so only the pair (1, 2) projects, as above.
    matrix = torch.tensor([[1.0, 0.0, 0.0], [-1.0, 1.0, 0.0], [0.0, 0.0, 5.0]])
    for seed in range(5):
        assert create("pcgrad", seed=seed).aggregate(matrix).tolist() == pytest.approx([0.5, 1.5, 5.0])


def test_orthogonal_rows_are_summed() -> None:
    assert create("pcgrad").aggregate(torch.eye(4)).tolist() == [1.0, 1.0, 1.0, 1.0]


def test_opposite_rows_cancel() -> None:
    matrix = torch.tensor([[3.0, 4.0], [-6.0, -8.0]])
    assert create("pcgrad").aggregate(matrix).abs().max() < 1e-6


@settings(max_examples=150, deadline=None, derandomize=True)
@given(matrices())
def test_equals_the_algorithm_on_rows(matrix: Tensor) -> None:
    want = on_rows(matrix, seed=3)
    got = create("pcgrad", seed=3).aggregate(matrix)
    assert got.dtype == matrix.dtype
    # Errors are measured against the rows, not the result, which can be a small difference of large ones.
    size = matrix.double().norm(dim=1).sum()
    allowed = {torch.float64: 1e-9, torch.float32: 1e-5, torch.bfloat16: 2e-2}[matrix.dtype]
    assert (got.double() - want).norm() <= allowed * size


@settings(max_examples=100, deadline=None, derandomize=True)
@given(matrices(most=2))
def test_two_tasks_never_conflict_with_the_direction(matrix: Tensor) -> None:
    direction = create("pcgrad").weights(gram_matrix([matrix])) @ matrix.double()
    norms = matrix.double().norm(dim=1)
    assert bool((matrix.double() @ direction >= -1e-9 * norms * norms.sum()).all())


def test_norms_of_one_to_a_million_change_nothing_but_scale() -> None:
    # The direction for rows (a g1, b g2) is a v1 + b v2: exact in both, however far a and b are apart.
    unit = rows(2, 20, "conflict")
    unit /= unit.norm(dim=1, keepdim=True)
    cosine = float(unit[0] @ unit[1])
    for a, b in ((1.0, 1e6), (1e6, 1.0), (1e-6, 1e6)):
        gram = gram_matrix([unit * torch.tensor([[a], [b]], dtype=torch.float64)])
        got = create("pcgrad").weights(gram)
        # v1 = a (u1 - c u2), v2 = b (u2 - c u1): weights on g1 = a u1 are 1 - c b / a, and so on
        assert got.tolist() == pytest.approx([1 - cosine * b / a, 1 - cosine * a / b], rel=1e-12)


def test_zero_rows_are_neither_changed_nor_projected_on() -> None:
    matrix = torch.tensor([[0.0, 0.0], [1.0, 0.0], [-1.0, 1.0]])
    weights = create("pcgrad").weights(gram_matrix([matrix]))
    assert weights.tolist() == pytest.approx([1.0, 2.0, 1.5])


def test_order_is_random_and_the_generator_its_own() -> None:
    matrix = rows(6, 4, "gaussian", seed=1)
    gram = gram_matrix([matrix])
    one, other = create("pcgrad", seed=0), create("pcgrad", seed=0)
    torch.manual_seed(1)
    first = one.weights(gram)
    torch.manual_seed(2)
    assert torch.equal(first, other.weights(gram))
    assert not torch.equal(first, one.weights(gram))
    assert all(math.isfinite(w) for w in first.tolist())


@pytest.mark.parametrize("m", [40, 100])
def test_many_tasks(m: int) -> None:
    matrix = rows(m, 150, "conflict", spread=6)
    got = create("pcgrad", seed=5).aggregate(matrix)
    want = on_rows(matrix, seed=5)
    assert torch.allclose(got, want, rtol=0, atol=1e-9 * float(matrix.norm(dim=1).sum()))
