"""State by task name: kept through absences, saved as tensors, the same after loading."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from sharewise.balance import LossBalancer
from sharewise.balance._state import TaskState, decode_names, encode_names

ODD = ["a.b", "", "<script>", "1", "é\u2028\n", "a" * 300]


class Momentum(LossBalancer):
    """Weights that remember the losses and, for pairs, how often two tasks met; draws noise as well."""

    def __init__(self, *, tasks: Sequence[str] | None = None, seed: int = 0) -> None:
        super().__init__(tasks=tasks, seed=seed)
        self.task_state.declare("mean", 1.0)
        self.task_state.declare("vector", torch.tensor([1.0, 2.0]))
        self.task_state.declare("met", axes=2)

    def weights(self, losses: Tensor, *, names: Sequence[str] | None = None) -> Tensor:
        known = self.check_names(len(losses), names)
        mean = 0.9 * self.task_state.read("mean", known) + 0.1 * losses.double()
        self.task_state.write("mean", known, mean)
        self.task_state.write("vector", known, self.task_state.read("vector", known) * 2)
        met = self.task_state.read("met", known) + 1
        self.task_state.write("met", known, met)
        return mean * met.sum(1) * torch.rand(len(losses), generator=self.generator).double()


def test_names_survive_encoding() -> None:
    assert decode_names(encode_names(ODD)) == ODD
    assert encode_names(ODD).dtype == torch.uint8


def test_a_new_task_starts_at_the_initial_entry() -> None:
    state = TaskState()
    state.declare("x", 3.0)
    assert state.read("x", ["a", "b"]).tolist() == [3.0, 3.0]
    state.write("x", ["b"], torch.tensor([5.0]))
    assert state.read("x", ["c", "b", "a"]).tolist() == [3.0, 5.0, 3.0]


def test_pairs_are_addressed_by_both_names() -> None:
    state = TaskState()
    state.declare("p", axes=2)
    state.write("p", ["a", "b"], torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    state.write("p", ["c", "a"], torch.tensor([[5.0, 6.0], [7.0, 8.0]]))
    assert state.read("p", ["a", "b", "c"]).tolist() == [[8, 2, 7], [3, 4, 0], [6, 0, 5]]


def test_reading_gives_a_copy() -> None:
    state = TaskState()
    state.declare("x")
    state.read("x", ["a"]).add_(1)
    assert state.read("x", ["a"]).tolist() == [0.0]


def test_an_absent_task_keeps_its_entry() -> None:
    balancer = Momentum()
    balancer.weights(torch.tensor([1.0, 11.0]), names=["a", "b"])
    for _ in range(3):
        balancer.weights(torch.tensor([1.0]), names=["a"])
    assert balancer.task_state.read("mean", ["b"]).tolist() == pytest.approx([2.0])
    assert balancer.task_state.read("vector", ["b", "a"]).tolist() == [[2.0, 4.0], [16.0, 32.0]]
    assert balancer.task_state.read("met", ["a", "b"]).tolist() == [[4.0, 1.0], [1.0, 1.0]]


def test_loading_into_a_new_balancer_continues_bit_for_bit() -> None:
    losses = torch.rand(20, len(ODD))
    whole, first = Momentum(seed=1), Momentum(seed=1)
    for step, values in enumerate(losses):
        want = whole.weights(values, names=ODD)
        if step == 10:
            saved = load(save(first.state_dict()))  # what a file would hold: tensors and nothing else
            first = Momentum(seed=99)
            first.load_state_dict(saved)
        got = first.weights(values, names=ODD)
        assert torch.equal(want, got)
    assert first.state_dict().keys() == whole.state_dict().keys()
    for key, value in whole.state_dict().items():
        assert torch.equal(value, first.state_dict()[key])


def test_a_saved_state_does_not_change_later() -> None:
    balancer = Momentum()
    balancer.weights(torch.tensor([1.0]), names=["a"])
    saved = balancer.state_dict()
    before = {k: v.clone() for k, v in saved.items()}
    balancer.weights(torch.tensor([5.0, 2.0]), names=["a", "b"])
    assert all(torch.equal(saved[k], before[k]) for k in saved)
    other = Momentum()
    other.load_state_dict(saved)
    other.weights(torch.tensor([5.0, 2.0]), names=["a", "b"])
    assert all(torch.equal(saved[k], before[k]) for k in saved)


def test_lacking_and_unknown_keys_are_reported() -> None:
    saved = Momentum().state_dict()
    del saved["task_state.mean"]
    with pytest.raises(RuntimeError, match=r"Missing.*task_state\.mean"):
        Momentum().load_state_dict(saved)
    with pytest.raises(RuntimeError, match=r"Unexpected.*other"):
        Momentum().load_state_dict({**Momentum().state_dict(), "other": torch.zeros(1)})


def test_state_keeps_its_precision_when_a_module_is_cast() -> None:
    balancer = Momentum()
    balancer.weights(torch.tensor([1.0]), names=["a"])
    balancer.half()
    assert balancer.task_state.tensors["mean"].dtype == torch.float64


def test_inside_a_larger_module() -> None:
    holder, other = torch.nn.ModuleDict({"b": Momentum()}), torch.nn.ModuleDict({"b": Momentum()})
    holder["b"].weights(torch.tensor([3.0]), names=["x"])
    other.load_state_dict(holder.state_dict())
    assert other["b"].task_state.names == ["x"]


def test_places_are_looked_up_anew_after_restoring() -> None:
    state = TaskState()
    state.declare("a")
    state.write("a", ["x", "y"], torch.tensor([1.0, 2.0]))
    assert state.read("a", ["x", "y"]).tolist() == [1.0, 2.0]
    state.restore(["y", "x"], {"a": torch.tensor([2.0, 1.0], dtype=torch.float64)})
    assert state.read("a", ["x", "y"]).tolist() == [1.0, 2.0]
    assert state.read("a", ["y", "x"]).tolist() == [2.0, 1.0]
