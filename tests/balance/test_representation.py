"""Balancing the gradients of a shared activation: one pass of the trunk."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import sharewise as sw
from helpers.shared_net import batch, flat, gradients, net
from sharewise.balance import create
from sharewise.errors import BalanceError, OptionError


@pytest.mark.parametrize("mode", ["auto", "representation", "loop", "batched"])
def test_the_trunk_gets_the_balanced_gradient_of_the_activation(mode: str) -> None:
    model, x = net(3), batch()
    z = model.trunk(x)
    losses = model.losses(x, z)
    rows = torch.stack([torch.autograd.grad(v, z, retain_graph=True)[0].flatten() for v in losses.values()])
    direction = create("pcgrad", seed=1).aggregate(rows).view_as(z)
    want = torch.autograd.grad(z, list(model.trunk.parameters()), direction, retain_graph=True)
    pairs = list(zip(losses.values(), model.heads, strict=True))
    heads = [torch.autograd.grad(v, list(h.parameters()), retain_graph=True) for v, h in pairs]
    balance = sw.backward(losses, create("pcgrad", seed=1), representation=z, mode=mode)
    assert torch.allclose(flat(list(model.trunk.parameters())), torch.cat([w.flatten() for w in want]), rtol=1e-10)
    for head, expected in zip(model.heads, heads, strict=True):
        for p, g in zip(head.parameters(), expected, strict=True):
            assert torch.allclose(p.grad, g, rtol=1e-10)
    assert [float(n) for n in balance.norms.values()] == pytest.approx(rows.norm(dim=1).tolist())


def test_the_trunk_is_passed_once() -> None:
    model, x = net(3), batch()
    passes = []
    z = model.trunk(x)
    model_hook = model.trunk[0].weight.register_hook(lambda g: passes.append(1))
    sw.backward(model.losses(x, z), create("pcgrad"), representation=z)
    model_hook.remove()
    assert len(passes) == 1


def test_methods_on_losses_take_their_plain_pass() -> None:
    model, x = net(2), batch()
    z = model.trunk(x)
    sw.backward(model.losses(x, z), create("equal"), representation=z)
    got = gradients(model)
    model.zero_grad()
    sum(model.losses(x).values()).backward()
    for key, value in gradients(model).items():
        assert torch.allclose(value, got[key], rtol=1e-12)


def test_several_activations() -> None:
    model, x = net(2), batch()
    first = model.trunk[:2](x)
    second = model.trunk[2:](first)
    skip = nn.Linear(8, 1).double()
    losses = model.losses(x, second)
    losses["task 0"] = losses["task 0"] + skip(first).mean()
    balance = sw.backward(losses, create("pcgrad"), representation=[first, second])
    assert balance.cosines.shape == (2, 2)
    assert model.trunk[2].weight.grad is not None
    assert model.trunk[0].weight.grad is not None
    assert skip.weight.grad is not None


def test_a_detached_activation_is_filled_and_left_to_the_caller() -> None:
    model, x = net(2), batch()
    z = model.trunk(x).detach().requires_grad_()
    sw.backward(model.losses(x, z), create("pcgrad"), representation=z)
    assert z.grad is not None
    assert model.trunk[0].weight.grad is None


def test_what_is_refused() -> None:
    model, x = net(2), batch()
    with pytest.raises(OptionError, match="needs the activation: pass representation=z"):
        sw.backward(model.losses(x), create("pcgrad"), mode="representation")
    z = model.trunk(x)
    with pytest.raises(BalanceError, match="asks for no gradient"):
        sw.backward(model.losses(x, z), create("pcgrad"), representation=z.detach())
    losses = model.losses(x, z)
    losses["task 1"] = model.losses(x)["task 1"]  # comes from another forward pass
    with pytest.raises(BalanceError, match='task "task 1" does not depend on'):
        sw.backward(losses, create("pcgrad"), representation=z)
    assert all(g is None for g in gradients(model).values())
