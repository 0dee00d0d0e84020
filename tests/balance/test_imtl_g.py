"""IMTL-G: equal projections, hand-calculated values, and what happens where the paper's formula fails."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor
from torchjd.aggregation import IMTLG as Peer

from helpers.matrices import independent, matrices, rows
from sharewise.balance import create
from sharewise.balance._gram import gram_matrix

# Unit rows u1, u2 at right angles and u3 at 0.6 to both: the third lies nearly between the others.
FAN = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.6, 0.6, 0.28**0.5]], dtype=torch.float64)


def projections(matrix: Tensor) -> Tensor:
    """Inner products of the direction with the unit rows, in float64."""
    direction = create("imtl_g").weights(gram_matrix([matrix])) @ matrix.double()
    return matrix.double() @ direction / matrix.double().norm(dim=1)


def test_two_rows_by_hand() -> None:
    # Orthogonal, so x = (1, 1) and the weights are (1/2, 1/1) over their sum 3/2.
    matrix = torch.tensor([[2.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    assert create("imtl_g").weights(matrix @ matrix.T).tolist() == pytest.approx([1 / 3, 2 / 3])
    assert create("imtl_g").aggregate(matrix).tolist() == pytest.approx([2 / 3, 2 / 3])


@settings(max_examples=150, deadline=None, derandomize=True)
@given(independent())
def test_independent_rows_have_equal_positive_projections(matrix: Tensor) -> None:
    found = projections(matrix)
    assert float(found.min()) > 0
    assert float(found.max() - found.min()) <= 1e-9 * float(found.max())


@settings(max_examples=100, deadline=None, derandomize=True)
@given(matrices())
def test_weights_sum_to_one_at_most_and_the_length_is_bounded(matrix: Tensor) -> None:
    gram = gram_matrix([matrix])
    weights = create("imtl_g").weights(gram)
    total, norms = float(weights.sum()), gram.diagonal().sqrt()
    assert abs(total) <= 1 + 1e-9
    length = float((weights @ gram @ weights).clamp_min(0).sqrt())
    assert length <= (1 + 1e-6) * float(norms.sum())
    # A smaller sum only where the length is at its bound, or where no direction exists.
    assert abs(total) >= 1 - 1e-6 or length >= (1 - 1e-6) * float(norms.sum()) or not bool(weights.any())


def test_scaling_a_loss_changes_the_length_not_the_direction() -> None:
    matrix = rows(6, 30, "conflict")
    scaled = matrix * torch.logspace(-3, 3, 6, dtype=torch.float64)[:, None]
    one, other = (create("imtl_g").aggregate(j) for j in (matrix, scaled))
    assert float(torch.cosine_similarity(one, other, dim=0)) == pytest.approx(1.0, abs=1e-12)


def test_a_negative_sum_still_lowers_every_loss_where_the_peer_raises_all() -> None:
    # U U^T x = 1 for FAN: x1 + 0.6 x3 = 1 and 1.2 x1 + x3 = 1, so x = (10, 10, -5) / 7. With |g3| = 0.1 the weights
    # before division are (10, 10, -50) / 7, of sum -30/7; divided by 30/7 they are (1/3, 1/3, -5/3).
    matrix = FAN * torch.tensor([[1.0], [1.0], [0.1]], dtype=torch.float64)
    assert create("imtl_g").weights(matrix @ matrix.T).tolist() == pytest.approx([1 / 3, 1 / 3, -5 / 3])
    # The inner product with each unit row is 1 before division, so 7/30 after it.
    assert projections(matrix).tolist() == pytest.approx([7 / 30] * 3)
    assert (matrix @ Peer()(matrix) < 0).all()


def test_a_vanishing_sum_gives_the_bound_not_infinity() -> None:
    # |g3| = 0.25 makes the weights before division (10, 10, -20) / 7: their sum is 0. Next to it the peer's is tiny.
    for norm in (0.25, 0.25 + 1e-9):
        matrix = FAN * torch.tensor([[1.0], [1.0], [norm]], dtype=torch.float64)
        assert float(create("imtl_g").aggregate(matrix).norm()) == pytest.approx(2.25)
        found = projections(matrix)
        assert found.tolist() == pytest.approx([float(found[0])] * 3)
    assert float(Peer()(matrix).norm()) > 1e6


def test_opposite_rows_have_no_common_direction() -> None:
    for norms in ((1.0, 1.0), (1.0, 1e6)):
        matrix = torch.tensor([[3.0 * norms[0], 4.0 * norms[0]], [-3.0 * norms[1], -4.0 * norms[1]]])
        assert create("imtl_g").aggregate(matrix).tolist() == [0.0, 0.0]


def test_a_repeated_row_counts_once() -> None:
    # u1 twice and u2 at right angles: the pseudo-inverse shares the weight of u1.
    matrix = torch.tensor([[2.0, 0.0], [2.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    assert create("imtl_g").weights(matrix @ matrix.T).tolist() == pytest.approx([1 / 6, 1 / 6, 2 / 3])


def test_a_zero_row_is_left_out() -> None:
    matrix = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    assert create("imtl_g").weights(matrix @ matrix.T).tolist() == pytest.approx([0, 1 / 3, 2 / 3])


@pytest.mark.parametrize("m", [2, 5, 40, 100])
@pytest.mark.parametrize("shape", ["gaussian", "conflict"])
def test_agrees_with_the_peer(m: int, shape: str) -> None:
    matrix = rows(m, 150, shape, spread=1)
    peer = Peer()(matrix)
    sign = 1 if float((matrix @ peer).min()) > 0 else -1
    assert float(torch.cosine_similarity(create("imtl_g").aggregate(matrix), sign * peer, dim=0)) >= 1 - 1e-5


def test_an_overflow_is_passed_on() -> None:
    gram = torch.eye(3, dtype=torch.float64)
    gram[0, 0] = torch.inf
    assert bool(create("imtl_g").weights(gram).isnan().all())
