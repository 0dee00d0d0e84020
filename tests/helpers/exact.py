"""Steps held against plain autograd in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import sharewise as sw
from helpers.architectures import Tasks
from helpers.shared_net import flat, jacobian
from sharewise.balance import create

Losses = Callable[[Tasks], dict[str, Tensor]]


def check_step(model: Tasks, losses: Losses, mode: str) -> None:
    """The Gram matrix, the direction and the heads' gradients are those of plain autograd."""
    shared = model.shared()
    rows = jacobian(losses(model), shared)
    want = create("pcgrad").aggregate(rows, names=list(losses(model)))
    alone = torch.autograd.grad(sum(losses(model).values()), list(model.heads.parameters()), allow_unused=True)
    balance = sw.backward(losses(model), create("pcgrad"), shared=shared, mode=mode)
    scale = float(rows.norm()) ** 2
    assert torch.allclose(balance.gram, rows @ rows.T, rtol=1e-12, atol=1e-14 * scale)
    assert torch.allclose(flat(shared), want, rtol=1e-11, atol=1e-13 * float(rows.norm()))
    for p, g in zip(model.heads.parameters(), alone, strict=True):
        assert torch.allclose(p.grad, g, rtol=1e-12)


def forbid(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError(f"{name} was called")

    monkeypatch.setattr(f"sharewise.balance.{name}", refuse)
