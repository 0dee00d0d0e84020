"""MoCo: trackers that follow the gradients, weights that approach the smallest combination of them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from helpers.matrices import rows
from sharewise.balance import create
from sharewise.balance._simplex import project
from sharewise.errors import OptionError


def smallest(matrix: Tensor) -> Tensor:
    """The shortest convex combination, by projected gradient descent on its weights until nothing moves."""
    gram = matrix @ matrix.T
    weights = torch.full((len(matrix),), 1 / len(matrix), dtype=torch.float64)
    for _ in range(20_000):
        new = project(weights - gram @ weights / gram.abs().sum(1).max())
        if torch.equal(new, weights):
            break
        weights = new
    return weights @ matrix


def test_value_by_hand() -> None:
    # Trackers start at the rows: Gram diag(1, 4), largest row sum 4. Equal weights 1/2 are pulled by (1/8, 4/8):
    # (0.5 - 0.0125, 0.5 - 0.05) = (0.4875, 0.45), and (1 - 0.9375) / 2 is added to each: (0.51875, 0.48125).
    balancer = create("moco")
    first = balancer.aggregate(torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=torch.float64))
    assert first.tolist() == pytest.approx([0.51875, 2 * 0.48125])
    # Step 2: beta / sqrt(2) = 0.35355; the first tracker moves from 1 towards 3 by 0.35355 * 2.
    balancer.aggregate(torch.tensor([[3.0, 0.0], [0.0, 2.0]], dtype=torch.float64))
    assert balancer.row_state.tensors["tracker"].tolist() == [[pytest.approx(1 + 0.5 * 2**0.5), 0.0], [0.0, 2.0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_trackers_converge_to_a_constant_gradient(dtype: torch.dtype) -> None:
    balancer = create("moco", beta=0.2, beta_decay=0.0)
    balancer.aggregate(rows(3, 50, seed=1).to(dtype))
    constant = rows(3, 50, spread=6).to(dtype)
    for _ in range(150):
        balancer.aggregate(constant)
    tracker = balancer.row_state.tensors["tracker"].double()
    error = (tracker - constant.double()).norm(dim=1) / constant.double().norm(dim=1)
    assert float(error.max()) < 1e-6


def test_trackers_average_noise() -> None:
    balancer = create("moco")
    mean = rows(3, 400)
    for step in range(400):
        noisy = mean + rows(3, 400, seed=step + 1)
        balancer.aggregate(noisy)
    error = (balancer.row_state.tensors["tracker"] - mean).norm(dim=1)
    assert bool((error < 0.2 * (noisy - mean).norm(dim=1)).all())


@pytest.mark.parametrize(("m", "shape"), [(2, "gaussian"), (6, "conflict"), (5, "rank half")])
def test_for_steady_gradients_it_becomes_the_smallest_combination(m: int, shape: str) -> None:
    matrix = rows(m, 30, shape, spread=0.5)
    balancer = create("moco", gamma=1.0, gamma_decay=0.0)
    for _ in range(800):
        out = balancer.aggregate(matrix)
    largest = float(matrix.norm(dim=1).max())
    assert torch.allclose(out, smallest(matrix), atol=1e-3 * largest)
    assert float((matrix @ out).min()) > -1e-3 * largest**2  # and so it conflicts with no task


@pytest.mark.parametrize("scale", [1e-15, 1e-6, 1e6, 1e15])
def test_the_scale_of_all_losses_does_not_matter(scale: float) -> None:
    plain, scaled = create("moco"), create("moco")
    for step in range(20):
        matrix = rows(4, 30, "conflict", spread=1, seed=step).float()
        plain.aggregate(matrix)
        scaled.aggregate(matrix * scale)
        assert torch.allclose(plain.notes["weights"], scaled.notes["weights"], atol=1e-5)


@pytest.mark.parametrize("m", [1, 2, 40, 100])
def test_weights_lie_on_the_simplex(m: int) -> None:
    balancer = create("moco", gamma=1.9, gamma_decay=0.0)
    for step in range(10):
        balancer.aggregate(rows(m, 30, spread=6, seed=step).float())
        weights = balancer.notes["weights"]
        assert float(weights.min()) >= 0
        assert float(weights.sum()) == pytest.approx(1.0)


def test_an_absent_task_keeps_its_weight() -> None:
    balancer = create("moco", gamma=1.0)
    for step in range(5):
        balancer.aggregate(rows(3, 30, spread=1, seed=step), names="abc")
    before = balancer.task_state.read("weight", "abc")
    for step in range(5):
        balancer.aggregate(rows(2, 30, spread=1, seed=step), names="ca")
    after = balancer.task_state.read("weight", "abc")
    assert after[1] == before[1]
    assert after[[0, 2]].sum() == pytest.approx(float(before[[0, 2]].sum()))
    assert not torch.allclose(after, before)


def test_tasks_left_without_weight_start_from_equal_ones() -> None:
    balancer = create("moco", gamma=1.9, gamma_decay=0.0)
    for _ in range(50):
        balancer.aggregate(torch.tensor([[1.0, 0.0], [5.0, 0.0]]), names="ab")
    assert balancer.task_state.read("weight", "b").tolist() == [0.0]
    assert balancer.aggregate(torch.tensor([[5.0, 0.0]]), names="b").tolist() == pytest.approx([5.0, 0.0])
    assert balancer.notes["weights"].tolist() == [1.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": 0.0}, "beta must be above 0"),
        ({"beta": 1.5}, "beta must be above 0"),
        ({"gamma": 2.0}, "gamma must be between 0 and 2"),
        ({"gamma": float("nan")}, "gamma must be between 0 and 2"),
        ({"beta_decay": -1.0}, "beta_decay must be a finite number >= 0"),
        ({"gamma_decay": float("inf")}, "gamma_decay must be a finite number >= 0"),
        ({"rho": -0.1}, "rho must be a finite number >= 0"),
    ],
)
def test_options_outside_their_range(options: dict[str, float], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        create("moco", **options)
