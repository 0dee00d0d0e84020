"""IMTL-L: values by hand, the point of rest, parity."""

from __future__ import annotations

import math

import pytest
import torch

import sharewise as sw
from sharewise.balance import IMTLL, create
from sharewise.errors import OptionError


def test_objective_and_gradients_by_hand() -> None:
    balancer = IMTLL(tasks=["a", "b"])
    with torch.no_grad():
        balancer.scalars[1].fill_(math.log(3.0))
    x = torch.nn.Parameter(torch.tensor(2.0))
    balance = sw.backward({"a": x, "b": x**2}, balancer)
    assert balance.weight_vector is not None
    assert balance.weight_vector.tolist() == pytest.approx([1.0, 3.0])
    assert float(x.grad) == pytest.approx(1.0 + 3.0 * 4.0)
    # d/ds (e^s L - s): 1 * 2 - 1 and 3 * 4 - 1
    assert [float(s.grad) for s in balancer.scalars] == pytest.approx([1.0, 11.0])
    losses = torch.tensor([2.0, 4.0])
    objective = balancer.objective(losses, balancer.weights(losses, names=["a", "b"]), ["a", "b"])
    assert objective.item() == pytest.approx(2.0 + 12.0 - math.log(3.0))


@pytest.mark.parametrize("loss", [0.01, 1.0, 500.0])
def test_rests_where_every_scaled_loss_is_one(loss: float) -> None:
    balancer, leaf = IMTLL(tasks=["a"]), torch.ones((), requires_grad=True)
    s = balancer.scalars[0]
    for away, sign in ((-0.5, -1), (0.0, 0), (0.5, 1)):
        with torch.no_grad():
            s.fill_(-math.log(loss) + away)
        s.grad = None
        balance = sw.backward({"a": loss * leaf}, balancer)
        assert round(s.grad.item(), 5) * sign >= 0
        assert (abs(s.grad.item()) < 1e-5) == (sign == 0)
        assert float(balance.weights["a"]) * loss == pytest.approx(math.exp(away))


def test_limits_hold() -> None:
    balancer = IMTLL(tasks=["a"], limits=(-1.0, 1.0))
    with torch.no_grad():
        balancer.scalars[0].fill_(50.0)
    assert balancer.weights(torch.ones(1), names=["a"]).item() == pytest.approx(math.e)
    assert balancer.scalars[0].item() == 1.0


def test_state_finds_its_task_whatever_the_order() -> None:
    first, second = IMTLL(tasks=["a", "b"]), IMTLL(tasks=["b", "a"])
    with torch.no_grad():
        first.scalars[0].fill_(0.5)
    second.load_state_dict(first.state_dict())
    assert [s.item() for s in second.scalars] == [0.0, 0.5]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": []}, "IMTLL needs at least one task"),
        ({"tasks": ["a"], "limits": (1.0, 1.0)}, "limits"),
        ({"tasks": ["a"], "initial": 11.0}, "limits"),
    ],
)
def test_wrong_options(options: dict, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        IMTLL(**options)


def test_tasks_are_needed() -> None:
    with pytest.raises(OptionError, match='"imtl_l" needs tasks='):
        create("imtl_l")


def test_the_same_as_torchjd() -> None:
    peer = pytest.importorskip("torchjd.scalarization", reason="torchjd is not installed").IMTLL(3)
    ours = IMTLL(tasks=["a", "b", "c"])
    start = [-0.5, 0.0, 2.0]
    with torch.no_grad():
        peer.log_scale.copy_(torch.tensor(start))
        for s, value in zip(ours.scalars, start, strict=True):
            s.fill_(value)
    losses = torch.tensor([0.1, 2.0, 30.0], requires_grad=True)
    wanted = torch.autograd.grad(peer(losses), [losses, peer.log_scale])
    names = ["a", "b", "c"]
    total = ours.objective(losses, ours.weights(losses.detach(), names=names), names)
    found = torch.autograd.grad(total, [losses, *ours.scalars])
    assert torch.allclose(found[0], wanted[0]) and torch.allclose(torch.stack(found[1:]), wanted[1])
