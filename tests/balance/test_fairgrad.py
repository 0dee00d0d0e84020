"""FairGrad: hand-calculated values, its equation for every alpha, and its limits."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from helpers.matrices import SHAPES, matrices, rows
from sharewise.balance import FairGrad, create
from sharewise.balance._gram import gram_matrix
from sharewise.errors import OptionError

RIDGE = 1e-12


def test_orthogonal_rows_by_hand() -> None:
    # n^2 w = w^(-1/2) for alpha = 2: w = n^(-4/3), so 1 for n = 1 and 1/16 for n = 8
    matrix = torch.tensor([[1.0, 0.0], [0.0, 8.0]])
    assert FairGrad().weights(gram_matrix([matrix])).tolist() == pytest.approx([1.0, 1 / 16], rel=1e-10)


def test_two_conflicting_rows_by_hand() -> None:
    # unit rows with cosine -1/2, alpha = 1/2: w (1 - 1/2) = w^-2, w = 2^(1/3)
    matrix = torch.tensor([[1.0, 0.0], [-0.5, 0.75**0.5]], dtype=torch.float64)
    assert FairGrad(alpha=0.5).weights(gram_matrix([matrix])).tolist() == pytest.approx([2 ** (1 / 3)] * 2, rel=1e-10)


def check(matrix: Tensor, alpha: float) -> None:
    gram = gram_matrix([matrix])
    weights = FairGrad(alpha=alpha).weights(gram)
    norms = gram.diagonal().sqrt()
    present = norms > 0
    assert bool((weights[present] > 0).all())
    assert bool((weights[~present] == 0).all())
    want = weights[present] ** (-1 / alpha)
    rounding = 1e-15 * len(gram) * (gram.abs() @ weights) + 1.01 * RIDGE * gram.diagonal() * weights
    assert bool(((gram @ weights)[present] - want).abs().le(1e-10 * want + rounding[present]).all())


@settings(max_examples=100, deadline=None, derandomize=True)
@given(matrix=matrices(), alpha=st.sampled_from([0.1, 0.5, 1.0, 2.0, 10.0]))
def test_improvements_are_powers_of_the_weights(matrix: Tensor, alpha: float) -> None:
    check(matrix, alpha)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("alpha", [0.1, 2.0, 10.0])
def test_a_hundred_tasks(shape: str, alpha: float) -> None:
    check(rows(100, 150, shape, spread=6), alpha)


@pytest.mark.parametrize("alpha", [0.01, 32.0])
def test_the_ends_of_the_range(alpha: float) -> None:
    for shape in ("gaussian", "conflict"):
        check(rows(10, 30, shape, spread=1), alpha)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(matrices())
def test_alpha_of_one_is_nash(matrix: Tensor) -> None:
    gram = gram_matrix([matrix])
    assert torch.equal(FairGrad(alpha=1.0).weights(gram), create("nashmtl").weights(gram))


def test_small_alpha_is_the_sum_and_large_alpha_mgda() -> None:
    matrix = rows(4, 30, "gaussian", seed=4)
    assert torch.allclose(FairGrad(alpha=1e-6).weights(gram_matrix([matrix])), torch.ones(4).double(), atol=1e-4)
    direction = FairGrad(alpha=32.0).aggregate(rows(4, 30, "conflict"))
    other = create("mgda").aggregate(rows(4, 30, "conflict"))
    assert float(torch.cosine_similarity(direction, other, dim=0)) > 0.999


@pytest.mark.parametrize("alpha", [2.0, 0.5])
def test_length_as_documented(alpha: float) -> None:
    matrix = rows(5, 20, "conflict", spread=1)
    balancer = FairGrad(alpha=alpha)
    want = 1000 ** ((1 - alpha) / (1 + alpha)) * balancer.aggregate(matrix)
    assert torch.allclose(balancer.aggregate(1000 * matrix), want, rtol=1e-8)


@pytest.mark.parametrize("alpha", [0.0, -1.0, 33.0, float("nan")])
def test_alpha_outside_its_range(alpha: float) -> None:
    with pytest.raises(OptionError, match="alpha must be above 0"):
        create("fairgrad", alpha=alpha)
