"""Trimmed mean: bounded by the order statistics, whatever a few rows hold."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchjd.aggregation import TrimmedMean

from helpers.matrices import matrices, rows
from sharewise.balance import create
from sharewise.balance._gram import CHUNK
from sharewise.errors import OptionError


def test_value_by_hand() -> None:
    # Columns without their largest and smallest: (2, 4) -> 3; (0, 0) -> 0; (-1, 3) -> 1.
    matrix = torch.tensor([[1.0, 0.0, -9.0], [2.0, 0.0, -1.0], [4.0, 7.0, 3.0], [50.0, -7.0, 8.0]])
    assert create("trimmed_mean").aggregate(matrix).tolist() == [3.0, 0.0, 1.0]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(matrix=matrices(), trim=st.integers(0, 6))
def test_between_the_order_statistics(matrix: Tensor, trim: int) -> None:
    out = create("trimmed_mean", trim=trim).aggregate(matrix).double()
    ordered = matrix.double().sort(dim=0).values
    cut = min(trim, (len(matrix) - 1) // 2)
    low, high = ordered[cut], ordered[len(matrix) - 1 - cut]
    slack = 1e-2 if matrix.dtype == torch.bfloat16 else 1e-6
    assert bool((out >= low - slack * low.abs()).all())
    assert bool((out <= high + slack * high.abs()).all())


@pytest.mark.parametrize("m", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("trim", [0, 1, 3])
def test_parity_with_torchjd(m: int, trim: int) -> None:
    if m <= 2 * trim:
        return
    matrix = rows(m, CHUNK + 9, "conflict", spread=3)
    assert torch.allclose(create("trimmed_mean", trim=trim).aggregate(matrix), TrimmedMean(trim)(matrix), rtol=1e-9)


def test_no_trim_is_the_mean() -> None:
    matrix = rows(5, 40, spread=6)
    assert torch.allclose(create("trimmed_mean", trim=0).aggregate(matrix), matrix.mean(0), rtol=1e-12)


def test_a_row_astray_moves_nothing_beyond_the_others() -> None:
    matrix = rows(5, 60)
    matrix[2] = 1e30 * rows(1, 60, seed=1)[0]
    out = create("trimmed_mean").aggregate(matrix)
    others = matrix[[0, 1, 3, 4]]
    assert bool((out >= others.amin(0)).all())
    assert bool((out <= others.amax(0)).all())


@pytest.mark.parametrize(("m", "trim"), [(2, 1), (3, 5), (4, 2)])
def test_too_few_tasks_leave_the_median(m: int, trim: int) -> None:
    matrix = rows(m, 9)
    ordered = matrix.sort(dim=0).values
    want = (ordered[(m - 1) // 2] + ordered[m // 2]) / 2
    assert torch.allclose(create("trimmed_mean", trim=trim).aggregate(matrix), want)


@pytest.mark.parametrize("trim", [-1, 0.1, "1"])
def test_trim_outside_its_range(trim: object) -> None:
    with pytest.raises(OptionError, match="trim must be a whole number of tasks"):
        create("trimmed_mean", trim=trim)


def test_how_many_a_step_has_trimmed_is_noted() -> None:
    balancer = create("trimmed_mean", trim=2)
    for m, dropped in ((6, 2), (5, 2), (4, 1), (3, 1), (2, 0), (1, 0)):
        balancer.aggregate(torch.randn(m, 3))
        assert int(balancer.notes["trim"]) == dropped
