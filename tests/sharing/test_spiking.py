"""Spiking neurons: values by hand, the same in snnTorch, at rest at each call."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.optional import needs_snntorch
from sharewise.errors import OptionError
from sharewise.sharing import IF, LIF


def test_leaky_neurons_by_hand() -> None:
    # tau 2, I = 1.5: u = 0.75; 0.375 + 0.75 = 1.125, fires, back to 0; 0.75; 1.125, fires.
    assert LIF()(torch.full((4, 1), 1.5)).flatten().tolist() == [0, 1, 0, 1]
    # I = 2: u = 1 is not above the threshold; then 0.5 + 1 = 1.5 fires.
    assert LIF()(torch.full((4, 1), 2.0)).flatten().tolist() == [0, 1, 0, 1]
    # Potentials tend to I from below: at I = 1 none ever fires, however long.
    assert LIF()(torch.ones(50, 1)).sum() == 0


def test_neurons_without_a_leak_by_hand() -> None:
    # I = 0.4: 0.4, 0.8, 1.2 fires and loses the 0.2, 0.4, 0.8, 1.2 fires.
    assert IF()(torch.full((6, 1), 0.4)).flatten().tolist() == [0, 0, 1, 0, 0, 1]


def test_the_gradient_by_hand() -> None:
    # IF, slope 1, two steps of I: u1 = I1, u2 = u1 + I2, no spike. With s'(u) = p (1 - p), p = sigmoid(u - 1):
    # d spike1 / d I1 = s'(u1), d spike2 / d I1 = d spike2 / d I2 = s'(u2).
    current = torch.tensor([[0.2], [0.3]], requires_grad=True)
    IF(slope=1.0)(current).sum().backward()
    p1, p2 = torch.sigmoid(torch.tensor([-0.8, -0.5]))
    wanted = [[p1 * (1 - p1) + p2 * (1 - p2)], [p2 * (1 - p2)]]
    torch.testing.assert_close(current.grad, torch.tensor(wanted))


def peer(current: torch.Tensor, make: type[LIF]) -> torch.Tensor:
    """The same neurons built from snnTorch alone, its surrogate included."""
    import snntorch
    from snntorch import surrogate

    decay, gain = (0.5, 0.5) if make is LIF else (1.0, 1.0)
    neuron = snntorch.Leaky(beta=decay, reset_mechanism="zero", spike_grad=surrogate.sigmoid(slope=4))
    spikes, potential = [], torch.zeros_like(current[0])
    for now in current:
        fired, potential = neuron(gain * now, potential)
        spikes.append(fired)
    return torch.stack(spikes)


@needs_snntorch
@pytest.mark.parametrize("make", [LIF, IF])
@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), steps=st.integers(1, 6), size=st.sampled_from([0.1, 0.5, 2.0]))
def test_snntorch_gives_the_same(make: type[LIF], seed: int, steps: int, size: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    current = size * torch.randn(steps, 3, 5, generator=generator)
    weight = torch.randn(steps, 3, 5, generator=generator)
    found = []
    for layer in (make(), make(backend="snntorch"), lambda leaf: peer(leaf, make)):
        leaf = current.clone().requires_grad_()
        spikes = layer(leaf)
        (spikes * weight).sum().backward()
        found.append((spikes.detach(), leaf.grad))
    for spikes, gradient in found[1:]:
        assert torch.equal(found[0][0], spikes)
        torch.testing.assert_close(found[0][1], gradient, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("backend", ["fused", pytest.param("snntorch", marks=needs_snntorch)])
@pytest.mark.parametrize("size", [1e-30, 1e4, 1e30])
def test_extreme_currents_have_finite_gradients(size, backend) -> None:
    current = (size * torch.randn(4, 2, 3)).requires_grad_()
    spikes = IF(backend=backend)(current)
    spikes.sum().backward()
    assert set(spikes.flatten().tolist()) <= {0.0, 1.0} and current.grad.isfinite().all()


@needs_snntorch
def test_snntorch_keeps_no_graph_and_no_neuron() -> None:
    import snntorch

    before = len(snntorch.SpikingNeuron.instances)
    layer = LIF(backend="snntorch")
    assert len(snntorch.SpikingNeuron.instances) == before
    layer(torch.ones(2, 3, requires_grad=True))
    assert layer.step.mem.numel() == 0 and layer.state_dict()["step.threshold"] == 1


@pytest.mark.parametrize("backend", ["fused", pytest.param("snntorch", marks=needs_snntorch)])
def test_a_call_begins_at_rest(backend) -> None:
    layer = LIF(backend=backend)
    current = 3 * torch.rand(4, 2, 3)
    first = layer(current)
    layer(current[:, :1])
    assert torch.equal(layer(current), first)


def test_one_current_for_all_steps() -> None:
    current = (2 * torch.rand(1, 2, 3)).requires_grad_()
    LIF()(current.expand(4, 2, 3)).sum().backward()
    assert current.grad.shape == (1, 2, 3) and current.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: LIF(1.0), "tau must be a finite number above 1, got 1.0: without a leak use IF"),
        (lambda: LIF(threshold=0.0), "threshold must be a finite number above 0"),
        (lambda: IF(slope=float("nan")), "slope must be"),
        (lambda: LIF(backend="fuse"), 'no backend "fuse": did you mean "fused"'),
    ],
)
def test_wrong_options_are_named(make, words) -> None:
    with pytest.raises(OptionError, match=words):
        make()
