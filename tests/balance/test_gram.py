"""Inner products of rows: right at every scale and in every dtype."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings

from helpers.matrices import matrices, rows
from sharewise.balance._gram import CHUNK, gram_matrix, weighted_sum


def exact(matrix: torch.Tensor) -> torch.Tensor:
    return matrix.double() @ matrix.double().T


@settings(max_examples=60, deadline=None, derandomize=True)
@given(matrices())
def test_small_matrices_are_exact(matrix: torch.Tensor) -> None:
    gram = gram_matrix([matrix])
    norms = exact(matrix).diagonal().sqrt()
    assert gram.dtype == torch.float64
    assert bool(((gram - exact(matrix)).abs() <= 1e-13 * norms * norms[:, None]).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", ["gaussian", "rank one", "opposite"])
def test_error_of_large_ones_is_small_against_the_two_norms(shape: str, dtype: torch.dtype) -> None:
    matrix = rows(5, 20 * CHUNK, shape, spread=6).to(dtype)
    norms = exact(matrix).diagonal().sqrt()
    assert bool(((gram_matrix([matrix]) - exact(matrix)).abs() <= 1e-6 * norms * norms[:, None]).all())


def test_long_rows_are_added_up_in_float64() -> None:
    matrix = torch.full((2, 256 * CHUNK), 1e-3)
    error = (matrix @ matrix.T).double() / exact(matrix) - 1
    assert float(error.abs().max()) > 1e-4  # what a plain float32 product makes of two million equal squares
    assert torch.allclose(gram_matrix([matrix]), exact(matrix), rtol=2e-5)


@pytest.mark.parametrize("wide", [10, 20 * CHUNK])
@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e20, 1e30])
def test_squares_outside_float32_do_not_vanish_or_overflow(scale: float, wide: int) -> None:
    matrix = (rows(3, wide) * scale).float()
    assert torch.allclose(gram_matrix([matrix]), exact(matrix), rtol=1e-5, atol=0)


@pytest.mark.parametrize("wide", [10, 20 * CHUNK])
def test_one_huge_and_one_tiny_row(wide: int) -> None:
    matrix = (rows(3, wide) * torch.tensor([[1e-25], [1.0], [1e25]])).float()
    assert torch.allclose(gram_matrix([matrix]), exact(matrix), rtol=1e-5, atol=0)


def test_blocks_add_up() -> None:
    matrix = rows(4, 5 * CHUNK + 7).float()
    parts = [matrix[:, :5], matrix[:, 5 : CHUNK + 9].double(), matrix[:, CHUNK + 9 :]]
    assert torch.allclose(gram_matrix(parts), exact(matrix), rtol=1e-5, atol=1e-1)


@pytest.mark.parametrize("wide", [10, 20 * CHUNK])
def test_a_bad_entry_shows_on_the_diagonal_only_of_its_row(wide: int) -> None:
    for bad in (float("nan"), float("inf")):
        matrix = rows(3, wide).float()
        matrix[1, 4] = bad
        assert gram_matrix([matrix]).diagonal().isfinite().tolist() == [True, False, True]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_are_not_rounded_to_half_precision(dtype: torch.dtype) -> None:
    matrix = torch.tensor([[1.0, 2.0], [1.0, 2.0]]).to(dtype)
    weights = torch.tensor([1000.25, -1000.0], dtype=torch.float64)  # both round to 1000 in bfloat16
    assert weighted_sum(weights, matrix).tolist() == [0.25, 0.5]
    assert weighted_sum(weights, matrix).dtype == dtype


def test_autocast_around_does_not_cut_precision() -> None:
    matrix = rows(3, 20 * CHUNK).float()
    weights = torch.tensor([0.3, -0.7, 1.1], dtype=torch.float64)
    with torch.autocast("cpu", torch.bfloat16):
        gram, combined = gram_matrix([matrix]), weighted_sum(weights, matrix)
    assert torch.allclose(gram, exact(matrix), rtol=1e-5, atol=1)
    assert combined.dtype == torch.float32
    assert torch.allclose(combined.double(), weights @ matrix.double(), rtol=1e-5, atol=1e-6)
