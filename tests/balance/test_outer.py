"""The outer loop: where the next round starts."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from sharewise.balance import OuterUpdate
from sharewise.errors import BalanceError, OptionError


def parameter(*values: float) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values, dtype=torch.float64))


def move(p: nn.Parameter, *values: float) -> None:
    with torch.no_grad():
        p.copy_(torch.tensor(values, dtype=torch.float64))


def test_two_rounds_by_hand() -> None:
    p = parameter(0.0, 1.0)
    outer = OuterUpdate([p], beta=0.25)
    move(p, 4.0, 1.0)
    outer.end_round()
    assert p.tolist() == [1.0, 1.0]  # a quarter of the way from 0 to 4
    move(p, 1.0, 9.0)
    outer.end_round()
    assert p.tolist() == [1.0, 3.0]


def test_the_mean_iterate() -> None:
    p = parameter(0.0)
    outer = OuterUpdate([p], beta=0.5, average=True)
    for value in (2.0, 4.0, 6.0):
        move(p, value)
        outer.step()
    outer.end_round()
    assert p.tolist() == [2.0]  # half of the mean, 4
    with pytest.raises(BalanceError, match="no iterates to average"):
        outer.end_round()


@pytest.mark.parametrize(("beta", "end"), [(0.0, 0.3), (1.0, 7.7)])
def test_the_ends_of_the_range(beta: float, end: float) -> None:
    p = parameter(0.3)
    outer = OuterUpdate([p], beta=beta)
    move(p, 7.7)
    outer.end_round()
    assert p.tolist() == [end]


def test_saved_in_the_middle_of_a_round_it_continues() -> None:
    first, second = parameter(0.0), parameter(0.0)
    one, other = (OuterUpdate([p], beta=0.5, average=True) for p in (first, second))
    move(first, 2.0)
    one.step()
    other.load_state_dict(load(save(one.state_dict())))
    for p, outer in ((first, one), (second, other)):
        move(p, 6.0)
        outer.step()
        outer.end_round()
    assert first.tolist() == second.tolist() == [2.0]
    with pytest.raises(BalanceError, match="of other parameters"):
        OuterUpdate([first], average=False).load_state_dict(one.state_dict())


def test_wrong_options() -> None:
    with pytest.raises(OptionError, match="beta is a part of the way"):
        OuterUpdate([parameter(0.0)], beta=1.5)
    with pytest.raises(OptionError, match="no parameters given"):
        OuterUpdate([])
