"""MoDo: hand-calculated steps, weights on the simplex, where the steps lead, and agreement with the peer."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from torchjd.aggregation import MoDoWeighting as Peer

from helpers.matrices import matrices, rows
from sharewise.balance import create
from sharewise.balance._gram import gram_matrix
from sharewise.errors import OptionError


def test_a_step_by_hand_with_products_of_two_batches() -> None:
    # w = (1/2, 1/2); G w + w = (1.5, 0.5) + (0.5, 0.5) = (2, 1); w - 0.1 (2, 1) = (0.3, 0.4), whose sum lacks 0.3.
    # (With the transpose both entries would stay equal.)
    balancer = create("modo", gamma=0.1, rho=1.0)
    gram = torch.tensor([[2.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
    assert balancer.weights(gram).tolist() == pytest.approx([0.45, 0.55])
    # Again: G w = (1.45, 0.55), plus w (1.9, 1.1); (0.26, 0.44) lacks 0.3.
    assert balancer.weights(gram).tolist() == pytest.approx([0.41, 0.59])


@settings(max_examples=100, deadline=None, derandomize=True)
@given(matrices(), matrices())
def test_weights_stay_on_the_simplex(one: torch.Tensor, other: torch.Tensor) -> None:
    m, n = min(len(one), len(other)), min(one.shape[1], other.shape[1])
    balancer = create("modo", gamma=0.1)
    for gram in (one[:m, :n].double() @ other[:m, :n].double().T, gram_matrix([other[:m]])):
        weights = balancer.weights(gram)
        assert float(weights.min()) >= 0
        assert float(weights.sum()) == pytest.approx(1.0, abs=1e-12)


def test_steps_lead_to_the_shortest_combination() -> None:
    # The conditions of the minimum of w^T (M + rho I) w / 2 on the simplex: its gradient is smallest, and the same,
    # where w > 0. One batch stands in for both, without noise, so nothing is biased.
    matrix = rows(6, 8, seed=1)
    gram, balancer = matrix @ matrix.T, create("modo", gamma=0.01, rho=0.1)
    for _ in range(3000):
        weights = balancer.weights(gram)
    slope = gram @ weights + 0.1 * weights
    used = weights > 1e-9
    assert 1 < int(used.sum()) < 6
    assert float(slope[used].max() - slope.min()) <= 1e-6 * float(slope.max())


@pytest.mark.parametrize("m", [1, 2, 5, 40])
def test_agrees_with_the_peer(m: int) -> None:
    ours, peer = create("modo", gamma=0.01, rho=0.1), Peer(gamma=0.01, rho=0.1)
    for step in range(5):
        gram = rows(m, 30, seed=step) @ rows(m, 30, seed=100 + step).T
        assert torch.allclose(ours.weights(gram), peer(gram), atol=1e-12)


def test_a_task_that_is_absent_keeps_its_share() -> None:
    balancer = create("modo", gamma=0.1, rho=0.0)
    gram = torch.diag(torch.tensor([3.0, 0.0, 0.0], dtype=torch.float64))
    # w = 1/3 each, less 0.1 (1, 0, 0), lacks 0.1: (8, 11, 11) / 30.
    assert balancer.weights(gram, names=["a", "b", "c"]).tolist() == pytest.approx([4 / 15, 11 / 30, 11 / 30])
    # b and c share what they hold together, 11/15, by halves: w = (1/2, 1/2) - 0.1 (1, 0), lacks 0.1.
    pair = torch.diag(torch.tensor([2.0, 0.0], dtype=torch.float64))
    assert balancer.weights(pair, names=["b", "c"]).tolist() == pytest.approx([0.45, 0.55])
    whole = balancer.weights(torch.zeros(3, 3, dtype=torch.float64), names=["a", "b", "c"])
    assert whole.tolist() == pytest.approx([4 / 15, 0.45 * 11 / 15, 0.55 * 11 / 15])
    # A task that is new counts as average: a quarter of all four.
    four = balancer.weights(torch.zeros(4, 4, dtype=torch.float64), names=["a", "b", "c", "d"])
    assert float(four[3]) == pytest.approx(0.25)


def test_tasks_that_hold_nothing_together_start_from_equal_shares() -> None:
    balancer = create("modo", gamma=10.0)
    gram = torch.diag(torch.tensor([0.0, 5.0, 5.0], dtype=torch.float64))
    assert balancer.weights(gram, names=["a", "b", "c"]).tolist() == [1.0, 0.0, 0.0]
    assert balancer.weights(torch.eye(2, dtype=torch.float64), names=["b", "c"]).tolist() == [0.5, 0.5]


def test_an_overflow_spares_the_weights() -> None:
    balancer = create("modo", gamma=0.1, rho=1.0)
    gram = torch.tensor([[2.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
    balancer.weights(gram)
    balancer.weights(torch.full((2, 2), math.nan, dtype=torch.float64))
    assert balancer.weights(gram).tolist() == pytest.approx([0.41, 0.59])


@pytest.mark.parametrize("options", [{"gamma": 0.0}, {"gamma": math.inf}, {"rho": -1.0}, {"rho": math.nan}])
def test_options_out_of_range(options: dict) -> None:
    with pytest.raises(OptionError, match=next(iter(options)) + " must be a"):
        create("modo", **options)


def test_it_asks_for_three_batches() -> None:
    assert create("modo").samples == create("sdmgrad").samples == 3
