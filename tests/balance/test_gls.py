"""Geometric loss strategy: values by hand, no over- or underflow, parity."""

from __future__ import annotations

import pytest
import torch

import sharewise as sw
from sharewise.balance import GLS


def test_weights_by_hand() -> None:
    # The geometric mean of 2 and 8 is 4: weights 4 / (2 * 2) and 4 / (2 * 8), and the weighted total is 4 again.
    x = torch.nn.Parameter(torch.tensor(2.0, dtype=torch.float64))
    balance = sw.backward({"a": x, "b": x**3}, GLS())
    assert balance.weight_vector is not None
    assert balance.weight_vector.tolist() == pytest.approx([1.0, 0.25], rel=1e-12)
    assert balance.loss.item() == pytest.approx(4.0, rel=1e-12)
    assert float(x.grad) == pytest.approx(1.0 + 0.25 * 12.0, rel=1e-12)  # = d x^2 / dx = 4


@pytest.mark.parametrize("value", [1e-12, 1e12])
def test_a_hundred_tiny_or_huge_losses(value: float) -> None:
    losses = torch.full((100,), value, dtype=torch.float32)  # their product would be 0 or infinite
    weights = GLS().weights(losses)
    assert torch.allclose(weights, torch.full_like(weights, 0.01))


def test_the_same_as_torchjd() -> None:
    peer = pytest.importorskip("torchjd.scalarization", reason="torchjd is not installed").GeometricMean()
    losses = (10.0 ** torch.linspace(-3, 3, 7, dtype=torch.float64)).requires_grad_()
    total = peer(losses)
    (expected,) = torch.autograd.grad(total, losses)
    weights = GLS().weights(losses.detach())
    assert torch.allclose(weights, expected, rtol=1e-12)
    assert (weights * losses).sum().item() == pytest.approx(total.item())
