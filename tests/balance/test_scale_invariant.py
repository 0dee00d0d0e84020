"""The sum of logarithms: values by hand; what others come to."""

from __future__ import annotations

import pytest
import torch

import sharewise as sw
from sharewise.balance import ScaleInvariant, create


def test_weights_by_hand() -> None:
    # d/dx (log x^2 + log x^3) = 5 / x
    x = torch.nn.Parameter(torch.tensor(4.0, dtype=torch.float64))
    balance = sw.backward({"a": x**2, "b": x**3}, ScaleInvariant())
    assert balance.weight_vector is not None
    assert balance.weight_vector.tolist() == pytest.approx([1 / 16, 1 / 64], rel=1e-12)
    assert float(x.grad) == pytest.approx(1.25, rel=1e-12)


def test_the_same_direction_as_the_geometric_mean() -> None:
    losses = 10.0 ** torch.linspace(-12, 12, 9, dtype=torch.float64)
    one, other = ScaleInvariant().weights(losses), create("gls").weights(losses)
    assert torch.allclose(one / one.sum(), other / other.sum(), rtol=1e-10)
