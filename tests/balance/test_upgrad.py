"""UPGrad: hand-calculated values and the projections themselves."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from helpers.matrices import rows
from sharewise.balance import UPGrad
from sharewise.balance._gram import gram_matrix


def project(vector: Tensor, matrix: Tensor) -> Tensor:
    """The projection on {d: matrix d >= 0} by Dykstra's alternating projections on half-spaces."""
    unit = matrix / matrix.norm(dim=1, keepdim=True)
    result, corrections = vector.clone(), torch.zeros_like(unit)
    for _ in range(3000):
        for k, u in enumerate(unit):
            shifted = result + corrections[k]
            result = shifted - (u @ shifted).clamp_max(0) * u
            corrections[k] = shifted - result
    return result


def test_two_conflicting_rows_by_hand() -> None:
    # The cone is x >= 0, y >= x. g1 = (1, 0) goes to (1/2, 1/2) = g1 + g2 / 2, g2 = (-1, 1) to (0, 1) = g1 + g2.
    matrix = torch.tensor([[1.0, 0.0], [-1.0, 1.0]])
    assert UPGrad().weights(gram_matrix([matrix])).tolist() == pytest.approx([1.0, 0.75], rel=1e-10)
    assert UPGrad().aggregate(matrix).tolist() == pytest.approx([0.25, 0.75])


def test_without_conflict_it_is_the_mean() -> None:
    matrix = torch.tensor([[1.0, 0.0], [3.0, 4.0]])
    assert UPGrad().weights(gram_matrix([matrix])).tolist() == [0.5, 0.5]


def test_opposite_rows_cancel() -> None:
    matrix = torch.tensor([[3.0, 4.0], [-6.0, -8.0]])
    assert float(UPGrad().aggregate(matrix).abs().max()) < 1e-6


@pytest.mark.parametrize("shape", ["gaussian", "conflict"])
def test_mean_of_the_projections_on_the_cone(shape: str) -> None:
    matrix = rows(5, 8, shape, spread=1, seed=3)
    want = torch.stack([project(row, matrix) for row in matrix]).mean(0)
    assert torch.allclose(UPGrad().aggregate(matrix), want, rtol=0, atol=1e-6 * float(want.norm()))


def test_short_rows_are_protected_as_long_ones_are() -> None:
    # The projections do not depend on the norms: scaling row k scales its own projection alone.
    matrix = rows(4, 12, "conflict", seed=1)
    single = [UPGrad().aggregate(matrix * scale[:, None]) for scale in 1.0 + torch.eye(4, dtype=torch.float64)]
    whole = UPGrad().aggregate(matrix)
    projections = torch.stack(single) - whole
    scale = torch.tensor([1.0, 1e6, 1e3, 1e-2], dtype=torch.float64)
    want = scale @ projections
    assert torch.allclose(UPGrad().aggregate(matrix * scale[:, None]), want, rtol=0, atol=1e-9 * float(want.norm()))


def test_zero_rows_change_nothing_but_the_mean() -> None:
    matrix = torch.tensor([[1.0, 0.0], [0.0, 0.0], [-1.0, 1.0]])
    weights = UPGrad().weights(gram_matrix([matrix]))
    assert weights.tolist() == pytest.approx([2 / 3, 1 / 3, 0.5], rel=1e-10)
