"""Equal and constant weights."""

from __future__ import annotations

import pytest
import torch

from sharewise.balance import create
from sharewise.errors import BalanceError, OptionError


def test_equal_is_the_sum() -> None:
    matrix = torch.tensor([[1.0, 2.0], [3.0, -4.0]])
    assert create("equal").aggregate(matrix).tolist() == [4.0, -2.0]


def test_constant_by_name() -> None:
    matrix = torch.tensor([[1.0, 2.0], [3.0, -4.0]])
    balancer = create("constant", weights={"b": 2.0, "a": 0.5, "c": 9.0})
    assert balancer.aggregate(matrix, names=["a", "b"]).tolist() == [6.5, -7.0]


def test_a_task_without_weight() -> None:
    balancer = create("constant", weights={"height": 2.0})
    with pytest.raises(BalanceError, match='no constant weight for task "hieght": did you mean "height"'):
        balancer.weights(torch.ones(1), names=["hieght"])
    with pytest.raises(OptionError, match='no constant weight for task "age"'):
        create("constant", weights={"height": 2.0}, tasks=["height", "age"])


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_weights_outside_their_range(weight: float) -> None:
    with pytest.raises(OptionError, match=r'task "a" must be a finite number >= 0'):
        create("constant", weights={"a": weight})
