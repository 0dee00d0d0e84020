"""Norms and cosines without an update."""

from __future__ import annotations

import pytest
import torch

import sharewise as sw
from helpers.shared_net import batch, gradients, jacobian, net
from sharewise.balance import create, measure


@pytest.mark.parametrize("mode", ["loop", "batched"])
def test_it_tells_what_rows_are_like_and_leaves_the_graph(mode: str) -> None:
    model = net(3)
    losses = model.losses(batch())
    matrix = jacobian(losses, list(model.trunk.parameters()))
    norms = matrix.norm(dim=1)
    found = measure(losses, shared=model, mode=mode)
    assert all(g is None for g in gradients(model).values())
    assert [float(n) for n in found.norms.values()] == pytest.approx(norms.tolist())
    assert torch.allclose(found.cosines, matrix @ matrix.T / norms / norms[:, None])
    assert found.weights == {}
    sw.backward(losses, create("equal"))
    assert model.trunk[0].weight.grad is not None


def test_through_a_representation() -> None:
    model, x = net(2), batch()
    z = model.trunk(x)
    losses = model.losses(x, z)
    rows = torch.stack([torch.autograd.grad(v, z, retain_graph=True)[0].flatten() for v in losses.values()])
    found = measure(losses, representation=z)
    assert [float(n) for n in found.norms.values()] == pytest.approx(rows.norm(dim=1).tolist())
