"""RotoGrad: gradients of one length, rotations that bring them into line."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

import sharewise as sw
from helpers.matrices import rows
from helpers.shared_net import batch, flat, net
from sharewise.balance import RotoGrad, create
from sharewise.errors import BalanceError, ModelError, OptionError

NAMES = ["task 0", "task 1", "task 2"]


def made(size: int = 6, tasks: list[str] | None = None, **options: int) -> RotoGrad:
    return RotoGrad(size=size, tasks=NAMES if tasks is None else tasks, **options).double()


def shaken(balancer: RotoGrad, seed: int = 0) -> RotoGrad:
    """With rotations far from the identity."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for angles in balancer.angles:
            angles.copy_(torch.randn(angles.shape, generator=g, dtype=angles.dtype))
    return balancer


def rotated_losses(model: nn.Module, balancer: RotoGrad, x: Tensor, z: Tensor) -> dict[str, Tensor]:
    losses = {}
    for i, (name, head) in enumerate(zip(NAMES, model.heads, strict=True)):
        losses[name] = (head(balancer.rotate(name, z)).squeeze(1) - (-1.0) ** i * (i + 1) * x[:, 0]).square().mean()
    return losses


def test_scale_by_hand() -> None:
    # Step 1: norms 3 and 1, both at their start: a = (1/2, 1/2), C = 2; unit rows (1, 0) and (0, 1).
    balancer = made(tasks=["a", "b"])
    first = balancer.aggregate(torch.tensor([[3.0, 0.0], [0.0, 1.0]]), names="ab")
    assert first.tolist() == [2.0, 2.0]
    # Step 2: norms 1 and 2, ratios 1/3 and 2: a = (1/7, 6/7), C = 1/7 + 12/7 = 13/7.
    second = balancer.aggregate(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), names="ab")
    assert second.tolist() == pytest.approx([13 / 7, 13 / 7])


def test_first_norms_are_taken_anew_after_the_burn_in() -> None:
    balancer = made(tasks=["a", "b"], burn_in=2)
    for norm in (100.0, 50.0, 4.0, 2.0):
        balancer.aggregate(torch.tensor([[norm]]), names="a")
    assert balancer.task_state.read("first", "ab").tolist() == [4.0, 0.0]
    never = made(tasks=["a", "b"], burn_in=0)
    for norm in (100.0, 50.0):
        never.aggregate(torch.tensor([[norm]]), names="a")
    assert never.task_state.read("first", "a").tolist() == [100.0]


@pytest.mark.parametrize("m", [1, 2, 10, 100])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_all_tasks_contribute_one_length_between_the_smallest_and_the_largest(m: int, dtype: torch.dtype) -> None:
    matrix = torch.zeros(m, m, 5, dtype=torch.float64)
    matrix[torch.arange(m), torch.arange(m)] = rows(m, 5, spread=6)
    given = matrix.flatten(1).to(dtype)
    balancer = made(tasks=[str(i) for i in range(m)])
    for step in range(3):
        out = balancer.aggregate(given * (1 + step))
        parts = out.double().view(m, 5).norm(dim=1)
        norms = given.double().norm(dim=1) * (1 + step)
        assert float(parts.max() / parts.min()) == pytest.approx(1, rel=2e-2 if dtype == torch.bfloat16 else 1e-5)
        assert float(norms.min()) * 0.98 <= float(parts[0]) <= float(norms.max()) * 1.02


def test_gradient_of_a_rotation_by_hand() -> None:
    # One example, g_1 = (1, 0), g_2 = (0, 1), v = (1/2, 1/2), rotations still the identity, and so G_k = g_k.
    # With angles [[0, w], [0, 0]], (I + A)^-1 (I - A) is I - 2 A = [[1, -w], [w, 1]] for small w, so
    # -<R_1 v, g_1> = -(v_1 - w v_2) = -1/2 + w/2: slope 1/2, and -1/2 for the entry across the diagonal.
    balancer = made(2, ["a", "b"])
    z = torch.ones(1, 2, dtype=torch.float64, requires_grad=True)
    for name in "ab":
        assert torch.equal(balancer.rotate(name, z), z)
    balancer.aggregate(torch.eye(2, dtype=torch.float64), names="ab")
    assert balancer.angles[0].grad.tolist() == [[0.0, 0.5], [-0.5, 0.0]]
    assert balancer.angles[1].grad.tolist() == [[0.0, -0.5], [0.5, 0.0]]


def test_gradient_of_a_rotation_is_that_of_its_loss_anywhere() -> None:
    # The loss as the paper has it, written out over examples and differentiated by torch.
    balancer = shaken(made())
    z = torch.randn(7, 2, 6, dtype=torch.float64, requires_grad=True)
    matrix = rows(3, 7 * 2 * 6, seed=3)
    for name in NAMES:
        balancer.rotate(name, z)
    balancer.aggregate(matrix, names=NAMES)
    got = [angles.grad.clone() for angles in balancer.angles]
    v = (matrix / matrix.norm(dim=1, keepdim=True)).mean(0).view(-1, 6)
    for i, name in enumerate(NAMES):
        angles = balancer.angles[i].detach().requires_grad_()
        seen = matrix[i].view(-1, 6) @ balancer.rotation(name).T
        eye, skew = torch.eye(6, dtype=torch.float64), (angles - angles.T) / 2
        turn = (eye + skew).inverse() @ (eye - skew)
        (-sum(seen[n] @ (turn @ v[n]) for n in range(len(v)))).backward()
        assert torch.allclose(got[i], angles.grad, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("size", [1, 2, 7, 64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rotations_are_orthogonal_and_do_not_mirror(size: int, dtype: torch.dtype) -> None:
    balancer = shaken(RotoGrad(size=size, tasks=NAMES).to(dtype))
    for name in NAMES:
        turn = balancer.rotation(name).double()
        error = (turn @ turn.T - torch.eye(size, dtype=torch.float64)).abs().max()
        assert float(error) < (1e-10 if dtype == torch.float64 else 1e-4)
        assert float(torch.linalg.det(turn)) == pytest.approx(1.0, abs=1e-3)


def test_a_head_reads_its_rotation_of_each_example() -> None:
    balancer = shaken(made())
    z = torch.randn(4, 2, 6, dtype=torch.float64)
    turn, seen = balancer.rotation("task 1"), balancer.rotate("task 1", z)
    for i in range(4):
        for j in range(2):
            assert torch.allclose(seen[i, j], turn @ z[i, j], rtol=1e-12)


def test_a_rotation_learns_once_from_each_use() -> None:
    balancer = made()
    balancer.rotate("task 0", torch.ones(2, 6, dtype=torch.float64, requires_grad=True))
    balancer.aggregate(rows(3, 12), names=NAMES)
    learned = balancer.angles[0].grad.clone()
    balancer.aggregate(rows(3, 12, seed=1), names=NAMES)
    assert torch.equal(balancer.angles[0].grad, learned)


def test_rotations_learn_to_bring_gradients_into_line() -> None:
    # What the heads see stays; only the rotations move.
    balancer = made(4, ["a", "b", "c"])
    optimizer = torch.optim.SGD(balancer.parameters(), lr=0.3)
    seen = rows(3, 4, "conflict")
    z = torch.zeros(1, 4, dtype=torch.float64, requires_grad=True)
    cosines = []
    for _ in range(300):
        matrix = torch.stack([seen[i] @ balancer.rotation(name) for i, name in enumerate("abc")])
        unit = matrix / matrix.norm(dim=1, keepdim=True)
        cosines.append(float((unit @ unit.T).min()))
        for name in "abc":
            balancer.rotate(name, z)
        optimizer.zero_grad()
        balancer.aggregate(matrix, names="abc")
        optimizer.step()
    assert cosines[0] < -0.3
    assert cosines[-1] > 0.99


def test_with_backward_the_trunk_gets_the_scaled_sum_through_the_rotations() -> None:
    model, x, balancer = net(3), batch(), shaken(made())
    z = model.trunk(x)
    losses = rotated_losses(model, balancer, x, z)
    matrix = torch.stack([torch.autograd.grad(v, z, retain_graph=True)[0].flatten() for v in losses.values()])
    norms = matrix.norm(dim=1, keepdim=True)
    direction = (norms.mean() * matrix / norms).sum(0).view_as(z)
    want = torch.autograd.grad(z, list(model.trunk.parameters()), direction, retain_graph=True)
    heads = [
        torch.autograd.grad(v, h.weight, retain_graph=True)[0]
        for v, h in zip(losses.values(), model.heads, strict=True)
    ]
    sw.backward(losses, balancer, representation=z)
    assert torch.allclose(flat(list(model.trunk.parameters())), torch.cat([w.flatten() for w in want]), rtol=1e-9)
    for head, gradient in zip(model.heads, heads, strict=True):
        assert torch.allclose(head.weight.grad, gradient, rtol=1e-9)
    assert all(float(angles.grad.abs().sum()) > 0 for angles in balancer.angles)


def test_rotations_left_at_the_identity_are_the_scale_part_alone() -> None:
    found = []
    for turning in (True, False):
        model, balancer = net(3), made()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for step in range(4):
            x = batch(seed=step)
            z = model.trunk(x)
            losses = rotated_losses(model, balancer, x, z) if turning else model.losses(x, z)
            optimizer.zero_grad()
            sw.backward(losses, balancer, representation=z)
            optimizer.step()
        found.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
        assert all((angles.grad is not None) == turning for angles in balancer.angles)
    assert torch.equal(found[0], found[1])


def test_training_with_rotations() -> None:
    model, balancer = net(3), made()
    fast = torch.optim.SGD(model.parameters(), lr=0.02)
    slow = torch.optim.SGD(balancer.parameters(), lr=0.005)
    totals, least = [], []
    for step in range(200):
        x = batch(32, seed=step)
        z = model.trunk(x)
        losses = rotated_losses(model, balancer, x, z)
        fast.zero_grad()
        slow.zero_grad()
        balance = sw.backward(losses, balancer, representation=z)
        fast.step()
        slow.step()
        totals.append(float(sum(losses.values()).detach()))
        least.append(float(balance.cosines.min()))
    assert sum(totals[-20:]) < 0.5 * sum(totals[:20])
    assert sum(least[-20:]) > sum(least[:20])
    assert not torch.allclose(balancer.rotation("task 1"), torch.eye(6, dtype=torch.float64), atol=1e-2)


def test_an_absent_task_keeps_its_rotation_and_its_start() -> None:
    model, x, balancer = net(3), batch(), made()
    z = model.trunk(x)
    losses = rotated_losses(model, balancer, x, z)
    del losses["task 1"]
    sw.backward(losses, balancer, representation=z)
    assert balancer.angles[1].grad is None  # no optimizer, whatever its momentum, moves it
    assert balancer.angles[0].grad is not None
    assert balancer.task_state.read("seen", NAMES).tolist() == [1.0, 0.0, 1.0]


def test_resumed_with_tasks_in_another_order() -> None:
    first = shaken(made())
    first.aggregate(rows(3, 12), names=NAMES)
    other = made(tasks=NAMES[::-1])
    other.load_state_dict(load(save(first.state_dict())))
    for name in NAMES:
        assert torch.equal(first.rotation(name), other.rotation(name))
    matrix = rows(3, 12, seed=1)
    assert torch.equal(first.aggregate(matrix, names=NAMES), other.aggregate(matrix, names=NAMES))
    with pytest.raises(RuntimeError, match=r"the state is of tasks \['task 0', .* built for \['x'\]"):
        made(tasks=["x"]).load_state_dict(first.state_dict())


def test_inference_leaves_nothing_behind() -> None:
    balancer = made()
    with torch.no_grad():
        balancer.rotate("task 0", torch.ones(5, 6, dtype=torch.float64))
    balancer.aggregate(rows(3, 20), names=NAMES)  # rows of anything: no rotation waits for its gradient
    assert all(angles.grad is None for angles in balancer.angles)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_rows_that_are_not_finite_teach_nothing(bad: float) -> None:
    balancer = made()
    z = torch.ones(2, 6, dtype=torch.float64, requires_grad=True)
    balancer.rotate("task 0", z)
    matrix = rows(3, 12)
    matrix[1, 2] = bad
    assert not bool(balancer.aggregate(matrix, names=NAMES).isfinite().all())
    assert balancer.angles[0].grad is None
    assert balancer.task_state.names == []


def test_zero_rows() -> None:
    balancer = made()
    z = torch.ones(2, 6, dtype=torch.float64, requires_grad=True)
    balancer.rotate("task 0", z)
    assert balancer.aggregate(torch.zeros(3, 12, dtype=torch.float64), names=NAMES).tolist() == [0.0] * 12


def test_what_is_refused() -> None:
    model, x, balancer = net(3), batch(), made()
    z = model.trunk(x)
    with pytest.raises(BalanceError, match='task "task 3" is not one RotoGrad was built for'):
        balancer.rotate("task 3", z)
    with pytest.raises(ModelError, match=r"shape \[10, 5\].* a last axis of 6: build the balancer with size=5"):
        balancer.rotate("task 0", z[:, :5])
    losses = rotated_losses(model, balancer, x, z)
    with pytest.raises(BalanceError, match=r"rotated representation of 60 entries.*representation=z"):
        sw.backward(losses, balancer)
    for options, message in (({"size": 0}, "size must be"), ({"size": 2, "burn_in": -1}, "burn_in must be")):
        with pytest.raises(OptionError, match=message):
            create("rotograd", tasks=NAMES, **options)
    with pytest.raises(OptionError, match='balancer "rotograd" needs'):
        create("rotograd", tasks=NAMES)
