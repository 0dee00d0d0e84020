"""Nash-MTL: hand-calculated values, its equation, invariance to the losses' scales, and decisions now and then."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from helpers.matrices import SHAPES, matrices, rows
from sharewise.balance import NashMTL, create
from sharewise.balance._gram import gram_matrix
from sharewise.errors import OptionError

RIDGE = 1e-12


def test_two_rows_by_hand() -> None:
    # unit rows with cosine -1/2 get the same w: w^2 (1 - 1/2) = 1; a row ten times longer a tenth of it
    matrix = torch.tensor([[1.0, 0.0], [-5.0, 5 * math.sqrt(3)]], dtype=torch.float64)
    weights = NashMTL().weights(gram_matrix([matrix]))
    assert weights.tolist() == pytest.approx([math.sqrt(2), math.sqrt(2) / 10], rel=1e-10)


def check(matrix: Tensor) -> None:
    gram = gram_matrix([matrix])
    weights = NashMTL().weights(gram)
    norms = gram.diagonal().sqrt()
    present = norms > 0
    assert bool((weights[present] > 0).all())
    assert bool((weights[~present] == 0).all())
    unit = weights * norms
    # M w w = 1, less the ridge, which counts where weights are large next to a Pareto-stationary point
    rounding = 1e-15 * len(gram) * unit * (gram.abs() @ weights) / norms.clamp_min(1e-300)
    wrong = (gram @ weights * weights - 1).abs()
    assert bool((wrong <= 1e-10 + 1.01 * RIDGE * unit.square() + rounding)[present].all())


@settings(max_examples=100, deadline=None, derandomize=True)
@given(matrices())
def test_product_of_weight_and_improvement_is_one(matrix: Tensor) -> None:
    check(matrix)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_hundred_tasks(shape: str) -> None:
    check(rows(100, 150, shape, spread=6))


@pytest.mark.parametrize("shape", ["gaussian", "conflict"])
def test_multiplying_losses_changes_nothing(shape: str) -> None:
    matrix = rows(8, 40, shape)
    scales = 10.0 ** torch.linspace(-6, 6, 8, dtype=torch.float64)
    one, other = NashMTL().aggregate(matrix), NashMTL().aggregate(matrix * scales[:, None])
    assert torch.allclose(one, other, rtol=0, atol=1e-9 * float(one.norm()))
    assert float(one.norm()) == pytest.approx(math.sqrt(8))


def test_decisions_every_few_steps() -> None:
    balancer, always = NashMTL(every=3), NashMTL()
    grams = [gram_matrix([rows(3, 10, seed=seed)]) for seed in range(5)]
    names = ["a", "b", "c"]
    got = [balancer.weights(gram, names=names) for gram in grams]
    fresh = [always.weights(gram) for gram in grams]
    assert torch.equal(got[0], fresh[0])
    assert torch.equal(got[1], fresh[0])
    assert torch.equal(got[2], fresh[0])
    assert torch.equal(got[3], fresh[3])
    assert torch.equal(got[4], fresh[3])


def test_between_decisions_tasks_keep_their_weights_by_name() -> None:
    balancer = NashMTL(every=10)
    first = balancer.weights(gram_matrix([rows(3, 10, seed=1)]), names=["a", "b", "c"])
    gram = gram_matrix([rows(2, 10, seed=2)])
    assert balancer.weights(gram, names=["c", "a"]).tolist() == [first[2], first[0]]
    assert torch.equal(balancer.weights(gram, names=["c", "new"]), NashMTL().weights(gram))


def test_kept_weights_are_saved() -> None:
    first, second = NashMTL(every=3), NashMTL(every=3)
    grams = [gram_matrix([rows(3, 10, seed=seed)]) for seed in range(5)]
    want = [first.weights(gram) for gram in grams]
    for gram in grams[:2]:
        second.weights(gram)
    resumed = NashMTL(every=3)
    resumed.load_state_dict(second.state_dict())
    for gram, expected in zip(grams[2:], want[2:], strict=True):
        assert torch.equal(resumed.weights(gram), expected)


def test_length_with_max_norm() -> None:
    matrix = rows(4, 20, "conflict", spread=1)
    free = NashMTL(max_norm=math.inf)
    direction = free.aggregate(matrix)
    # the weights of M / |M|_F: twice the rows, twice the direction
    assert torch.allclose(free.aggregate(2 * matrix), 2 * direction)
    size = float(torch.linalg.matrix_norm(matrix @ matrix.T)) ** 0.5
    assert float(direction.norm()) == pytest.approx(math.sqrt(4) * size)
    assert float(NashMTL(max_norm=1.0).aggregate(matrix).norm()) == pytest.approx(1.0)
    short = 1e-3 / size * matrix
    assert torch.allclose(NashMTL(max_norm=1.0).aggregate(short), free.aggregate(short))


@pytest.mark.parametrize(("option", "value"), [("every", 0), ("max_norm", 0.0), ("max_norm", float("nan"))])
def test_options_outside_their_range(option: str, value: float) -> None:
    with pytest.raises(OptionError, match=f"{option} must be"):
        create("nashmtl", **{option: value})
