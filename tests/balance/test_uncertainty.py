"""Uncertainty weighting: values by hand, the point of rest, state by name."""

from __future__ import annotations

import math

import pytest
import torch

import sharewise as sw
from sharewise.balance import Uncertainty, create
from sharewise.errors import BalanceError, OptionError


def test_weights_and_objective_by_hand() -> None:
    balancer = create("uncertainty", tasks=["a", "b"], factors={"a": 0.5})
    with torch.no_grad():
        balancer.log_variances[1].fill_(math.log(4.0))
    losses = torch.tensor([2.0, 8.0])
    weights = balancer.weights(losses, names=["a", "b"])
    assert weights.tolist() == pytest.approx([0.5, 0.25])
    # 0.5 * 2 + 0.25 * 8 + (0 + log 4) / 2
    assert balancer.objective(losses, weights, ["a", "b"]).item() == pytest.approx(3.0 + math.log(2.0))


def test_gradient_of_a_log_variance_by_hand() -> None:
    balancer = create("uncertainty", tasks=["a"])
    x = torch.nn.Parameter(torch.tensor(3.0))
    sw.backward({"a": x * x}, balancer)
    assert float(balancer.log_variances[0].grad) == pytest.approx(-9.0 + 0.5)  # -exp(-s) L + 1/2
    assert float(x.grad) == pytest.approx(6.0)


@pytest.mark.parametrize("factor", [0.5, 1.0])
@pytest.mark.parametrize("loss", [0.01, 3.0, 200.0])
def test_rests_where_the_weight_is_one_over_twice_the_loss(loss: float, factor: float) -> None:
    balancer = create("uncertainty", tasks=["a"], factors={"a": factor})
    s, leaf = balancer.log_variances[0], torch.ones((), requires_grad=True)
    for away, sign in ((-0.5, -1), (0.0, 0), (0.5, 1)):
        with torch.no_grad():
            s.fill_(math.log(2 * factor * loss) + away)
        s.grad = None
        sw.backward({"a": loss * leaf}, balancer)
        assert round(s.grad.item(), 5) * sign >= 0
        assert (abs(s.grad.item()) < 1e-5) == (sign == 0)
        if sign == 0:
            assert balancer.weights(torch.ones(1), names=["a"]).item() == pytest.approx(1 / (2 * loss))


def test_limits_hold_and_let_back_in() -> None:
    balancer = create("uncertainty", tasks=["a"], limits=(-1.0, 1.0))
    s, leaf = balancer.log_variances[0], torch.ones((), requires_grad=True)
    optimizer = torch.optim.SGD(balancer.parameters(), lr=3.0)
    for loss, weight in ((1e-6, 1.0), (1e-6, math.e), (9.0, math.e), (1.0, 1 / math.e)):
        optimizer.zero_grad()
        balance = sw.backward({"a": loss * leaf}, balancer)  # a small loss wants a large weight
        assert balance.weights["a"].item() == pytest.approx(weight)
        assert -1.0 <= s.item() <= 1.0
        optimizer.step()


def test_an_absent_task_is_not_moved_by_any_optimizer() -> None:
    balancer = create("uncertainty", tasks=["a", "b"])
    optimizer = torch.optim.Adam(balancer.parameters(), lr=0.1)
    for names in (["a", "b"], ["a"], ["a"]):
        optimizer.zero_grad()
        leaf = torch.ones((), requires_grad=True)
        sw.backward(dict.fromkeys(names, 3.0 * leaf), balancer)
        optimizer.step()
        if len(names) == 2:
            after_one = float(balancer.log_variances[1].detach())
    assert float(balancer.log_variances[1].detach()) == after_one
    assert float(balancer.log_variances[0].detach()) != after_one


def test_state_finds_its_task_whatever_the_order() -> None:
    first = create("uncertainty", tasks=["a", "b.c", ""])
    with torch.no_grad():
        for value, parameter in enumerate(first.log_variances):
            parameter.fill_(value)
    second = create("uncertainty", tasks=["", "a", "b.c"])
    second.load_state_dict(first.state_dict())
    assert [p.item() for p in second.log_variances] == [2.0, 0.0, 1.0]


def test_state_of_other_tasks_is_refused() -> None:
    with pytest.raises(RuntimeError, match="the state is of tasks"):
        create("uncertainty", tasks=["a", "b"]).load_state_dict(create("uncertainty", tasks=["a"]).state_dict())


def test_more_tasks_than_it_was_built_for() -> None:
    balancer = create("uncertainty", tasks=["height", "age"])
    leaf = torch.ones((), requires_grad=True)
    with pytest.raises(BalanceError, match=r'"hieght" is not one Uncertainty was built for.*did you mean "height"'):
        sw.backward({"age": leaf * 1, "hieght": leaf * 2}, balancer)
    assert leaf.grad is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": []}, "at least one task"),
        ({"tasks": ["a", "a"]}, "same name"),
        ({"tasks": ["a"], "limits": (1.0, 0.0)}, "limits"),
        ({"tasks": ["a"], "initial": 99.0}, "limits"),
        ({"tasks": ["a"], "factors": {"b": 1.0}}, 'factors names task "b"'),
        ({"tasks": ["a"], "factors": {"a": 0.0}}, "positive"),
    ],
)
def test_wrong_options(options: dict, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Uncertainty(**options)


def test_tasks_are_needed() -> None:
    with pytest.raises(OptionError, match='"uncertainty" needs tasks='):
        create("uncertainty")
