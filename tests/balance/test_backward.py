"""``backward``: what lands in ``.grad``, for every kind of method and mode."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import sharewise as sw
from helpers.shared_net import Net, batch, flat, gradients, jacobian, net
from sharewise.balance import available, create

OPTIONS: dict[str, dict[str, Any]] = {
    "constant": {"weights": {f"task {i}": 1.0 + i for i in range(5)}},
    "rotograd": {"size": 6},
}
ROWS = ["pcgrad", "graddrop"]


def make(name: str, count: int = 3) -> sw.Balancer:
    return create(name, tasks=[f"task {i}" for i in range(count)], **OPTIONS.get(name, {}))


@pytest.mark.parametrize("name", available())
@pytest.mark.parametrize("mode", ["auto", "loop", "batched"])
def test_shared_parameters_get_what_aggregate_gives(name: str, mode: str) -> None:
    model = net(3)
    losses = model.losses(batch())
    shared = list(model.trunk.parameters())
    matrix = jacobian(losses, shared)
    want = make(name).aggregate(matrix, torch.stack([v.detach() for v in losses.values()]), names=list(losses))
    sw.backward(losses, make(name), shared=shared, mode=mode)
    assert torch.allclose(flat(shared), want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("mode", ["loop", "batched"])
@pytest.mark.parametrize("named", [True, False])
def test_heads_get_the_gradient_of_their_own_loss(name: str, mode: str, named: bool) -> None:
    model = net(3)
    sum(model.losses(batch()).values()).backward()
    want = [gradients(h) for h in model.heads]
    model.zero_grad()
    sw.backward(model.losses(batch()), make(name), mode=mode, shared=model if named else None)
    for head, expected in zip(model.heads, want, strict=True):
        for key, value in gradients(head).items():
            assert torch.allclose(value, expected[key], rtol=1e-12)


def test_weighted_methods_differentiate_the_weighted_sum() -> None:
    model, balancer = net(3), make("constant")
    losses = model.losses(batch())
    (losses["task 0"] + 2 * losses["task 1"] + 3 * losses["task 2"]).backward()
    want = gradients(model)
    model.zero_grad()
    balance = sw.backward(model.losses(batch()), balancer)
    for key, value in gradients(model).items():
        assert torch.allclose(value, want[key], rtol=1e-12)
    assert {k: float(w) for k, w in balance.weights.items()} == {"task 0": 1.0, "task 1": 2.0, "task 2": 3.0}
    assert balance.norms is None
    assert balance.cosines is None


@pytest.mark.parametrize("name", available())
def test_gradients_are_added(name: str) -> None:
    model = net(3)
    sw.backward(model.losses(batch()), make(name))
    once = gradients(model)
    model.zero_grad(set_to_none=False)
    for p in model.parameters():
        p.grad.fill_(1.0)
    sw.backward(model.losses(batch()), make(name))
    for key, value in gradients(model).items():
        assert torch.allclose(value, once[key] + 1, rtol=1e-12)


def test_the_balance_tells_weights_norms_and_cosines() -> None:
    model = net(3)
    losses = model.losses(batch())
    matrix = jacobian(losses, list(model.trunk.parameters()))
    balance = sw.backward(losses, make("pcgrad"))
    norms = matrix.norm(dim=1)
    assert balance.names == ("task 0", "task 1", "task 2")
    assert [float(v) for v in balance.norms.values()] == pytest.approx(norms.tolist())
    cosines = (matrix @ matrix.T) / norms / norms[:, None]
    assert torch.allclose(balance.cosines, cosines)
    weighted = sum(float(balance.weights[k]) * losses[k].item() for k in losses)
    assert balance.loss.item() == pytest.approx(weighted)
    assert not balance.loss.requires_grad


def test_shared_is_found_and_named_alike() -> None:
    grads = []
    for shared in (None, "module", "parameters", "trunk"):
        model = net(3)
        given = {
            None: None,
            "module": model,
            "parameters": model.trunk.parameters(),
            "trunk": model.trunk,
        }[shared]
        sw.backward(model.losses(batch()), make("pcgrad"), shared=given)
        grads.append(gradients(model))
    for other in grads[1:]:
        for key, value in grads[0].items():
            assert torch.allclose(value, other[key], rtol=1e-10)


def test_part_of_the_trunk_as_shared() -> None:
    # What several tasks reach but is not named shared gets the plain sum.
    for mode in ("loop", "batched"):
        model = net(3)
        sum(model.losses(batch()).values()).backward()
        want = gradients(model)
        model.zero_grad()
        sw.backward(model.losses(batch()), make("pcgrad"), shared=model.trunk[2], mode=mode)
        got = gradients(model)
        assert torch.allclose(got["trunk.0.weight"], want["trunk.0.weight"], rtol=1e-10)
        assert not torch.allclose(got["trunk.2.weight"], want["trunk.2.weight"], rtol=1e-3)


@pytest.mark.parametrize("mode", ["loop", "batched"])
def test_unused_and_frozen_parameters_are_left_as_they_are(mode: str) -> None:
    model = net(3)
    unused = nn.Parameter(torch.ones(3, dtype=torch.float64))
    model.trunk[0].bias.requires_grad_(False)
    shared = [*model.trunk.parameters(), unused]
    sw.backward(model.losses(batch()), make("pcgrad"), shared=shared, mode=mode)
    assert unused.grad is None
    assert model.trunk[0].bias.grad is None
    assert model.trunk[2].bias.grad is not None


@pytest.mark.parametrize("mode", ["loop", "batched"])
def test_a_parameter_only_some_tasks_use_has_zeros_for_the_others(mode: str) -> None:
    a, b = nn.Parameter(torch.tensor([1.0, 2.0])), nn.Parameter(torch.tensor([3.0]))
    losses = {"x": a.square().sum(), "y": -a.sum() + b.sum(), "z": 2 * b.sum()}
    balance = sw.backward(losses, create("pcgrad"), shared=[a, b], mode=mode)
    # rows (2, 4, 0), (-1, -1, 1), (0, 0, 2): <x, y> = -6, the other products are not negative
    assert [float(v) ** 2 for v in balance.norms.values()] == pytest.approx([20.0, 3.0, 4.0])
    # v_x = x + 6/3 y = (0, 2, 2), v_y = y + 6/20 x = (-0.4, 0.2, 1), v_z = z
    assert a.grad.tolist() == pytest.approx([-0.4, 2.2])
    assert b.grad.tolist() == pytest.approx([5.0])


@pytest.mark.parametrize("mode", ["loop", "batched"])
def test_mixed_dtypes_and_shapes(mode: str) -> None:
    a = nn.Parameter(torch.tensor(2.0, dtype=torch.float64))  # no dimension
    b = nn.Parameter(torch.ones(2, 1, 3, dtype=torch.bfloat16))
    c = nn.Parameter(torch.ones(4))

    def losses() -> dict[str, torch.Tensor]:
        return {"x": a.float() * c.sum() + b.float().sum(), "y": a.float() * b.float().sum() - c.sum()}

    for name in ROWS:
        for p in (a, b, c):
            p.grad = None
        sw.backward(losses(), create(name), mode=mode)
        for p in (a, b, c):
            assert p.grad.shape == p.shape
            assert p.grad.dtype == p.dtype
    sw.backward(losses(), create("equal"))


def test_bfloat16_model() -> None:
    model = net(3).bfloat16()
    x = batch().bfloat16()
    balance = sw.backward(model.losses(x), make("pcgrad"))
    assert model.trunk[0].weight.grad.dtype == torch.bfloat16
    assert balance.cosines.dtype == torch.float64
    exact = net(3)
    other = sw.backward(exact.losses(batch()), make("pcgrad"))
    assert torch.allclose(balance.cosines, other.cosines, atol=0.05)


# The weight of a single task is not 1 with these: it is 1 / L in the first three, set by the gradient's length or by
# the ball around it in the others.
SCALING = ("db_mtl", "scale_invariant", "stch", "cagrad", "fairgrad", "nashmtl")


@pytest.mark.parametrize("name", [n for n in available() if n not in SCALING])
def test_a_single_task_is_a_plain_backward_pass(name: str) -> None:
    model = net(3)
    model.losses(batch())["task 1"].backward()
    want = gradients(model)
    for shared in (None, model):
        model.zero_grad()
        tasks = make(name) if name != "constant" else create("constant", weights={"task 1": 1.0})
        sw.backward({"task 1": model.losses(batch())["task 1"]}, tasks, shared=shared)
        for key, value in gradients(model).items():
            assert (value is None) == (want[key] is None)
            assert value is None or torch.allclose(value, want[key], rtol=1e-12)


@pytest.mark.parametrize("mode", ["loop", "batched"])
def test_a_task_whose_gradient_is_zero(mode: str) -> None:
    model = net(3)
    losses = model.losses(batch())
    losses["task 1"] = losses["task 1"] * 0.0
    balance = sw.backward(losses, make("pcgrad"), mode=mode)
    assert float(balance.norms["task 1"]) == 0.0
    assert balance.cosines[1].tolist() == [0.0, 0.0, 0.0]
    assert all(torch.isfinite(g).all() for g in gradients(model).values())


def test_the_graph_is_freed_and_nothing_else_is_kept() -> None:
    model = net(3)
    losses = model.losses(batch())
    sw.backward(losses, make("pcgrad"))
    with pytest.raises(RuntimeError, match="second time"):
        losses["task 2"].backward()


def test_shared_module_used_twice_and_recurrent_layers() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(4, 4)
            self.gru = nn.GRU(2, 3, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out, _ = self.gru(torch.tanh(self.inner(torch.tanh(self.inner(x)))).view(len(x), 2, 2))
            return out.flatten(1)

    torch.manual_seed(0)
    model = Net(["task 0", "task 1", "task 2"], Twice(), width=6)
    losses = model.losses(batch())
    shared = list(model.trunk.parameters())
    want = create("pcgrad").aggregate(jacobian(losses, shared))
    sw.backward(losses, create("pcgrad"))
    assert torch.allclose(flat(shared), want, rtol=1e-9, atol=1e-12)


def test_accumulation_over_batches_adds_directions() -> None:
    model, x = net(3), batch(20)
    for half in (x[:10], x[10:]):
        sw.backward(model.losses(half), make("pcgrad"))
    got = gradients(model)
    parts = []
    for half in (x[:10], x[10:]):
        model.zero_grad()
        sw.backward(model.losses(half), make("pcgrad"))
        parts.append(gradients(model))
    for key, value in got.items():
        assert torch.allclose(value, parts[0][key] + parts[1][key], rtol=1e-12)
