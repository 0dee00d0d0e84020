"""Rows by task name: in place, through absences, saved as tensors, the same after loading."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from helpers.matrices import rows
from sharewise.balance import GradientBalancer
from sharewise.balance._gram import CHUNK, gram_matrix
from sharewise.balance._row_state import _PIECE, RowState
from sharewise.errors import BalanceError

LONG = _PIECE + 7  # two pieces and more


class Average(GradientBalancer):
    """The sum of running means that start at the first gradient, and of all gradients so far."""

    def __init__(self, *, tasks: Sequence[str] | None = None) -> None:
        super().__init__(tasks=tasks)
        self.row_state.declare("mean", initial="gradient")
        self.row_state.declare("total")

    def aggregate(self, rows: Tensor, losses: Tensor | None = None, *, names: Sequence[str] | None = None) -> Tensor:
        known = self.check_names(len(rows), names)
        self.row_state.admit(known, rows)
        for field, keep in (("mean", 0.5), ("total", 1.0)):
            for columns, piece in self.row_state.pieces(field, known):
                piece.mul_(keep).add_(rows[:, columns].to(piece), alpha=1.0 if keep == 1 else 0.5)
        ones = torch.ones(len(rows))
        total = self.row_state.combine("mean", known, ones) + self.row_state.combine("total", known, ones)
        return total.to(rows)


def kept(state: RowState, field: str, name: str) -> Tensor:
    return state.tensors[field][state.names.index(name)]


@pytest.mark.parametrize("order", ["abc", "cab", "ac"])
def test_whatever_is_done_to_a_piece_is_kept(order: str) -> None:
    state = RowState()
    state.declare("x", initial="gradient")
    first = rows(3, LONG)
    state.admit("abc", first)
    more = rows(len(order), LONG, seed=1)
    for columns, piece in state.pieces("x", order):
        piece += more[:, columns]
    want = first.clone()
    for name, row in zip(order, more, strict=True):
        want["abc".index(name)] += row
    assert torch.equal(state.tensors["x"], want)
    chosen = torch.stack([kept(state, "x", name) for name in order])
    assert torch.allclose(state.gram("x", order), gram_matrix([chosen]), rtol=1e-12)
    weights = torch.arange(1.0, len(order) + 1)
    assert torch.allclose(state.combine("x", order, weights), weights.double() @ chosen, rtol=1e-12)


def test_tasks_next_to_each_other_are_worked_on_in_place() -> None:
    state = RowState()
    state.declare("x")
    state.admit("abcd", torch.zeros(4, LONG))
    inside = state.tensors["x"].untyped_storage().data_ptr()
    for names, in_place in (("abcd", True), ("bc", True), ("d", True), ("ba", False), ("ac", False)):
        for _, piece in state.pieces("x", names):
            assert (piece.untyped_storage().data_ptr() == inside) == in_place
            assert piece.numel() <= max(len(names) * CHUNK, _PIECE)


def test_a_new_task_starts_with_zeros_or_its_gradient_and_leaves_the_others() -> None:
    state = RowState()
    state.declare("zero")
    state.declare("first", initial="gradient")
    matrix = rows(3, 10)
    state.admit("ab", matrix[:2])
    for _, piece in state.pieces("zero", "ab"):
        piece += 1
    state.admit("cb", matrix[[2, 0]])
    assert state.names == ["a", "b", "c"]
    assert torch.equal(state.tensors["first"], matrix)
    assert state.tensors["zero"].sum(1).tolist() == [10.0, 10.0, 0.0]


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
    ids=str,
)
def test_half_precision_is_kept_in_float32(given: torch.dtype, stored: torch.dtype) -> None:
    balancer = Average()
    assert balancer.aggregate(rows(2, 9).to(given), names="ab").dtype == given
    assert balancer.row_state.tensors["mean"].dtype == stored
    balancer.aggregate(rows(3, 9), names="abc")  # a task that joins with wider rows does not change what is kept
    assert balancer.row_state.tensors["mean"].dtype == stored
    balancer.half()
    assert balancer.row_state.tensors["mean"].dtype == stored


def test_an_absent_task_keeps_its_rows() -> None:
    balancer = Average()
    matrix = rows(2, LONG)
    balancer.aggregate(matrix, names="ab")
    for seed in range(3):
        balancer.aggregate(rows(2, LONG, seed=seed), names="ca")
    assert torch.equal(kept(balancer.row_state, "mean", "b"), matrix[1])
    assert torch.equal(kept(balancer.row_state, "total", "b"), matrix[1])


def test_loading_into_a_new_balancer_continues_bit_for_bit() -> None:
    names = ["a.b", "", "é\u2028"]
    whole, first = Average(), Average()
    for step in range(6):
        matrix = rows(3, LONG, seed=step).float()
        here = names if step % 2 else names[::-2]
        want = whole.aggregate(matrix[: len(here)], names=here)
        if step == 3:
            saved = load(save(first.state_dict()))  # n is not known to the new one before it loads
            first = Average()
            first.load_state_dict(saved)
        assert torch.equal(want, first.aggregate(matrix[: len(here)], names=here))
    for key, value in whole.state_dict().items():
        assert torch.equal(value, first.state_dict()[key])


def test_a_saved_state_does_not_change_later() -> None:
    balancer = Average()
    balancer.aggregate(rows(2, 5), names="ab")
    saved = balancer.state_dict()
    before = {k: v.clone() for k, v in saved.items()}
    balancer.aggregate(rows(2, 5, seed=1), names="ab")
    other = Average()
    other.load_state_dict(saved)
    other.aggregate(rows(2, 5, seed=1), names="ab")
    assert all(torch.equal(saved[k], before[k]) for k in saved)


def test_a_state_can_be_saved_before_the_first_step() -> None:
    other = Average()
    other.aggregate(rows(2, 5), names="ab")
    other.load_state_dict(load(save(Average().state_dict())))
    assert other.row_state.names == []
    assert other.aggregate(rows(2, 6), names="ab").shape == (6,)


def test_lacking_rows_are_reported() -> None:
    saved = Average().state_dict()
    del saved["row_state.mean"]
    with pytest.raises(RuntimeError, match=r"Missing.*row_state\.mean"):
        Average().load_state_dict(saved)


def test_another_number_of_parameters_is_refused_and_nothing_changes() -> None:
    balancer = Average()
    balancer.aggregate(rows(2, 5), names="ab")
    before = balancer.state_dict()
    with pytest.raises(BalanceError, match=r"have 6 entries.*remembers rows of 5.*Build a new balancer"):
        balancer.aggregate(rows(3, 6), names="abc")
    assert all(torch.equal(before[k], v) for k, v in balancer.state_dict().items())


def test_balancers_without_rows_save_none() -> None:
    class Plain(GradientBalancer):
        pass

    assert not any(key.startswith("row_state") for key in Plain().state_dict())
