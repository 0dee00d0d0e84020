"""A step from several batches: both modes against sums by autograd, evaluation mode, momentum, wrong input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sharewise.balance import GCond, create
from sharewise.errors import ModelError, OptionError
from sharewise.optim import GradientMomentum
from sharewise.systems.balancing import AccumulatedStep

LOSSES = {"square": lambda out, y: (out - y).square().mean(), "abs": lambda out, y: 3 * (out + y).abs().mean()}


def model(dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Dropout(dropout), nn.Tanh(), nn.Linear(4, 1)).double()


def batches(count: int) -> list[tuple[Tensor, Tensor]]:
    g = torch.Generator().manual_seed(1)
    return [(torch.randn(5, 3, generator=g).double(), torch.randn(5, 1, generator=g).double()) for _ in range(count)]


def feed(items: list[tuple[Tensor, Tensor]]) -> Callable[[], tuple[Tensor, Tensor]]:
    return iter(items).__next__


def gradient(net: nn.Module) -> Tensor:
    return torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])


def row(net: nn.Module, name: str, items: list[tuple[Tensor, Tensor]]) -> Tensor:
    loss = torch.stack([LOSSES[name](net(x), y) for x, y in items]).mean()
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(net.parameters()))])


@pytest.mark.parametrize("mode", ["stochastic", "sequential"])
def test_the_decision_is_taken_on_means_over_the_batches_of_each_loss(mode: Any) -> None:
    net, items = model(), batches(4)
    found = AccumulatedStep(net, LOSSES, GCond(), batches=4, mode=mode)(feed(items))
    mine = {"square": items[:2], "abs": items[2:]} if mode == "stochastic" else dict.fromkeys(LOSSES, items)
    rows = torch.stack([row(net, name, mine[name]) for name in LOSSES])
    assert torch.allclose(gradient(net), GCond().aggregate(rows), rtol=1e-10)
    with torch.no_grad():
        want = {n: sum(float(LOSSES[n](net(x), y)) for x, y in mine[n]) / len(mine[n]) for n in LOSSES}
    assert found == pytest.approx(want)


def test_each_batch_by_itself_is_the_mean_of_decisions() -> None:
    net, items = model(), batches(3)
    AccumulatedStep(net, LOSSES, create("pcgrad"), batches=3, mode="each")(feed(items))
    decided = [create("pcgrad").aggregate(torch.stack([row(net, n, [item]) for n in LOSSES])) for item in items]
    assert torch.allclose(gradient(net), torch.stack(decided).mean(0), rtol=1e-10)


def test_gradients_are_added_and_frozen_parameters_left() -> None:
    net, items = model(), batches(2)
    first = next(net.parameters())
    first.requires_grad_(False)
    step = AccumulatedStep(net, LOSSES, GCond(), batches=2)
    step(feed(items))
    once = gradient(net).clone()
    AccumulatedStep(net, LOSSES, GCond(), batches=2)(feed(items))
    assert torch.allclose(gradient(net), 2 * once)
    assert first.grad is None


def test_evaluation_mode_while_gradients_are_taken() -> None:
    net = model(dropout=0.5)
    net[0].eval()
    AccumulatedStep(net, LOSSES, GCond(), batches=2)(feed(batches(2)))
    frozen = gradient(net)
    plain = model()
    AccumulatedStep(plain, LOSSES, GCond(), batches=2)(feed(batches(2)))
    assert torch.allclose(frozen, gradient(plain))
    assert [m.training for m in net] == [False, True, True, True] and net.training


def test_frozen_modules_come_back_after_an_error() -> None:
    net = model(dropout=0.5)
    with pytest.raises(StopIteration):
        AccumulatedStep(net, LOSSES, GCond(), batches=4)(feed(batches(1)))
    assert all(m.training for m in net.modules())


def test_momentum_is_applied_at_the_end() -> None:
    net, other = model(), model()
    step = AccumulatedStep(net, LOSSES, GCond(), batches=2, momentum=GradientMomentum(net.parameters(), beta=0.5))
    plain, after = AccumulatedStep(other, LOSSES, GCond(), batches=2), GradientMomentum(other.parameters(), beta=0.5)
    for items in (batches(2), batches(4)[2:]):
        net.zero_grad(), other.zero_grad()
        step(feed(items)), plain(feed(items))
        after.apply()
    assert torch.equal(gradient(net), gradient(other))


def test_wrong_input() -> None:
    with pytest.raises(OptionError, match=r"5 batches cannot be dealt out evenly to 2 losses \(square, abs\)"):
        AccumulatedStep(model(), LOSSES, GCond(), batches=5)
    AccumulatedStep(model(), LOSSES, GCond(), batches=5, mode="sequential")
    with pytest.raises(OptionError, match='mode must be "stochastic", "sequential" or "each", got "random"'):
        AccumulatedStep(model(), LOSSES, GCond(), mode="random")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="GCond must not: accumulate is 8"):
        AccumulatedStep(model(), LOSSES, GCond(accumulate=8))
    with pytest.raises(OptionError, match="at least one batch and one loss, got 8 and 0"):
        AccumulatedStep(model(), {}, GCond())
    with pytest.raises(ModelError, match="no trainable parameters"):
        AccumulatedStep(model().requires_grad_(False), LOSSES, GCond())
