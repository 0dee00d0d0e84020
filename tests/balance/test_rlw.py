"""Random weights: their law, their generator, parity."""

from __future__ import annotations

import pytest
import torch

from sharewise.balance import RLW


def test_softmax_of_normal_numbers_from_its_own_generator() -> None:
    drawn = torch.randn(3, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    expected = drawn.exp() / drawn.exp().sum()
    found = RLW(seed=7).weights(torch.tensor([1.0, 1e9, 1e-9], dtype=torch.float64))
    assert torch.allclose(found, expected, rtol=1e-12)


def test_weights_sum_to_one_and_are_even_on_average() -> None:
    balancer = RLW()
    drawn = torch.stack([balancer.weights(torch.ones(4)) for _ in range(4000)])
    assert torch.allclose(drawn.sum(1), torch.ones(4000))
    # For softmax of 4 standard normals the standard deviation of a weight is below 0.2: 6 errors of the mean are 0.02.
    assert torch.allclose(drawn.mean(0), torch.full((4,), 0.25), atol=0.02)
    assert len(drawn[:, 0].unique()) > 3900


def test_seeds_differ() -> None:
    losses = torch.ones(3)
    assert not torch.equal(RLW(seed=0).weights(losses), RLW(seed=1).weights(losses))


def test_the_same_as_torchjd() -> None:
    peer = pytest.importorskip("torchjd.scalarization", reason="torchjd is not installed").Random()
    losses = torch.rand(6, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(3)  # it draws from the global generator
    (expected,) = torch.autograd.grad(peer(losses), losses)
    assert torch.allclose(RLW(seed=3).weights(losses.detach()), expected, rtol=1e-12)
