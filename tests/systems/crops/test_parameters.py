"""Casts into ranges."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sharewise.errors import OptionError
from sharewise.systems.crops import GDDPhenology, Parameter, ParameterBox

BOX = ParameterBox([Parameter("a", 0, 10, 2, "C"), Parameter("b", -4, 4, 9, "C")])


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_cast_stays_in_range(x: float, y: float) -> None:
    for dtype in (torch.float32, torch.float64):
        cast = BOX.cast(torch.tensor([x, y], dtype=dtype))
        assert 0 <= cast[0] <= 10 and -4 <= cast[1] <= 4


def test_cast_by_hand() -> None:
    # tanh(0) = 0: the middle; tanh(atanh(0.5)) = 0.5: three quarters.
    raw = torch.tensor([0.0, 0.5493061443])
    torch.testing.assert_close(BOX.cast(raw), torch.tensor([5.0, 2.0]))


def test_smoothed_cast_moves_at_most_a_share_of_the_half_range() -> None:
    previous = torch.tensor([5.0, 3.9])
    moved = BOX.smooth(torch.tensor([-100.0, 100.0]), previous, 0.1)
    torch.testing.assert_close(moved, torch.tensor([4.5, 4.0]))


def test_uncast_inverts_inside_and_moves_in_outside() -> None:
    values = torch.tensor([2.0, 9.0], dtype=torch.float64)
    again = BOX.cast(BOX.uncast(values, margin=0.05))
    torch.testing.assert_close(again, torch.tensor([2.0, 3.6], dtype=torch.float64))


def test_ranges_of_the_paper() -> None:
    box = GDDPhenology.box
    assert box.names == ("TBASEM", "TEFFMX", "TSUMEM", "TSUM1", "TSUM2", "TSUM3", "TSUM4")
    assert box.low.tolist() == [0, 15, 10, 100, 100, 100, 100]
    assert box.high.tolist() == [15, 45, 100, 1000, 1000, 1000, 1000]
    assert box.stock.tolist() == [8.19, 25, 107, 223, 659, 581, 1000]


def test_bad_ranges_are_named() -> None:
    with pytest.raises(OptionError, match='"a": the range needs low < high'):
        ParameterBox([Parameter("a", 1, 1, 1, "C")])
    with pytest.raises(OptionError, match="distinct"):
        ParameterBox([Parameter("a", 0, 1, 1, "C"), Parameter("a", 0, 1, 1, "C")])
