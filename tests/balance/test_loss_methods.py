"""What all methods on losses keep: any scale, any type, any number of tasks, and only above zero where they must."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import Tensor

import sharewise as sw
from helpers.shared_net import batch, flat, jacobian, net
from sharewise.balance import LossBalancer, create
from sharewise.errors import BalanceError

METHODS = ["dwa", "equal", "famo", "gls", "imtl_l", "rlw", "scale_invariant", "stch", "uncertainty"]
BY_LOGARITHM = ["gls", "scale_invariant", "stch"]
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


def names_of(count: int) -> list[str]:
    return [f"task {i}" for i in range(count)]


def make(name: str, count: int = 3, **options: Any) -> LossBalancer:
    made = create(name, tasks=names_of(count), **options)
    assert isinstance(made, LossBalancer)
    return made


def live(balancer: LossBalancer, epochs: Iterable[list[dict[str, float]]], dtype: torch.dtype = torch.float64) -> None:
    """Let the balancer see the losses of some epochs; the second look finds each a tenth lower."""
    for epoch in epochs:
        for step in epoch:
            balancer.weights(torch.tensor(list(step.values()), dtype=dtype), names=list(step))
            if balancer.looks_again:
                balancer.look_again({name: torch.tensor(0.9 * value, dtype=dtype) for name, value in step.items()})
        balancer.end_epoch()


def history(count: int, seed: int = 0) -> list[list[dict[str, float]]]:
    """Three epochs of two steps; each task's loss falls at its own speed."""
    start = torch.rand(count, generator=torch.Generator().manual_seed(seed)) + 0.5
    speed = torch.linspace(0.5, 0.95, count)
    return [
        [dict(zip(names_of(count), (start * speed ** (2 * e + s)).tolist(), strict=True)) for s in range(2)]
        for e in range(3)
    ]


@pytest.mark.parametrize("lived", [False, True])
@pytest.mark.parametrize("name", METHODS)
@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    exponents=st.lists(st.floats(-12, 12), min_size=1, max_size=100),
    dtype=st.sampled_from(DTYPES[:3]),
)
def test_weights_are_finite_and_positive(name: str, lived: bool, exponents: list[float], dtype: torch.dtype) -> None:
    count = len(exponents)
    balancer = make(name, count, **({"warmup": 2} if name == "stch" else {}))
    if lived:
        live(balancer, history(count))
    losses = (10.0 ** torch.tensor(exponents, dtype=torch.float64)).to(dtype)
    weights = balancer.weights(losses, names=names_of(count)).detach()
    assert weights.shape == (count,)
    assert weights.dtype == (dtype if name == "equal" else torch.promote_types(dtype, torch.float32))
    assert bool(weights.isfinite().all()) and bool((weights >= 0).all()) and float(weights.sum()) > 0
    objective = balancer.objective(losses, weights, names_of(count))
    assert bool(objective.isfinite())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", METHODS)
def test_backward_is_the_weighted_sum(name: str, dtype: torch.dtype) -> None:
    model = net(3)
    losses = {k: v.to(dtype) for k, v in model.losses(batch()).items()}
    rows = jacobian(losses, model.shared_parameters())
    balance = sw.backward(losses, make(name))
    assert balance.weight_vector is not None
    wanted = balance.weight_vector.double() @ rows
    # A weight is rounded once on its way through a loss of half precision.
    precision = max(3 * torch.finfo(dtype).eps, 1e-6) if name != "equal" else 1e-9
    assert float((flat(model.shared_parameters()) - wanted).norm() / wanted.norm()) < precision


@pytest.mark.parametrize("name", [m for m in METHODS if m != "rlw"])
def test_any_order_of_tasks(name: str) -> None:
    one, other = (make(name, 5, **({"warmup": 2} if name == "stch" else {})) for _ in range(2))
    order = [3, 0, 4, 1, 2]
    names = names_of(5)
    live(one, history(5))
    live(other, [[{names[i]: step[names[i]] for i in order} for step in epoch] for epoch in history(5)])
    losses = torch.tensor([3.0, 1e-3, 50.0, 1.0, 0.2], dtype=torch.float64)
    straight = one.weights(losses, names=names)
    mixed = other.weights(losses[order], names=[names[i] for i in order])
    assert torch.allclose(straight[order], mixed, rtol=1e-12)


@pytest.mark.parametrize("name", METHODS)
def test_an_absent_task_keeps_its_state(name: str) -> None:
    """Losses of another task, in between, leave no trace on the entries of one that is away."""
    balancer = make(name, 3, **({"warmup": 1} if name == "stch" else {}))
    live(balancer, history(3))
    fields = [f for f in balancer.task_state.tensors if f != "log gap"]  # of the last decision alone
    before = {f: balancer.task_state.read(f, ["task 1"]) for f in fields}
    live(balancer, [[{"task 0": 3.0, "task 2": 1.0}] * 2] * 2)
    for field, value in before.items():
        assert torch.equal(balancer.task_state.read(field, ["task 1"]), value), field
    assert torch.isfinite(balancer.weights(torch.ones(3), names=names_of(3))).all()


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("stop", [1, 2, 3, 5])
def test_resumed_within_an_epoch_it_continues_bit_for_bit(name: str, stop: int) -> None:
    options = {"warmup": 1} if name == "stch" else {}
    whole, first = make(name, **options), make(name, **options)
    taken = 0
    for epoch in history(3):
        for step in epoch:
            losses = torch.tensor(list(step.values()))
            expected = whole.weights(losses, names=list(step))
            assert torch.equal(first.weights(losses, names=list(step)), expected)
            taken += 1
            if taken == stop:  # between the decision and the second look
                saved = load(save(first.state_dict()))
                first = make(name, **options)
                first.load_state_dict(saved)
            if whole.looks_again:
                for balancer in (whole, first):
                    balancer.look_again({k: torch.tensor(v * 0.9) for k, v in step.items()})
        for balancer in (whole, first):
            balancer.end_epoch()
    losses = torch.rand(3)
    assert torch.equal(whole.weights(losses, names=names_of(3)), first.weights(losses, names=names_of(3)))


@pytest.mark.parametrize("name", BY_LOGARITHM)
@pytest.mark.parametrize("value", [0.0, -0.5])
def test_a_loss_that_is_not_above_zero_is_refused_by_name(name: str, value: float) -> None:
    leaf = torch.ones((), requires_grad=True)
    losses = {"task 0": leaf * 2.0, "task 1": leaf * value}
    with pytest.raises(BalanceError, match=rf'the loss of task "task 1" is {value:g}.*shift the loss'):
        sw.backward(losses, make(name))
    assert leaf.grad is None


@pytest.mark.parametrize("name", ["gls", "scale_invariant", "stch"])
def test_a_weight_beyond_float16_is_refused_on_a_float16_loss(name: str) -> None:
    losses = torch.tensor([6e-8, 6e4], dtype=torch.float16)
    with pytest.raises(BalanceError, match=r'task "task 0" is in float16.*float32'):
        make(name).weights(losses, names=names_of(2))


def scaled(name: str, factor: float) -> tuple[Tensor, Tensor]:
    """The trunk's gradient with one loss as it is, and times ``factor``."""
    found = []
    for c in (1.0, factor):
        model = net(3)
        losses = model.losses(batch())
        losses["task 1"] = c * losses["task 1"]
        sw.backward(losses, make(name))
        found.append(flat(model.shared_parameters()))
    return found[0], found[1]


@pytest.mark.parametrize("factor", [1e-6, 1e6])
@pytest.mark.parametrize("name", ["gls", "scale_invariant", "stch"])
def test_units_of_a_loss_do_not_turn_the_direction(name: str, factor: float) -> None:
    one, other = scaled(name, factor)
    assert float(torch.cosine_similarity(one, other, dim=0)) == pytest.approx(1.0, abs=1e-12)
    if name == "gls":
        assert torch.allclose(other, one * factor ** (1 / 3), rtol=1e-9)
    else:
        assert torch.allclose(other, one, rtol=1e-9)


def test_units_of_a_loss_do_turn_the_direction_of_the_plain_sum() -> None:
    one, other = scaled("equal", 1e6)
    assert float(torch.cosine_similarity(one, other, dim=0)) < 0.9999
