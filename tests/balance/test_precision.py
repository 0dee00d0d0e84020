"""Autocast, loss scaling, compiled forwards, checkpointing, wrapped modules."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch._functorch import config as functorch
from torch.utils.checkpoint import checkpoint

import sharewise as sw
from helpers.shared_net import Net, batch, flat, gradients, jacobian, net
from sharewise.balance import create
from sharewise.errors import ModelError


@pytest.mark.parametrize("inside", [True, False])
def test_autocast_around_forward_or_around_all(inside: bool) -> None:
    grads = []
    for whole in (True, False):
        model = net(3).float()
        x = batch().float()
        with torch.autocast("cpu", torch.bfloat16):
            losses = model.losses(x)
            if whole:
                sw.backward(losses, create("pcgrad"))
        if not whole:
            sw.backward(losses, create("pcgrad"))
        grads.append(gradients(model))
    for key, value in grads[0].items():
        assert value.dtype == torch.float32
        assert torch.equal(value, grads[1][key])


@pytest.mark.parametrize("name", ["equal", "uncertainty", "gls", "imtl_l", "famo", "stch", "pcgrad", "graddrop"])
@pytest.mark.parametrize("mode", ["loop", "batched"])
def test_loss_scale_multiplies_gradients_and_nothing_else(name: str, mode: str) -> None:
    results = []
    for scale in (1.0, 2.0**16):
        model = net(3)
        losses = model.losses(batch())
        balancer = create(name, tasks=list(losses))
        balance = sw.backward(losses, balancer, mode=mode, scale=scale)
        found = [p.grad / scale for p in [*model.parameters(), *balancer.parameters()]]
        results.append((found, balance))
    for a, b in zip(results[0][0], results[1][0], strict=True):
        assert torch.allclose(a, b, rtol=1e-12)
    assert results[0][1].loss.item() == pytest.approx(results[1][1].loss.item())
    if results[0][1].norms is not None:
        assert torch.allclose(results[0][1].gram, results[1][1].gram, rtol=1e-12)


def test_with_a_grad_scaler() -> None:
    # An overflow under a scale that is too large must reach the scaler, which skips the step and halves the scale.
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    model = net(2).float()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    before = model.trunk[0].weight.detach().clone()
    skipped = 0
    while torch.equal(before, model.trunk[0].weight):
        losses = {k: 100 * v for k, v in model.losses(batch().float()).items()}
        optimizer.zero_grad()
        sw.backward(losses, create("pcgrad"), scale=scaler.scale(torch.ones(())), on_nonfinite="ignore")
        scaler.step(optimizer)
        scaler.update()
        skipped += scaler.get_scale() < 2.0 ** (127 - skipped)
        assert skipped < 20
    assert skipped > 0
    assert scaler.get_scale() == 2.0 ** (127 - skipped)
    exact = net(2).float()
    sw.backward(exact.losses(batch().float()), create("pcgrad"))
    want = before - 0.1 * exact.trunk[0].weight.grad
    assert torch.allclose(model.trunk[0].weight, want, rtol=1e-4, atol=1e-6)


def test_activation_checkpointing() -> None:
    class Saving(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 6), nn.Tanh())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return checkpoint(self.inner, x, use_reentrant=False)

    torch.manual_seed(0)
    model = Net(["a", "b", "c"], Saving())
    shared = list(model.trunk.parameters())
    want = create("pcgrad").aggregate(jacobian(model.losses(batch()), shared))
    sw.backward(model.losses(batch()), create("pcgrad"))
    assert torch.allclose(flat(shared), want, rtol=1e-10)


@functorch.patch(donated_buffer=False)
def test_compiled_forward() -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)
    plain = Net(["a", "b"])
    shared = list(plain.trunk.parameters())
    want = create("pcgrad").aggregate(jacobian(plain.losses(batch()), shared))
    compiled = torch.compile(plain.trunk, backend="aot_eager")
    sw.backward(plain.losses(batch(), compiled(batch())), create("pcgrad"))
    assert torch.allclose(flat(shared), want, rtol=1e-10)


def test_a_wrapped_module_is_refused() -> None:
    model = net(2)
    wrapper = nn.parallel.DistributedDataParallel.__new__(nn.parallel.DistributedDataParallel)
    nn.Module.__init__(wrapper)
    with pytest.raises(ModelError, match="wrapped in DistributedDataParallel"):
        sw.backward(model.losses(batch()), create("pcgrad"), shared=wrapper)
