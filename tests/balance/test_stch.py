"""Smooth Tchebycheff: values by hand, the warm-up, the limits of mu, parity."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sharewise.balance import STCH, create
from sharewise.errors import OptionError

PAIR = ["a", "b"]


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def warmed(mu: float = 1.0, *losses: Tensor) -> STCH:
    balancer = STCH(mu=mu, warmup=1)
    for step in losses or (vector(2.0, 8.0),):
        balancer.weights(step, names=PAIR)
    balancer.end_epoch()
    return balancer


def test_weights_by_hand() -> None:
    balancer = STCH(mu=0.5, warmup=2)
    assert balancer.weights(vector(9.0, 9.0), names=PAIR).tolist() == pytest.approx([1 / 9, 1 / 9])
    balancer.end_epoch()
    balancer.weights(vector(1.0, 10.0), names=PAIR)  # the last warm-up epoch: means 2 and 8 are the nadirs
    assert balancer.weights(vector(3.0, 6.0), names=PAIR).tolist() == pytest.approx([1 / 3, 1 / 6])
    balancer.end_epoch()
    # y = (log(1/2), log 1), exp(y / 0.5) = (1/4, 1): softmax (1/5, 4/5); weights 2 * (1/5) / 1 and 2 * (4/5) / 8
    assert balancer.weights(vector(1.0, 8.0), names=PAIR).tolist() == pytest.approx([0.4, 0.2], rel=1e-12)


def test_nadirs_stay() -> None:
    balancer = warmed()
    for _ in range(3):
        balancer.weights(vector(100.0, 100.0), names=PAIR)
        balancer.end_epoch()
    assert balancer.task_state.read("nadir", PAIR).tolist() == [2.0, 8.0]


def test_a_small_mu_sees_the_worst_task_alone_and_a_large_one_all_alike() -> None:
    losses = vector(1.9, 4.0)  # a is at 0.95 of its nadir, b at 0.5
    worst = warmed(1e-3).weights(losses, names=PAIR)
    assert worst.tolist() == pytest.approx([2 / 1.9, 0.0], abs=1e-12)
    even = warmed(1e6).weights(losses, names=PAIR)
    assert even.tolist() == pytest.approx((1 / losses).tolist(), rel=1e-5)


def test_a_task_without_a_nadir_gets_one_from_its_first_epoch() -> None:
    balancer = warmed()
    names = [*PAIR, "late"]
    # Unknown, so y = 0, as the others at their nadirs: softmax 1/3 each
    assert balancer.weights(vector(2.0, 8.0, 5.0), names=names).tolist() == pytest.approx([1 / 2, 1 / 8, 1 / 5])
    balancer.end_epoch()
    assert balancer.task_state.read("nadir", names).tolist() == [2.0, 8.0, 5.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"mu": 0.0}, "mu"), ({"mu": math.nan}, "mu"), ({"warmup": 0}, "warmup"), ({"warmup": 1.5}, "warmup")],
)
def test_wrong_options(options: dict, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        create("stch", **options)


@pytest.mark.parametrize("mu", [0.1, 1.0])
def test_the_same_as_torchjd(mu: float) -> None:
    """Its scalarizer takes values as they come; ours hands it the logarithms relative to the nadirs."""
    module = pytest.importorskip("torchjd.scalarization", reason="torchjd is not installed")
    peer = module.STCH(mu=mu, weights=torch.ones(2, dtype=torch.float64))
    losses = vector(1.0, 11.0).requires_grad_()
    (expected,) = torch.autograd.grad(2 * peer((losses / vector(2.0, 8.0)).log()), losses)
    assert torch.allclose(warmed(mu).weights(losses.detach(), names=PAIR), expected, rtol=1e-12)
