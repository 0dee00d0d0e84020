"""Gates by the task's context: values by hand, and whose weights learn."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sharewise.errors import ModelError, OptionError
from sharewise.sharing import ActiveDendriteGate


def test_values_by_hand() -> None:
    gate = ActiveDendriteGate(2, 3, segments=2, mode="scalar")
    gate.weight.data = torch.tensor([[1.0, -2.0], [0.5, 0.0]])
    context = torch.eye(2)
    # max: 1.0 and 0.5; largest absolute: -2.0 and 0.5.
    torch.testing.assert_close(gate.gate(context), torch.sigmoid(torch.tensor([[1.0], [0.5]])))
    gate.select = "absolute"
    torch.testing.assert_close(gate.gate(context), torch.sigmoid(torch.tensor([[-2.0], [0.5]])))
    torch.testing.assert_close(gate(torch.ones(4, 2, 3), context)[3, 0], torch.sigmoid(torch.tensor(-2.0)).expand(3))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 1000),
    tasks=st.integers(2, 5),
    segments=st.integers(1, 4),
    mode=st.sampled_from(["scalar", "per_neuron"]),
    select=st.sampled_from(["max", "absolute"]),
)
def test_only_the_active_tasks_weights_learn(seed, tasks, segments, mode, select) -> None:
    torch.manual_seed(seed)
    gate = ActiveDendriteGate(tasks, 6, segments=segments, mode=mode, select=select)
    active = seed % tasks
    out = gate(torch.randn(3, 4, 6), torch.eye(tasks)[[active]])
    assert out.shape == (3, 4, 6)
    out.square().sum().backward()
    moved = gate.weight.grad.flatten(1).abs().sum(1)
    assert moved[active] > 0 and moved.sum() == moved[active]


def test_a_mixed_context_is_a_mixed_response() -> None:
    gate = ActiveDendriteGate(2, 5, mode="per_neuron")
    half = torch.tensor([[0.5, 0.5]])
    torch.testing.assert_close(gate.gate(half), torch.sigmoid(gate.weight.mean(0).squeeze(-1)).unsqueeze(0))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ActiveDendriteGate(0, 3), "contexts must be a whole number of at least 1, got 0"),
        (lambda: ActiveDendriteGate(2, 3, mode="neuron"), 'no mode "neuron" of a gate: did you mean "per_neuron"'),
        (lambda: ActiveDendriteGate(2, 3, select="maximum"), 'no select "maximum"'),
    ],
)
def test_wrong_options_are_named(make, words) -> None:
    with pytest.raises(OptionError, match=words):
        make()


def test_a_context_of_another_size_is_refused() -> None:
    with pytest.raises(ModelError, match=r"context has shape \[1, 3\], expected \[B, 2\]"):
        ActiveDendriteGate(2, 3)(torch.ones(1, 3), torch.ones(1, 3))
