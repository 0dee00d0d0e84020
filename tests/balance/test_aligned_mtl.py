"""Aligned-MTL: orthogonal rows of equal length, hand-calculated values, and what the method does not promise."""

from __future__ import annotations

import math

import mpmath
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchjd.aggregation import AlignedMTL as Peer

from helpers.matrices import matrices, rows
from sharewise.balance import create
from sharewise.balance._aligned_mtl import SCALES, balance_matrix
from sharewise.balance._gram import gram_matrix
from sharewise.errors import OptionError


def cosines(matrix: Tensor, direction: Tensor) -> Tensor:
    return torch.nn.functional.normalize(matrix.double(), dim=1) @ torch.nn.functional.normalize(direction, dim=0)


@pytest.mark.parametrize(("mode", "length"), [("min", 1.0), ("median", 2.0), ("rmse", math.sqrt(7.0))])
def test_orthogonal_rows_by_hand(mode: str, length: float) -> None:
    # Rows along the axes of norms 1, 2, 4: these are the singular values; aligned, each has length 1 (the smallest),
    # 2 (the median) or sqrt((1 + 4 + 16) / 3) = sqrt 7.
    matrix = torch.diag(torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64))
    balancer = create("aligned_mtl", scale_mode=mode)
    assert balancer.aggregate(matrix).tolist() == pytest.approx([length] * 3)


def test_of_an_even_number_the_lower_median() -> None:
    matrix = torch.diag(torch.tensor([1.0, 2.0, 4.0, 8.0], dtype=torch.float64))
    assert create("aligned_mtl", scale_mode="median").aggregate(matrix).tolist() == pytest.approx([2.0] * 4)


def test_two_conflicting_rows_by_hand() -> None:
    # Unit rows with cosine -0.6: singular values^2 1.6 along (1, -1) and 0.4 along (1, 1). B multiplies (1, 1) by
    # sqrt(0.4 / 0.4) = 1, and the column sums of the symmetric B are B (1, 1) = (1, 1).
    matrix = torch.tensor([[1.0, 0.0], [-0.6, 0.8]], dtype=torch.float64)
    assert create("aligned_mtl").weights(matrix @ matrix.T).tolist() == pytest.approx([1.0, 1.0])
    assert create("aligned_mtl").aggregate(matrix).tolist() == pytest.approx([0.4, 0.8])


@settings(max_examples=150, deadline=None, derandomize=True)
@given(matrices(), st.sampled_from(SCALES))
def test_the_condition_number_of_aligned_rows_is_one(matrix: Tensor, mode: str) -> None:
    gram = gram_matrix([matrix])
    unit = torch.nn.functional.normalize(matrix.double(), dim=1)
    spectrum = torch.linalg.eigvalsh(unit @ unit.T)
    real = spectrum > 1e-4
    assume(bool(real.any()) and bool((real | (spectrum < 1e-10)).all()))  # a rank that is beyond doubt
    singular = torch.linalg.svdvals(balance_matrix(gram, mode) @ matrix.double())
    rank = int(real.sum())
    assert float(singular[0] / singular[rank - 1]) == pytest.approx(1.0, abs=1e-6)
    assert float(singular[rank:].sum()) <= 1e-6 * float(singular[0])


def test_aligned_rows_are_the_nearest_orthogonal_ones() -> None:
    # U V^T of the rows' singular value decomposition, times the smallest singular value.
    matrix = rows(6, 30, "conflict", spread=6)
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    aligned = balance_matrix(matrix @ matrix.T, "min") @ matrix
    assert torch.allclose(aligned, s[-1] * u @ v, atol=1e-6 * float(s[-1]))


def test_it_may_oppose_the_smaller_of_two_gradients_in_exact_arithmetic() -> None:
    # <d, g1> has the sign of |g1| + |g2| (cos a + sin a). At cosine -0.8, sine 0.6 that is |g1| - 0.2 |g2|.
    for norm, sign in ((4.9, 1), (5.1, -1), (1e6, -1)):
        matrix = torch.tensor([[1.0, 0.0], [-0.8 * norm, 0.6 * norm]], dtype=torch.float64)
        direction = create("aligned_mtl").aggregate(matrix)
        assert math.copysign(1, float(matrix[0] @ direction)) == sign
        assert float(matrix[1] @ direction) > 0


def in_sixty_digits(matrix: Tensor) -> Tensor:
    """The direction by the paper's formula, ``sqrt(lambda_min) V Lambda^-1/2 V^T 1`` times the rows."""
    with mpmath.workdps(60):
        rows = mpmath.matrix(matrix.tolist())
        values, vectors = mpmath.eigsy(rows * rows.T)
        scales = mpmath.diag([mpmath.sqrt(min(values) / value) for value in values])
        ones = mpmath.matrix([1] * len(matrix))
        return torch.tensor([float(x) for x in rows.T * (vectors * scales * vectors.T * ones)], dtype=torch.float64)


def test_norms_of_one_to_a_million_are_exact_where_the_peer_drops_a_task() -> None:
    # The method itself opposes a task here, with a cosine of -0.47. In float32 the peer takes the smallest eigenvalue,
    # 1e-12 of the largest, for rounding: it opposes the task with -0.89, by a step a thousand times too long.
    matrix = torch.tensor([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0], [1.0, -2.0, 0.5]]) * torch.tensor([[1.0], [1e3], [1e6]])
    exact, ours, peer = in_sixty_digits(matrix), create("aligned_mtl").aggregate(matrix), 3 * Peer()(matrix)
    assert float(cosines(matrix, exact).min()) == pytest.approx(-0.475, abs=1e-3)
    assert float((ours - exact).norm()) <= 1e-5 * float(exact.norm())
    assert float(cosines(matrix, peer.double()).min()) < -0.85
    assert float(peer.norm()) > 1000 * float(exact.norm())


@pytest.mark.parametrize(("m", "spread", "error"), [(2, 6.0, 1e-7), (10, 6.0, 1e-7), (2, 10.0, 1e-4)])
def test_spread_norms_against_sixty_digits(m: int, spread: float, error: float) -> None:
    matrix = rows(m, 2 * m, "conflict", spread=spread, seed=m)
    exact = in_sixty_digits(matrix)
    found = create("aligned_mtl").weights(gram_matrix([matrix])) @ matrix
    assert float((found - exact).norm()) <= error * float(exact.norm())


def test_opposite_rows() -> None:
    # Rank one with singular value |(1, 2)| = sqrt 5: u = (1, -2) / sqrt 5, B = u u^T, weights B^T 1 = (1, -2) * -1/5.
    matrix = torch.tensor([[1.0, 0.0], [-2.0, 0.0]], dtype=torch.float64)
    assert create("aligned_mtl").weights(matrix @ matrix.T).tolist() == pytest.approx([-0.2, 0.4])


def test_zero_rows_are_left_out() -> None:
    matrix = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    assert create("aligned_mtl").weights(matrix @ matrix.T).tolist() == pytest.approx([0.0, 0.5, 1.0])
    assert create("aligned_mtl").weights(torch.zeros(2, 2, dtype=torch.float64)).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("mode", SCALES)
@pytest.mark.parametrize("m", [2, 5, 40, 100])
@pytest.mark.parametrize("shape", ["gaussian", "conflict", "rank half"])
def test_agrees_with_the_peer(m: int, shape: str, mode: str) -> None:
    matrix = rows(m, 150, shape, spread=1)
    found = create("aligned_mtl", scale_mode=mode).aggregate(matrix)
    peer = m * Peer(scale_mode=mode)(matrix)  # which averages where the authors' code sums
    assert float(torch.cosine_similarity(found, peer, dim=0)) >= 1 - 1e-5
    assert float((found - peer).norm()) <= 1e-5 * float(peer.norm())


def test_an_unknown_scale_is_refused() -> None:
    with pytest.raises(OptionError, match='scale_mode "medain" is not known; did you mean "median"'):
        create("aligned_mtl", scale_mode="medain")


def test_an_overflow_is_passed_on() -> None:
    gram = torch.eye(3, dtype=torch.float64)
    gram[0, 0] = torch.inf
    assert bool(create("aligned_mtl").weights(gram).isnan().all())
