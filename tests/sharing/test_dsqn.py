"""The duelling spiking Q-network: identities, no memory between calls, whose parameters learn, what is counted."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from helpers.optional import needs_snntorch
from sharewise.errors import ModelError, OptionError, TaskError
from sharewise.schedule import PlateauSwitch, Signal
from sharewise.sharing import DuelingDSQN

SMALL = {"shape": (2, 6, 6), "actions": 3, "convolutions": [(4, 3, 1)], "hidden": 8, "scale": 0.2}
TASKS = ("catch", "avoid")


def small(**changed) -> DuelingDSQN:
    torch.manual_seed(0)
    return DuelingDSQN(TASKS, **{**SMALL, **changed})


@pytest.fixture
def frames() -> torch.Tensor:
    return (torch.rand(5, 2, 6, 6) < 0.3).to(torch.uint8)


@pytest.mark.parametrize("normalise", ["shared", "per_task", "none"])
@pytest.mark.parametrize("gate", ["scalar", "per_neuron", None])
@pytest.mark.parametrize("backend", ["fused", pytest.param("snntorch", marks=needs_snntorch)])
def test_repeated_forward_passes_are_identical(normalise, gate, backend, frames) -> None:
    network = small(normalise=normalise, gate=gate, backend=backend).eval()
    first = network(frames, "catch")
    network(frames[:2], "avoid")
    assert torch.equal(network(frames, "catch"), first)
    assert first.shape == (5, 3)
    copy.deepcopy(network)  # no graph hangs on it


def test_the_mean_of_the_advantages_is_taken_off(frames) -> None:
    network = small().eval()
    before = network(frames, "catch")
    network.advantage.last.bias.data += 7.0  # the same for all actions: no advantage
    torch.testing.assert_close(network(frames, "catch"), before)
    network.advantage.last.weight.data.zero_()
    network.advantage.last.bias.data.zero_()
    values = network(frames, "catch")
    torch.testing.assert_close(values, values[:, :1].expand(-1, 3))
    network.value.last.weight.data.zero_()
    assert (network(frames, "catch") == network.value.last.bias).all()


@pytest.mark.parametrize("gate", ["scalar", "per_neuron"])
def test_a_task_trains_its_own_dendrites_only(gate, frames) -> None:
    network = small(gate=gate)
    network(frames, "avoid").square().sum().backward()
    for stream in (network.advantage, network.value):
        moved = stream.gate.weight.grad.flatten(1).abs().sum(1)
        assert moved[0] == 0 and moved[1] > 0


def test_without_a_gate_tasks_are_not_told_apart(frames) -> None:
    network = small(gate=None).eval()
    assert torch.equal(network(frames, "catch"), network(frames, "avoid"))
    gated = small(gate="scalar", hidden=64).eval()
    gated.advantage.gate.weight.data = gated.value.gate.weight.data = torch.tensor([[9.0, 9.0], [-9.0, -9.0]])
    assert not torch.equal(gated(frames, "catch"), gated(frames, "avoid"))


def test_normalisation_of_ones_own(frames) -> None:
    network = small(normalise="per_task").train()
    before = [norm.running_mean.clone() for norm in network.trunk[0].norms]
    network(frames, "avoid")
    after = [norm.running_mean for norm in network.trunk[0].norms]
    assert torch.equal(before[0], after[0]) and not torch.equal(before[1], after[1])


def test_statistics_of_normalisation_are_no_change_of_the_parameters(frames) -> None:
    """A switch that looks at parameters sees a network stand still whose buffers move."""
    network = small(normalise="shared").train()
    switch = PlateauSwitch(TASKS, window=2, min_episodes=1, threshold=1e-12)
    for episode in range(4):
        assert switch.tasks(episode) == ["catch"]
        moved = network.trunk[0].norms[0].running_mean.clone()
        network(frames, "catch")
        assert not torch.equal(moved, network.trunk[0].norms[0].running_mean)
        switch.observe(episode, Signal(parameters=network.parameters()))
    assert switch.log[0].change == 0 and switch.tasks(4) == ["avoid"]


def test_the_published_size() -> None:
    network = DuelingDSQN(["pong", "breakout", "enduro"])
    assert network.advantage.first.in_features == 3136
    assert network(torch.randint(0, 256, (2, 4, 84, 84), dtype=torch.uint8), "pong").shape == (2, 18)
    assert network.advantage.gate.weight.shape == (3, 3)


def test_operations_by_hand() -> None:
    """All neurons of the convolution fire in every step, those of the streams never."""
    network = small(normalise="none", steps=3, gate=None)
    nn.init.zeros_(network.trunk[0].convolution.weight)
    nn.init.constant_(network.trunk[0].convolution.bias, 100.0)
    for stream in (network.advantage, network.value):
        nn.init.zeros_(stream.first.weight)
        nn.init.zeros_(stream.first.bias)
    found = network.activity(torch.zeros(2, 2, 6, 6), "catch")
    # 4 x 4 x 4 = 64 neurons fire 3 times each; every spike meets 8 weights in both streams.
    assert found.rates == (1.0, 0.0, 0.0)
    assert found.spike_rate == pytest.approx(64 / (64 + 8 + 8))
    assert found.synaptic_operations == 64 * 3 * 8 * 2
    # 2 x 4 x 3 x 3 weights at 16 places, 64 x 8 twice, 8 x 3 and 8 x 1.
    assert found.dense_operations == 72 * 16 + 2 * 64 * 8 + 8 * 3 + 8
    assert network.training


def test_operations_of_a_convolution_behind_spikes() -> None:
    network = small(convolutions=[(4, 3, 1), (5, 2, 2)], normalise="none", steps=2)
    nn.init.zeros_(network.trunk[0].convolution.weight)
    nn.init.constant_(network.trunk[0].convolution.bias, 100.0)
    for part in (network.trunk[1].convolution, network.advantage.first, network.value.first):
        nn.init.zeros_(part.weight)
        nn.init.zeros_(part.bias)
    # 4 x 4 x 4 spikes a step into a kernel of 2 x 2 at 2 x 2 places, without overlap: each meets 5 weights.
    assert network.activity(torch.zeros(3, 2, 6, 6), "catch").synaptic_operations == 64 * 2 * 5


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"gate": "neuron"}, 'no mode "neuron"'),
        ({"normalise": "task"}, 'no normalise "task"'),
        ({"convolutions": [(4, 9, 1)]}, "are too small for a kernel of 9"),
        ({"steps": 0}, "steps must be a whole number of at least 1, got 0"),
        ({"shape": (6, 6)}, "must be \\(channels, height, width\\)"),
    ],
)
def test_wrong_options_are_named(changed, words) -> None:
    with pytest.raises(OptionError, match=words):
        small(**changed)


def test_wrong_input_is_named(frames) -> None:
    network = small()
    with pytest.raises(TaskError, match='no task "cach"; did you mean "catch"'):
        network(frames, "cach")
    with pytest.raises(ModelError, match=r"shape \[5, 2, 5, 6\], expected \[B, \*\[2, 6, 6\]\]"):
        network(frames[:, :, 1:], "catch")
    with pytest.raises(OptionError, match="different names"):
        DuelingDSQN(["a", "a"])
