"""What all methods that remember gradients keep: little memory, nothing broken, tasks by name."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

import sharewise as sw
from helpers.matrices import rows
from helpers.shared_net import batch, net
from sharewise.balance import create
from sharewise.balance._gram import CHUNK
from sharewise.errors import BalanceError

LONG = 2 * CHUNK + 5

pytestmark = pytest.mark.parametrize("name", ["db_mtl", "excess_mtl", "moco"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_one_row_a_task_is_kept(name: str, dtype: torch.dtype) -> None:
    balancer = create(name)
    balancer.aggregate(rows(4, LONG).to(dtype))
    first = balancer.row_state.tensors
    balancer.aggregate(rows(4, LONG, seed=1).to(dtype))
    for field, matrix in balancer.row_state.tensors.items():
        assert matrix is first[field]  # in place
        assert matrix.shape == (4, LONG)
        assert matrix.dtype == torch.promote_types(dtype, torch.float32)
    assert len(first) == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_long_rows_of_little_precision_are_close_to_float64(name: str, dtype: torch.dtype) -> None:
    low, exact = create(name), create(name)
    for step in range(4):
        names = ["abcd", "dbca", "bd", "abcd"][step]
        matrix = rows(len(names), LONG, "conflict", spread=3, seed=step).to(dtype)
        got = low.aggregate(matrix, names=names).double()
        want = exact.aggregate(matrix.double(), names=names)
        assert float((got - want).norm() / want.norm()) < (4e-3 if dtype == torch.bfloat16 else 1e-5)


def test_resumed_with_tasks_in_other_orders_it_continues_bit_for_bit(name: str) -> None:
    whole, first = create(name), create(name)
    for step, names in enumerate(["abc", "cab", "b", "abcd", "dc", "abcd"]):
        matrix = rows(len(names), LONG, seed=step).float()
        if step in (2, 4):
            saved = load(save(first.state_dict()))
            first = create(name)
            first.load_state_dict(saved)
        assert torch.equal(whole.aggregate(matrix, names=names), first.aggregate(matrix, names=names))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_rows_that_are_not_finite_are_passed_on_and_not_remembered(name: str, bad: float) -> None:
    balancer = create(name)
    balancer.aggregate(rows(2, 9).float(), names="ab")
    before = {key: value.clone() for key, value in balancer.state_dict().items()}
    broken = rows(3, 9).float()
    broken[1, 4] = bad
    assert not bool(balancer.aggregate(broken, names="abc").isfinite().all())
    assert balancer.notes == {}
    after = balancer.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in after)


def test_changed_parameters_are_refused(name: str) -> None:
    model = net(3)
    balancer = create(name)
    sw.backward(model.losses(batch()), balancer, shared=model.trunk)
    with pytest.raises(BalanceError, match=r"have 40 entries.*remembers rows of 94.*Build a new balancer"):
        sw.backward(model.losses(batch()), balancer, shared=model.trunk[0])


class Crossed(nn.Module):
    """Two encoders of the same shape; in which order they are found in the graph depends on the task asked first."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.left, self.right = nn.Linear(8, 5, bias=False), nn.Linear(8, 5, bias=False)
        self.x = torch.randn(12, 8)

    def losses(self, names: str) -> dict[str, torch.Tensor]:
        one, two = self.left(self.x), self.right(self.x)
        made = {"a": (one * 2 + two.tanh()), "b": (two.square() + one), "c": two + one.square()}
        return {name: made[name].square().mean() + 1 for name in names}


def test_rows_stay_with_their_parameters_whatever_tasks_are_present(name: str) -> None:
    model, found = Crossed(), {}
    for shared in (None, model):
        balancer = create(name)
        for names in ("abc", "ba", "cb", "bca"):
            model.zero_grad()
            sw.backward(model.losses(names), balancer, shared=shared)
        found[shared] = [p.grad.clone() for p in model.parameters()]
    for one, two in zip(found[None], found[model], strict=True):
        assert torch.allclose(one, two, rtol=1e-5, atol=1e-7)


def test_other_parameters_in_the_graph_are_refused(name: str) -> None:
    model = net(3)
    balancer = create(name)
    sw.backward(model.losses(batch()), balancer)
    model.trunk[0].requires_grad_(False)
    with pytest.raises(BalanceError, match=r"rows of 4 shared parameters, and this step has 2.*shared="):
        sw.backward(model.losses(batch()), balancer)


def test_loaded_rows_ask_whose_they_are(name: str) -> None:
    model, first, second = Crossed(), create(name), create(name)
    sw.backward(model.losses("ab"), first)
    second.load_state_dict(load(save(first.state_dict())))
    with pytest.raises(BalanceError, match=r"has loaded rows it remembers.*shared=\.\.\."):
        sw.backward(model.losses("ba"), second)
    sw.backward(model.losses("ba"), second, shared=model)
    fresh = create(name)
    fresh.load_state_dict(create(name).state_dict())
    sw.backward(model.losses("ba"), fresh)  # nothing is remembered yet


def test_gradients_that_ask_for_gradients_are_fine(name: str) -> None:
    balancer = create(name)
    for step in range(2):
        out = balancer.aggregate(rows(3, 9, seed=step).requires_grad_())
    assert not out.requires_grad
    assert not any(t.requires_grad for t in balancer.state_dict().values())
