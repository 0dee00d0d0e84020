"""AIM: soft projections by learned thresholds, and what moves them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from safetensors.torch import load, save
from torch import Tensor

import sharewise as sw
from helpers.matrices import SHAPES, matrices, rows
from helpers.shared_net import batch, flat, jacobian, net
from sharewise.balance import AIM, PCGrad
from sharewise.balance._adam import adam_step
from sharewise.balance._aim_descent import annealed
from sharewise.balance._aim_policy import policy_loss
from sharewise.balance._guidance import Guidance
from sharewise.errors import BalanceError, OptionError

NAMES = ["a", "b", "c", "d"]


def explicit(g: Tensor, tau: Tensor, k: float = 10.0) -> tuple[Tensor, Tensor]:
    """Equations 1 to 3 on the rows themselves: the direction ``[n]`` and the weights ``[m, m]``."""
    share, out = torch.zeros(len(g), len(g), dtype=g.dtype), torch.zeros_like(g[0])
    for i in range(len(g)):
        changed = g[i].clone()
        for j in range(len(g)):
            if i != j:
                share[i, j] = torch.sigmoid(k * (tau[i, j] - torch.cosine_similarity(g[i], g[j], dim=0)))
                changed = changed - share[i, j] * (g[i] @ g[j]) / (g[j] @ g[j]) * g[j]
        out = out + changed
    return out, share


def drawn(m: int = 4, n: int = 12, seed: int = 3) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    tau = 0.3 * torch.randn(m, m, generator=g, dtype=torch.float64)
    return torch.randn(m, n, generator=g, dtype=torch.float64), tau


def with_thresholds(tau: Tensor, names: list[str], **options: Any) -> AIM:
    balancer = AIM(**options)
    state = balancer.task_state.read("pairs", names)
    state[..., 0] = tau
    balancer.task_state.write("pairs", names, state)
    return balancer


def test_by_hand() -> None:
    # Norms 3 and 5, product -12, cosine -0.8: w = sigmoid(8) both ways. Row 1 loses w (-12)/25 of row 2, row 2
    # loses w (-12)/9 of row 1: weights 1 + 12 w / 9 and 1 + 12 w / 25.
    w = 1 / (1 + math.exp(-8))
    weights = AIM().weights(torch.tensor([[9.0, -12.0], [-12.0, 25.0]]))
    assert weights.tolist() == pytest.approx([1 + 12 * w / 9, 1 + 12 * w / 25], rel=1e-12)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(matrices())
def test_thresholds_far_below_give_the_plain_sum(matrix: Tensor) -> None:
    assert AIM(initial=-1e3).weights(matrix.double() @ matrix.double().T).tolist() == [1.0] * len(matrix)


@pytest.mark.parametrize("seed", range(5))
def test_two_conflicting_tasks_fully_projected_are_pcgrad(seed: int) -> None:
    matrix = rows(2, 10, "conflict", spread=3, seed=seed)
    assert float(matrix[0] @ matrix[1]) < 0
    out = AIM(initial=1e3).aggregate(matrix)
    torch.testing.assert_close(out, PCGrad().aggregate(matrix), rtol=1e-12, atol=0)


def test_a_steep_gate_at_zero_is_parallel_pcgrad() -> None:
    g, _ = drawn()
    wanted = torch.zeros_like(g[0])
    for i in range(4):
        wanted += g[i] - sum(min(float(g[i] @ g[j]), 0.0) / float(g[j] @ g[j]) * g[j] for j in range(4) if j != i)
    torch.testing.assert_close(AIM(sharpness=1e6).aggregate(g), wanted)


def test_the_gram_matrix_says_all_that_the_rows_say() -> None:
    g, tau = drawn()
    balancer = with_thresholds(tau, NAMES)
    wanted, share = explicit(g, tau)
    torch.testing.assert_close(balancer.aggregate(g, names=NAMES), wanted)
    torch.testing.assert_close(balancer.notes["projection"], share)
    assert torch.equal(balancer.notes["projected"], share > 0.5)


OBJECTIVE = {"sharpness": 10.0, "look_ahead": 0.05, "weights": (1.0, 0.3, 0.7)}


@pytest.mark.parametrize("relative", [False, True])
def test_the_policy_loss_is_that_of_the_rows(relative: bool) -> None:
    g, tau = drawn()
    held = drawn(seed=8)[0]
    losses = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    found = Guidance.of(NAMES, held @ held.T, losses, g @ g.T, held @ g.T)
    assert found is not None
    parts = policy_loss(tau, found, relative=relative, **OBJECTIVE)
    update = explicit(held, tau)[0]
    most = held.norm(dim=1).sum()
    magnitude = (update.norm() / most - 1) ** 2 if relative else (update.norm() - most) ** 2
    guide = losses.sum() - 0.05 * held.sum(0) @ explicit(g, tau)[0]
    progress = -(losses / 10) @ held @ update
    assert float(parts["magnitude"]) == pytest.approx(float(magnitude))
    assert float(parts["guide"]) == pytest.approx(float(guide))
    assert float(parts["progress"]) == pytest.approx(float(progress))
    assert float(parts["total"]) == pytest.approx(float(guide + 0.3 * magnitude + 0.7 * progress))


@pytest.mark.parametrize("crossed", [False, True])
@pytest.mark.parametrize("relative", [False, True])
def test_its_gradient_agrees_with_finite_differences(crossed: bool, relative: bool) -> None:
    g, tau = drawn()
    held = drawn(seed=8)[0]
    losses = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    found = Guidance.of(NAMES, held @ held.T, losses, g @ g.T if crossed else None, held @ g.T if crossed else None)
    assert found is not None

    def total(at: Tensor) -> Tensor:
        return policy_loss(at, found, relative=relative, **OBJECTIVE)["total"]

    at = tau.clone().requires_grad_()
    (slope,) = torch.autograd.grad(total(at), at)
    assert torch.autograd.gradcheck(total, (at,))
    for i in range(4):
        for j in range(4):
            step = torch.zeros(4, 4, dtype=torch.float64)
            step[i, j] = 1e-6
            assert float(slope[i, j]) == pytest.approx(float(total(tau + step) - total(tau - step)) / 2e-6, abs=1e-6)
    assert slope.diagonal().tolist() == [0.0] * 4


def test_a_step_of_the_policy_goes_down_and_keeps_the_diagonal() -> None:
    g, tau = drawn()
    losses = torch.tensor([1.0, 2.0, 3.0, 4.0])
    balancer = with_thresholds(tau, NAMES, lr=0.02)
    totals = [float(balancer.learn(g @ g.T, losses, names=NAMES)["total"]) for _ in range(60)]
    assert totals[-1] < totals[0] - 0.1
    assert balancer.task_state.read("pairs", NAMES)[..., 0].diagonal().tolist() == tau.diagonal().tolist()
    assert balancer.thresholds(NAMES).diagonal().isnan().all()


def test_the_look_ahead_is_the_slope_of_the_held_out_losses() -> None:
    # The held-out losses after a real step of SGD along the balanced direction, by finite differences in tau.
    model, train, held, lr = net(3), batch(12, seed=1), batch(12, seed=2), 1e-5
    parameters, names = model.shared_parameters(), model.names
    g, v = jacobian(model.losses(train), parameters), jacobian(model.losses(held), parameters)
    tau = drawn(3)[1]
    found = Guidance.of(names, v @ v.T, torch.ones(3), g @ g.T, v @ g.T)
    at = tau.clone().requires_grad_()
    parts = policy_loss(at, found, sharpness=10.0, look_ahead=lr, relative=False, weights=(1.0, 0.0, 0.0))
    (slope,) = torch.autograd.grad(parts["total"], at)

    def after(tau: Tensor) -> float:
        start = torch.nn.utils.parameters_to_vector(parameters).detach()
        torch.nn.utils.vector_to_parameters(start - lr * explicit(g, tau)[0], parameters)
        value = sum(float(loss.detach()) for loss in model.losses(held).values())
        torch.nn.utils.vector_to_parameters(start, parameters)
        return value

    for i, j in ((0, 1), (1, 0), (2, 1)):
        step = torch.zeros(3, 3, dtype=torch.float64)
        step[i, j] = 1e-3
        measured = (after(tau + step) - after(tau - step)) / 2e-3
        assert float(slope[i, j]) == pytest.approx(measured, rel=1e-2)


@pytest.mark.parametrize("trained", [False, True])
def test_guide_measures_what_learn_takes_and_leaves_the_model_alone(trained: bool) -> None:
    model, one, other = net(3), AIM(lr=0.01), AIM(lr=0.01)
    parameters = model.shared_parameters()
    before = [p.clone() for p in model.parameters()]
    held, train = model.losses(batch(seed=4)), model.losses(batch(seed=5))
    v, g = jacobian(held, parameters), jacobian(train, parameters)
    parts = one.guide(held, trained=train if trained else None, shared=model)
    values = torch.stack([loss.detach() for loss in held.values()])
    more = {"trained": g @ g.T, "cross": v @ g.T} if trained else {}
    wanted = other.learn(v @ v.T, values, names=model.names, **more)
    assert {k: float(p) for k, p in parts.items()} == pytest.approx({k: float(p) for k, p in wanted.items()})
    torch.testing.assert_close(
        one.thresholds(model.names), other.thresholds(model.names), rtol=1e-9, atol=0, equal_nan=True
    )
    assert not torch.equal(one.thresholds(model.names).nan_to_num(), torch.zeros(3, 3, dtype=torch.float64))
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
    assert not list(one.parameters())


def test_a_loop_of_ones_own_is_the_explicit_update() -> None:
    model, tau = net(3), drawn(3)[1]
    balancer = with_thresholds(tau, model.names)
    losses = model.losses(batch())
    wanted = explicit(jacobian(losses, model.shared_parameters()), tau)[0]
    sw.backward(losses, balancer, shared=model)
    torch.testing.assert_close(flat(model.shared_parameters()), wanted)


def test_a_task_that_one_batch_lacks_is_left_out() -> None:
    model, balancer = net(3), AIM(lr=0.01)
    held, train = model.losses(batch(seed=4)), model.losses(batch(seed=5))
    del train["task 2"]
    balancer.guide(held, trained=train, shared=model)
    moved = balancer.thresholds(model.names).nan_to_num() != 0
    assert moved[:2, :2].sum() == 2 and not moved[2].any() and not moved[:, 2].any()


def test_adam_is_torchs() -> None:
    g = torch.Generator().manual_seed(1)
    parameter = torch.nn.Parameter(torch.randn(5, generator=g, dtype=torch.float64))
    optimizer = torch.optim.Adam([parameter], lr=0.03)
    state = torch.stack([parameter.detach(), *torch.zeros(3, 5, dtype=torch.float64)], dim=-1)
    for _ in range(7):
        parameter.grad = torch.randn(5, generator=g, dtype=torch.float64)
        state = adam_step(parameter.grad, state, 0.03)
        optimizer.step()
    torch.testing.assert_close(state[..., 0], parameter.detach(), rtol=1e-13, atol=0)


def test_the_learning_rate_is_annealed_as_torch_does() -> None:
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=5e-3)
    optimizer.step()
    schedule = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=20, eta_min=1e-6)
    for epoch in range(45):
        assert annealed(5e-3, epoch, 20) == pytest.approx(schedule.get_last_lr()[0])
        schedule.step()
    assert annealed(5e-3, 13, None) == 5e-3
    balancer, (g, _) = AIM(lr=0.01), drawn()
    for _ in range(10):
        balancer.end_epoch()
    balancer.learn(g @ g.T, torch.ones(4), names=NAMES)  # Adam's first step is as long as its rate
    assert float(balancer.thresholds(NAMES).nan_to_num().abs().max()) == pytest.approx(annealed(0.01, 10, 20), rel=1e-4)


@pytest.mark.parametrize("policy", ["matrix", "scalar"])
def test_learning_resumes_bit_for_bit_and_absent_tasks_keep_their_thresholds(policy: str) -> None:
    whole, first = AIM(policy=policy, lr=0.05), AIM(policy=policy, lr=0.05)
    present = [NAMES, NAMES[:3], NAMES, NAMES[1:], NAMES]
    for step, names in enumerate(present):
        g = rows(len(names), 20, seed=step)
        for balancer in (whole, first):
            balancer.learn(g @ g.T, torch.arange(1.0, 1 + len(names)), names=names)
            balancer.end_epoch()
        if step == 1:
            before = first.thresholds(NAMES)
            saved = load(save(first.state_dict()))
            first = AIM(policy=policy, lr=0.05)
            first.load_state_dict(saved)
            assert torch.equal(before.nan_to_num(), first.thresholds(NAMES).nan_to_num())
    assert torch.equal(whole.thresholds(NAMES).nan_to_num(), first.thresholds(NAMES).nan_to_num())
    assert int(first.epoch) == 5
    if policy == "matrix":
        kept = whole.thresholds(NAMES)[0, 1]
        whole.learn(torch.eye(2) + 0.3, torch.ones(2), names=["c", "d"])
        assert whole.thresholds(NAMES)[0, 1] == kept


def test_a_scalar_policy_has_one_threshold() -> None:
    g, _ = drawn()
    balancer = AIM(policy="scalar", lr=0.01)
    balancer.learn(g @ g.T, torch.ones(4), names=NAMES)
    tau = balancer.thresholds(["x", *NAMES]).nan_to_num(0.0)
    assert len(tau.unique()) == 2 and float(tau[0, 1]) != 0


def test_frozen_at_learning_rate_zero() -> None:
    g, _ = drawn()
    balancer = AIM(lr=0.0)
    balancer.learn(g @ g.T, torch.ones(4), names=NAMES)
    assert float(balancer.thresholds(NAMES).nan_to_num().abs().max()) == 0


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("m", [1, 2, 40])
def test_learning_is_finite_on_every_kind_of_rows(shape: str, m: int) -> None:
    g = rows(m, 30, shape, spread=6)
    balancer = AIM(lr=0.1)
    names = [str(i) for i in range(m)]
    for _ in range(3):
        balancer.learn(g @ g.T, torch.ones(m), names=names)
    assert bool(balancer.task_state.read("pairs", names).isfinite().all())


def test_a_task_without_gradient_takes_no_part() -> None:
    g, _ = drawn()
    g[2] = 0
    balancer = AIM(lr=0.01)
    balancer.learn(g @ g.T, torch.ones(4), names=NAMES)
    assert balancer.task_state.read("pairs", NAMES)[2].abs().max() == 0
    assert balancer.learn(torch.diag(torch.tensor([1.0, 0.0])), torch.ones(2), names=["a", "b"]) == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"policy": "vector"}, 'policy "vector" is not known'),
        ({"sharpness": 0.0}, "sharpness must be positive"),
        ({"initial": math.nan}, "initial must be finite"),
        ({"lr": -1.0}, "must be finite and not negative"),
        ({"progress_weight": math.inf}, "must be finite and not negative"),
        ({"restart": 0}, "restart is 0"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        AIM(**options)


def test_wrong_guidance() -> None:
    balancer = AIM(tasks=["a", "b"])
    gram = torch.eye(2)
    with pytest.raises(BalanceError, match="not negative"):
        balancer.learn(gram, torch.tensor([1.0, -1.0]), names=["a", "b"])
    with pytest.raises(BalanceError, match="finite"):
        balancer.learn(gram * math.nan, torch.ones(2), names=["a", "b"])
    with pytest.raises(BalanceError, match="both trained and cross"):
        balancer.learn(gram, torch.ones(2), names=["a", "b"], cross=gram)
    with pytest.raises(BalanceError, match='task "c" is not one AIM was built for'):
        balancer.learn(gram, torch.ones(2), names=["a", "c"])
    with pytest.raises(BalanceError, match='the loss of task "task 0" has no graph'):
        AIM().guide({"task 0": torch.ones(()), "task 1": torch.ones(())})
