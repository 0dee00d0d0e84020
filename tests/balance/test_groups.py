"""Decisions group by group, and methods that ask for several independent batches."""

from __future__ import annotations

import copy

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

import sharewise as sw
from helpers.architectures import Tasks
from helpers.shared_net import jacobian
from sharewise.balance import GramBalancer, create, layers
from sharewise.errors import BalanceError, ModelError


def test_layers_of_a_module() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.own = nn.Parameter(torch.zeros(2))
            self.a, self.frozen = nn.Linear(2, 3), nn.Linear(3, 3).requires_grad_(False)
            self.b = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.LayerNorm(3))
            self.same = self.a

    model = Odd()
    found = layers(model)
    assert list(found) == ["", "a", "b.0", "b.2"]
    assert found[""] == [model.own]
    assert len(found["b.2"]) == 2


@pytest.mark.parametrize("mode", ["auto", "loop", "gram"])
@pytest.mark.parametrize("method", ["pcgrad", "graddrop"])
def test_each_layer_decides_for_itself(method: str, mode: str) -> None:
    model, mode = Tasks("linear and layer norm"), "auto" if method == "graddrop" else mode
    balancer = create(method)
    balance = sw.backward(model.losses(), balancer, shared=layers(model.trunk), mode=mode)
    assert list(balance.groups) == ["0", "2", "3", "4"]
    assert balance.weight_vector is None
    losses = model.losses()
    fresh = create(method)
    for name, parameters in layers(model.trunk).items():
        rows = jacobian(losses, parameters)
        want = fresh.group(name).aggregate(rows, names=list(losses))
        got = torch.cat([p.grad.flatten() for p in parameters])
        assert torch.allclose(got, want, rtol=1e-10, atol=1e-14)
        assert torch.allclose(balance.groups[name].gram, rows @ rows.T, rtol=1e-11)
    assert torch.allclose(balance.gram, torch.stack([b.gram for b in balance.groups.values()]).sum(0), rtol=1e-11)


def test_groups_draw_different_random_numbers() -> None:
    balancer = create("pcgrad", seed=3)
    draws = {float(torch.rand(1, generator=balancer.group(name).generator)) for name in "abc"}
    assert len(draws) == 3


def test_each_group_learns_from_the_epoch() -> None:
    model, balancer = Tasks("linear and layer norm"), create("gradnorm", initial="epoch")
    losses = model.losses()
    sw.backward(losses, balancer, shared={"first": model.trunk[0], "rest": model.trunk[2:]})
    balancer.end_epoch()
    for name in ("first", "rest"):
        initial = balancer.group(name).task_state.read("initial", list(losses))
        assert initial.tolist() == pytest.approx([float(loss.detach()) for loss in losses.values()])


def test_groups_are_saved_and_loaded() -> None:
    model, balancer = Tasks("linear and layer norm", 5), create("pcgrad")
    groups = {"first": model.trunk[0], "rest": model.trunk[2:]}
    sw.backward(model.losses(), balancer, shared=groups)
    other = create("pcgrad", seed=9)
    other.load_state_dict(load(save(balancer.state_dict())))
    found = []
    for each in (balancer, other, copy.deepcopy(other)):
        model.zero_grad()
        sw.backward(model.losses(), copy.deepcopy(each), shared=groups)
        found.append(torch.cat([p.grad.flatten() for p in model.shared()]))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_a_parameter_in_two_groups() -> None:
    model = Tasks("linear and layer norm")
    with pytest.raises(ModelError, match='in two groups, "all" and "first"'):
        sw.backward(model.losses(), create("pcgrad"), shared={"all": model.trunk, "first": model.trunk[0]})


class Cross(GramBalancer):
    """Keeps the products it is given."""

    samples = 3

    def weights(self, gram: Tensor, losses: Tensor | None = None, *, names: object = None) -> Tensor:
        self.seen = gram
        return torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)


@pytest.mark.parametrize("mode", ["auto", "loop"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_independent_batches(mode: str, count: int) -> None:
    model, balancer = Tasks("linear and layer norm"), Cross()
    batches = [model.losses(model.x + i) for i in range(count)]
    rows = [jacobian(b, model.shared()) for b in batches]
    balance = sw.backward(batches if count > 1 else batches[0], balancer, shared=model.shared(), mode=mode)
    left, right = rows[0], rows[min(1, count - 1)]
    assert torch.allclose(balancer.seen, left @ right.T, rtol=1e-11)
    assert torch.allclose(balance.gram, rows[-1] @ rows[-1].T, rtol=1e-11)
    want = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64) @ rows[-1]
    assert torch.allclose(torch.cat([p.grad.flatten() for p in model.shared()]), want, rtol=1e-11)
    alone = torch.autograd.grad(model.losses(model.x + count - 1)["0"], model.heads[0].weight)[0]
    assert torch.allclose(model.heads[0].weight.grad, alone, rtol=1e-12)


def test_more_batches_than_the_method_takes() -> None:
    model = Tasks("linear and layer norm")
    with pytest.raises(BalanceError, match="PCGrad takes the losses of 1 independent batch"):
        sw.backward([model.losses(), model.losses()], create("pcgrad"))
    fewer = model.losses()
    del fewer["1"]
    with pytest.raises(BalanceError, match="the same tasks in the same order"):
        sw.backward([model.losses(), fewer], Cross())
