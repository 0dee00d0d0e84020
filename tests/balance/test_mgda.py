"""MGDA: hand-calculated values, the shortest vector, and its normalisations."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from helpers.matrices import matrices, rows
from sharewise.balance import MGDA, create
from sharewise.balance._gram import gram_matrix
from sharewise.errors import BalanceError, OptionError


def test_two_orthogonal_rows_by_hand() -> None:
    # w1 = <g2 - g1, g2> / |g1 - g2|^2 = 4 / 5, so d = (0.8, 0.4) and <d, g1> = <d, g2> = |d|^2 = 0.8
    matrix = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    assert MGDA().weights(gram_matrix([matrix])).tolist() == pytest.approx([0.8, 0.2], rel=1e-12)
    assert MGDA().aggregate(matrix).tolist() == pytest.approx([0.8, 0.4])


def test_a_row_that_is_the_nearest_point_alone() -> None:
    # <g1, g2> = 2 > |g1|^2: every combination is longer than g1
    matrix = torch.tensor([[1.0, 0.0], [2.0, 3.0]])
    assert MGDA().weights(gram_matrix([matrix])).tolist() == [1.0, 0.0]


def test_three_rows_around_zero() -> None:
    # the corners of a triangle around 0 with barycentric coordinates (1/4, 1/4, 1/2)
    matrix = torch.tensor([[2.0, 1.0], [-2.0, 1.0], [0.0, -1.0]], dtype=torch.float64)
    balancer = MGDA()
    assert balancer.weights(gram_matrix([matrix])).tolist() == pytest.approx([0.25, 0.25, 0.5], rel=1e-9)
    assert float(balancer.aggregate(matrix).norm()) < 1e-10


@settings(max_examples=100, deadline=None, derandomize=True)
@given(matrices())
def test_stationarity(matrix: Tensor) -> None:
    # <d, g_k> >= |d|^2 for all, with equality where the weight is positive: d is the shortest vector
    wide = matrix.double()
    weights = MGDA().weights(gram_matrix([matrix]))
    norms = wide.norm(dim=1)
    direction = weights @ wide
    excess = wide @ direction - direction @ direction
    allowed = 1e-9 * direction.norm() + 1e-11 * (weights * norms).sum()
    assert float(weights.min()) >= 0
    assert float(weights.sum()) == pytest.approx(1, abs=1e-12)
    assert bool((excess >= -allowed * norms).all())
    assert bool((weights * excess <= allowed * norms).all())


@pytest.mark.parametrize("normalisation", ["none", "l2", "loss", "loss+"])
def test_normalised_rows_are_combined_to_their_shortest_vector(normalisation: str) -> None:
    matrix = rows(6, 30, "conflict", spread=3)
    losses = torch.tensor([1.0, 5.0, 0.1, 2.0, 30.0, 1.0])
    lengths, values = matrix.norm(dim=1), losses.double()
    divisor = {"none": torch.ones(6), "l2": lengths, "loss": values, "loss+": lengths * values}[normalisation]
    got = create("mgda", normalisation=normalisation).aggregate(matrix, losses)
    want = MGDA().aggregate(matrix / divisor[:, None])
    assert torch.allclose(got / got.norm(), want / want.norm(), rtol=0, atol=1e-10)
    weights = create("mgda", normalisation=normalisation).weights(gram_matrix([matrix]), losses)
    assert float(weights.sum()) == pytest.approx(1)
    assert bool((matrix @ got > 0).all())


def test_normalised_lengths_do_not_matter() -> None:
    matrix = rows(5, 20, "conflict")
    scales = torch.tensor([1.0, 1e6, 1e-3, 10.0, 1e3], dtype=torch.float64)
    balancer = MGDA(normalisation="l2")
    one, other = balancer.aggregate(matrix), balancer.aggregate(matrix * scales[:, None])
    assert torch.allclose(one / one.norm(), other / other.norm(), rtol=0, atol=1e-9)


def test_a_zero_row_stops_everything() -> None:
    matrix = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    assert MGDA().weights(gram_matrix([matrix])).tolist() == [0.0, 0.5, 0.5]


def test_losses_that_cannot_divide() -> None:
    with pytest.raises(BalanceError, match=r'divides by the loss, but that of task "b" is 0\.0'):
        MGDA(normalisation="loss").aggregate(rows(2, 3), torch.tensor([1.0, 0.0]), names=["a", "b"])


def test_unknown_normalisation() -> None:
    with pytest.raises(OptionError, match='did you mean "loss'):
        create("mgda", normalisation="los")
