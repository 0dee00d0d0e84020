"""DualProj: hand-calculated values, and the conditions that make it a projection."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from helpers.matrices import matrices
from sharewise.balance import DualProj
from sharewise.balance._gram import gram_matrix


def test_by_hand() -> None:
    # mean (-1, 1/2); the cone is x >= 0, y >= 3 x, so the projection is (0, 1/2) = mean + g1
    matrix = torch.tensor([[1.0, 0.0], [-3.0, 1.0]])
    assert DualProj().weights(gram_matrix([matrix])).tolist() == pytest.approx([1.5, 0.5], rel=1e-10)
    assert DualProj().aggregate(matrix).tolist() == pytest.approx([0.0, 0.5], abs=1e-6)


def test_a_mean_that_conflicts_with_none_is_kept() -> None:
    matrix = torch.tensor([[1.0, 0.0], [-1.0, 2.0]])
    assert DualProj().weights(gram_matrix([matrix])).tolist() == [0.5, 0.5]


def test_zero_rows() -> None:
    matrix = torch.tensor([[1.0, 0.0], [-3.0, 1.0], [0.0, 0.0]])
    weights = DualProj().weights(gram_matrix([matrix]))
    assert weights.tolist() == pytest.approx([1.0, 1 / 3, 1 / 3], rel=1e-10)
    assert DualProj().weights(torch.zeros(3, 3, dtype=torch.float64)).tolist() == [1 / 3] * 3


@settings(max_examples=100, deadline=None, derandomize=True)
@given(matrices())
def test_projection_conditions(matrix: Tensor) -> None:
    # d - mean = sum x_k g_k with x >= 0 and x_k <d, g_k> = 0; with no conflict (tested for all) d is the projection
    wide = matrix.double()
    weights = DualProj().weights(gram_matrix([matrix]))
    norms = wide.norm(dim=1)
    added = weights - 1 / len(wide)
    direction = weights @ wide
    assert float(added.min()) >= 0
    size = (weights * norms).sum()
    assert bool((added * (wide @ direction).abs() <= 1e-10 * size * size).all())
