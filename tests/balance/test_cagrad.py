"""CAGrad: hand-calculated values, the ball, optimality by duality, and its limits in c."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from helpers.matrices import SHAPES, matrices, rows
from sharewise.balance import CAGrad, create
from sharewise.balance._gram import gram_matrix
from sharewise.errors import OptionError


def test_one_row_improves_least_by_hand() -> None:
    # g0 = (0, 1); within 1/2 of it <g1, d> = x is largest at d = (1/2, 1) = g0 + g1 / 2, where <g2, d> = 3/2
    matrix = torch.tensor([[1.0, 0.0], [-1.0, 2.0]])
    balancer = CAGrad(c=0.5, rescale=0)
    assert balancer.weights(gram_matrix([matrix])).tolist() == pytest.approx([1.0, 0.5], rel=1e-9)
    assert balancer.aggregate(matrix).tolist() == pytest.approx([0.5, 1.0])


def test_two_rows_improve_alike_by_hand() -> None:
    # g0 = (0, 1/2), radius 1/2; both improve by x where y = 2 x, and x^2 + (2 x - 1/2)^2 = 1/4 gives x = 2/5.
    # d - g0 = (0.4, 0.3) = 0.7 g1 + 0.3 g2.
    matrix = torch.tensor([[1.0, 0.0], [-1.0, 1.0]])
    balancer = CAGrad(c=1.0, rescale=0)
    assert balancer.weights(gram_matrix([matrix])).tolist() == pytest.approx([1.2, 0.8], rel=1e-9)
    assert balancer.aggregate(matrix).tolist() == pytest.approx([0.4, 0.8])


def test_rescaling() -> None:
    gram = gram_matrix([rows(4, 20, "conflict")])
    plain = CAGrad(c=0.5, rescale=0).weights(gram)
    assert torch.allclose(CAGrad(c=0.5).weights(gram), plain / 1.25)
    assert torch.allclose(CAGrad(c=0.5, rescale=2).weights(gram), plain / 1.5)


@pytest.mark.parametrize("shape", SHAPES)
def test_c_of_zero_is_the_mean(shape: str) -> None:
    assert CAGrad(c=0.0).weights(gram_matrix([rows(5, 20, shape, spread=6)])).tolist() == [0.2] * 5


@pytest.mark.parametrize("shape", ["gaussian", "conflict"])
@pytest.mark.parametrize("m", [2, 10, 40])
def test_large_c_is_the_direction_of_mgda(m: int, shape: str) -> None:
    matrix = rows(m, 200, shape, spread=1)
    one = CAGrad(c=1e6).aggregate(matrix)
    other = create("mgda").aggregate(matrix)
    assert float(torch.cosine_similarity(one, other, dim=0)) == pytest.approx(1, abs=1e-9)


def check(matrix: Tensor, c: float) -> None:
    """In the ball, and as good as the dual bound: no d in it improves every task by more."""
    wide = matrix.double()
    norms = wide.norm(dim=1)
    weights = CAGrad(c=c, rescale=0).weights(gram_matrix([matrix]))
    mean = wide.mean(0)
    radius = c * mean.norm()
    direction = weights @ wide
    size = (weights * norms).sum()
    rounding = 1e-11 * size
    # the ridge of 1e-12 counts in squared lengths, where the mean is the small difference of long rows too
    distance = (direction - mean).square().sum()
    assert float(distance) <= float(radius**2 * (1 + 1e-9) + 4e-12 * size**2)
    added = weights - 1 / len(wide)
    assert float(added.min()) >= -1e-15
    # The ridge bears less than 1 % where the unit rows' shortest combination is longer than 1e-5. Closer to
    # Pareto-stationary points, as with a zero row, the nearest point to the mean is taken instead: see below.
    units = wide / norms.clamp_min(1e-300)[:, None]
    if float(create("mgda").aggregate(units).norm()) < 1e-5:
        return
    # For any w on the simplex, min_k <g_k, d> <= <g_w, g_0> + radius |g_w|: for the one found the two must meet.
    combined = added / added.sum() @ wide
    missing = float(combined @ mean + radius * combined.norm() - (wide @ direction).min())
    assert missing <= float((1e-9 * direction.norm() + rounding) * norms.max() + 1e-8 * radius * norms.min())


@settings(max_examples=100, deadline=None, derandomize=True)
@given(matrix=matrices(), c=st.sampled_from([0.1, 0.5, 0.9, 3.0]))
def test_ball_and_optimality(matrix: Tensor, c: float) -> None:
    check(matrix, c)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_hundred_tasks(shape: str) -> None:
    check(rows(100, 150, shape, spread=6), 0.5)


@pytest.mark.parametrize("c", [1.5, 5.0, 50.0])
@pytest.mark.parametrize(("m", "n", "shape"), [(2, 1, "opposite"), (40, 8, "gaussian"), (10, 4, "gaussian")])
@pytest.mark.parametrize("spread", [0.0, 3.0])
def test_at_pareto_stationary_points_it_is_dualproj(m: int, n: int, shape: str, spread: float, c: float) -> None:
    # No direction improves all; the ball then holds more than is of use, and the nearest point to the mean is taken.
    matrix = rows(m, n, shape, spread)
    assert float(create("mgda").aggregate(matrix).norm()) < 1e-9 * float(matrix.norm(dim=1).min())
    want = create("dualproj").aggregate(matrix)
    got = CAGrad(c=c, rescale=0).aggregate(matrix)
    assert torch.allclose(got, want, rtol=0, atol=1e-9 * float(matrix.norm(dim=1).max()))


def test_the_worst_of_very_different_rows_improves() -> None:
    # The short row conflicts with the mean, which is nearly the long one; within the ball it can still be helped.
    matrix = torch.tensor([[1e6, 0.0], [-0.6, 0.8]], dtype=torch.float64)
    direction = CAGrad(c=0.9, rescale=0).aggregate(matrix)
    assert float(matrix[1] @ direction) > 0
    assert float(matrix[0] @ direction) > 0


def test_a_zero_row_limits_the_worst_improvement_to_zero() -> None:
    # Of the directions in the ball that make no task worse, the nearest to the mean: its projection on the cone.
    matrix = torch.tensor([[1.0, 0.0], [-3.0, 1.0], [0.0, 0.0]])
    gram = gram_matrix([matrix])
    want = create("dualproj").weights(gram)
    assert torch.allclose(CAGrad(c=1.0, rescale=0).weights(gram), want, atol=1e-9)


@pytest.mark.parametrize(("option", "value"), [("c", -0.1), ("c", float("nan")), ("c", float("inf")), ("rescale", 3)])
def test_options_outside_their_range(option: str, value: float) -> None:
    with pytest.raises(OptionError, match=f"{option} must be 0"):
        create("cagrad", **{option: value})
