"""Wrong input: the task is named and nothing is filled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sharewise as sw
from helpers.shared_net import batch, gradients, net
from sharewise.balance import LossBalancer, available, create
from sharewise.errors import BalanceError, ModelError, OptionError

NAN, INF = float("nan"), float("inf")
OPTIONS: dict[str, dict[str, Any]] = {
    "constant": {"weights": {f"task {i}": 1.0 for i in range(3)}},
    "rotograd": {"size": 6},
}
EVERY = pytest.mark.parametrize("name", available())


def make(name: str) -> sw.Balancer:
    return create(name, tasks=[f"task {i}" for i in range(3)], **OPTIONS.get(name, {}))


def bad_loss(value: float) -> tuple[nn.Module, dict[str, Tensor]]:
    model = net(3)
    losses = model.losses(batch())
    losses["task 1"] = losses["task 1"] * value
    return model, losses


class Cliff(torch.autograd.Function):
    """A finite value whose gradient is NaN."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * NAN


def bad_row() -> tuple[nn.Module, dict[str, Tensor]]:
    model = net(3)
    losses = model.losses(batch())
    losses["task 1"] = Cliff.apply(losses["task 1"])
    return model, losses


@EVERY
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_a_loss_that_is_not_finite_names_its_task(name: str, value: float) -> None:
    model, losses = bad_loss(value)
    with pytest.raises(BalanceError, match='the loss of task "task 1" is NaN or infinite'):
        sw.backward(losses, make(name))
    assert all(g is None for g in gradients(model).values())


@pytest.mark.parametrize("name", ["pcgrad", "graddrop"])
@pytest.mark.parametrize("mode", ["loop", "batched"])
def test_a_row_that_is_not_finite_names_its_task(name: str, mode: str) -> None:
    model, losses = bad_row()
    with pytest.raises(BalanceError, match='the gradient of task "task 1" is NaN or infinite'):
        sw.backward(losses, make(name), mode=mode)
    assert all(g is None for g in gradients(model).values())


@EVERY
def test_skip_task_is_as_if_it_had_been_absent(name: str) -> None:
    for broken in (bad_loss(NAN), *([bad_row()] if name in ("pcgrad", "graddrop") else [])):
        model, losses = broken
        balance = sw.backward(losses, make(name), on_nonfinite="skip task", shared=model)
        assert balance.skipped == ("task 1",)
        assert balance.names == ("task 0", "task 2")
        got = gradients(model)
        model.zero_grad()
        rest = {k: v for k, v in model.losses(batch()).items() if k != "task 1"}
        sw.backward(rest, make(name), shared=model)
        for key, value in gradients(model).items():
            assert (value is None) == (got[key] is None)
            assert value is None or torch.allclose(value, got[key], rtol=1e-10)


@EVERY
def test_skip_step_fills_nothing(name: str) -> None:
    for broken in (bad_loss(INF), *([bad_row()] if name in ("pcgrad", "graddrop") else [])):
        model, losses = broken
        balance = sw.backward(losses, make(name), on_nonfinite="skip step")
        assert balance.skipped == ("task 1",)
        assert balance.names == ()
        assert all(g is None for g in gradients(model).values())


def test_all_tasks_skipped() -> None:
    model = net(2)
    losses = {k: v * NAN for k, v in model.losses(batch()).items()}
    balance = sw.backward(losses, create("pcgrad"), on_nonfinite="skip task")
    assert balance.skipped == ("task 0", "task 1")
    assert balance.weights == {}
    assert all(g is None for g in gradients(model).values())


def test_ignore_lets_it_through() -> None:
    model, losses = bad_loss(NAN)
    sw.backward(losses, make("equal"), on_nonfinite="ignore")
    assert bool(model.trunk[0].weight.grad.isnan().any())


def test_large_finite_rows_are_not_taken_for_infinite() -> None:
    model = net(2).float()
    losses = {k: v * 1e25 for k, v in model.losses(batch().float()).items()}
    sw.backward(losses, create("pcgrad"))
    assert all(torch.isfinite(g).all() for g in gradients(model).values())


@pytest.mark.parametrize("mode", ["loop", "batched"])
def test_a_loss_that_does_not_depend_on_what_is_shared(mode: str) -> None:
    model = net(3)
    losses = model.losses(batch())
    losses["apart"] = nn.Linear(2, 1).double()(torch.ones(1, 2, dtype=torch.float64)).sum()
    with pytest.raises(BalanceError, match='task "apart" does not depend on any shared parameter'):
        sw.backward(losses, create("pcgrad"), mode=mode)
    assert all(g is None for g in gradients(model).values())


def test_nothing_is_shared() -> None:
    a, b = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    with pytest.raises(BalanceError, match="no parameter is reached by two or more"):
        sw.backward({"a": a.sum(), "b": b.sum()}, create("pcgrad"))


def ok() -> Tensor:
    return torch.ones((), requires_grad=True) * 2


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ({}, "no losses given"),
        ([ok()], "mapping from task name to loss, got list"),
        ({"a": 1.0}, 'task "a" must be a tensor, got float'),
        ({1: ok()}, "task names must be strings, got 1"),
        ({"a": ok().expand(3)}, r'task "a" must be a scalar, got shape \[3\]'),
        ({"a": ok().expand(1)}, r"got shape \[1\]"),
        ({"a": ok().detach()}, 'task "a" has no graph'),
    ],
)
@pytest.mark.parametrize("name", ["equal", "pcgrad"])
def test_losses_of_the_wrong_kind(losses: Any, message: str, name: str) -> None:
    with pytest.raises(BalanceError, match=message):
        sw.backward(losses, create(name))


def test_options_that_are_not_known() -> None:
    losses = {"a": ok()}
    with pytest.raises(OptionError, match='mode "lop" is not known; did you mean "loop"'):
        sw.backward(losses, create("equal"), mode="lop")
    with pytest.raises(OptionError, match="known: auto, loop, batched, gram, disjoint, representation"):
        sw.backward(losses, create("equal"), mode="xyz")
    with pytest.raises(OptionError, match='on_nonfinite "skip" is not known; did you mean'):
        sw.backward(losses, create("equal"), on_nonfinite="skip")
    with pytest.raises(OptionError, match=r'make one with sharewise\.balance\.create\("pcgrad"\)'):
        sw.backward(losses, "pcgrad")  # type: ignore[arg-type]


def test_shared_that_holds_no_parameters() -> None:
    with pytest.raises(ModelError, match="shared must hold parameters, got str"):
        sw.backward(net(2).losses(batch()), create("pcgrad"), shared=["trunk"])  # type: ignore[list-item]


def test_a_task_it_was_not_built_for() -> None:
    model = net(3)
    with pytest.raises(BalanceError, match='task "task 2" is not one PCGrad was built for'):
        sw.backward(model.losses(batch()), create("pcgrad", tasks=["task 0", "task 1"]))


def test_a_method_that_does_not_look_at_names_is_protected_too() -> None:
    class Careless(LossBalancer):
        def weights(self, losses: Tensor, *, names: Sequence[str] | None = None) -> Tensor:
            return torch.ones_like(losses)

    model = net(2)
    with pytest.raises(BalanceError, match='task "task 1" is not one Careless was built for'):
        sw.backward(model.losses(batch()), Careless(tasks=["task 0"]))
    assert all(g is None for g in gradients(model).values())


def test_an_operation_that_cannot_be_vectorised() -> None:
    class Reading(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, value: Tensor) -> Tensor:
            return value.clone()

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:
            return gradient * gradient.sum().item()

    model = net(2)
    losses = {name: Reading.apply(loss) for name, loss in model.losses(batch()).items()}
    with pytest.raises(BalanceError, match=r'mode "batched" cannot vectorise this model \(.*use mode="loop"'):
        sw.backward(losses, create("pcgrad"), mode="batched")
    assert all(g is None for g in gradients(model).values())
    sw.backward(losses, create("pcgrad"), mode="loop")
