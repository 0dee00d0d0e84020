"""ConFIG: equal cosines, hand-calculated values, and agreement with the pseudo-inverse of the rows."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor
from torchjd.aggregation import ConFIG as Peer

from helpers.matrices import independent, matrices, rows
from sharewise.balance import create
from sharewise.balance._gram import gram_matrix


def direction(matrix: Tensor) -> Tensor:
    return create("config").weights(gram_matrix([matrix])) @ matrix.double()


def unit(matrix: Tensor) -> Tensor:
    return torch.nn.functional.normalize(matrix.double(), dim=1)


def test_two_rows_by_hand() -> None:
    # Unit rows (1, 0) and (0, 1): v = (1, 1) / sqrt 2, length (2 + 1) / sqrt 2, so the direction is (3/2, 3/2).
    matrix = torch.tensor([[2.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    assert create("config").aggregate(matrix).tolist() == pytest.approx([1.5, 1.5])
    assert create("config").weights(matrix @ matrix.T).tolist() == pytest.approx([0.75, 1.5])


def test_two_conflicting_rows_by_hand() -> None:
    # u1 = (1, 0), u2 = (-0.6, 0.8), cosine -0.6: v halves the angle, v = (0.4, 0.8) / sqrt 0.8, with cosine
    # 0.4 / sqrt 0.8 to both; |g| = 1 and 5, so the length is 6 * 0.4 / sqrt 0.8 and the direction 3 * (0.4, 0.8).
    matrix = torch.tensor([[1.0, 0.0], [-3.0, 4.0]], dtype=torch.float64)
    assert create("config").aggregate(matrix).tolist() == pytest.approx([1.2, 2.4])


@settings(max_examples=150, deadline=None, derandomize=True)
@given(independent())
def test_independent_rows_have_equal_positive_cosines(matrix: Tensor) -> None:
    found = direction(matrix)
    cosines = unit(matrix) @ found / found.norm()
    assert float(cosines.min()) > 0
    assert float(cosines.max() - cosines.min()) <= 1e-9 * float(cosines.max())
    # The length is the sum of the projections of the rows on the direction.
    assert float(found.norm()) == pytest.approx(float(cosines @ matrix.double().norm(dim=1)), rel=1e-9)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(matrices())
def test_the_sum_of_the_losses_never_rises_and_the_length_is_bounded(matrix: Tensor) -> None:
    found, norms = direction(matrix), matrix.double().norm(dim=1)
    assert float(matrix.double().sum(0) @ found) >= -1e-9 * float(norms.sum() ** 2)
    assert float(found.norm()) <= (1 + 1e-6) * float(norms.sum())


def test_scaling_a_loss_changes_the_length_not_the_direction() -> None:
    matrix = rows(6, 30, "conflict")
    scaled = matrix * torch.logspace(-3, 3, 6, dtype=torch.float64)[:, None]
    assert float(torch.cosine_similarity(direction(matrix), direction(scaled), dim=0)) == pytest.approx(1.0, abs=1e-12)


def test_opposite_rows_have_no_common_direction() -> None:
    for norm in (1.0, 1e6):
        matrix = torch.tensor([[3.0, 4.0], [-3.0 * norm, -4.0 * norm]])
        assert create("config").aggregate(matrix).tolist() == [0.0, 0.0]


def test_zero_rows_are_left_out() -> None:
    matrix = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    assert create("config").weights(matrix @ matrix.T).tolist() == pytest.approx([0.0, 0.75, 1.5])
    assert create("config").weights(torch.zeros(3, 3, dtype=torch.float64)).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("m", [1, 2, 5, 40, 100])
@pytest.mark.parametrize("shape", ["gaussian", "conflict", "rank half", "zero rows"])
def test_agrees_with_the_peer(m: int, shape: str) -> None:
    # Of "rank half" rows the pseudo-inverses agree too: both drop what is only rounding.
    matrix = rows(m, 150, shape, spread=1)
    found, peer = create("config").aggregate(matrix), Peer()(matrix)
    if bool(found.any()):  # else no direction exists, and the peer's is rounding
        assert float(torch.cosine_similarity(found, peer, dim=0)) >= 1 - 1e-5
    assert float((found - peer).norm()) <= 1e-5 * float(matrix.norm(dim=1).sum())


def test_an_overflow_is_passed_on() -> None:
    gram = torch.eye(3, dtype=torch.float64)
    gram[0, 0] = torch.inf
    assert bool(create("config").weights(gram).isnan().all())
