"""DB-MTL: equal contributions, whatever units the losses are in."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from helpers.matrices import matrices, rows
from sharewise.balance import create
from sharewise.errors import BalanceError, OptionError


def test_value_by_hand() -> None:
    # Gradients of the logarithms: (2, 0) / 2 = (1, 0) and (0, 6) / 2 = (0, 3); both are brought to norm 3.
    balancer = create("db_mtl", beta=0.5)
    matrix, losses = torch.tensor([[2.0, 0.0], [0.0, 6.0]]), torch.tensor([2.0, 2.0])
    assert balancer.aggregate(matrix, losses).tolist() == [3.0, 3.0]
    # Then (6, 0) / 2 = (3, 0) and (0, 2) / 1: halfway from (1, 0) is (2, 0), from (0, 3) it is (0, 2.5).
    matrix, losses = torch.tensor([[6.0, 0.0], [0.0, 2.0]]), torch.tensor([2.0, 1.0])
    assert balancer.aggregate(matrix, losses).tolist() == [2.5, 2.5]


def test_memory_that_decays() -> None:
    # decay=1: beta / t. Step 2: 0.8 / 2 = 0.4 of the old, 0.6 of the new: 0.4 * 1 + 0.6 * 2 = 1.6.
    balancer = create("db_mtl", beta=0.8, decay=1.0)
    balancer.aggregate(torch.tensor([[1.0]]))
    assert balancer.aggregate(torch.tensor([[2.0]])).tolist() == pytest.approx([1.6])


@pytest.mark.parametrize("m", [1, 2, 10, 100])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_every_task_contributes_the_largest_norm(m: int, dtype: torch.dtype) -> None:
    # Tasks with entries of their own, so that contributions can be read off the direction.
    matrix = torch.zeros(m, m, 5, dtype=torch.float64)
    matrix[torch.arange(m), torch.arange(m)] = rows(m, 5, spread=6)
    given_rows = matrix.flatten(1).to(dtype)
    balancer = create("db_mtl")
    for _ in range(3):
        out = balancer.aggregate(given_rows)
    parts = out.double().view(m, 5).norm(dim=1)
    largest = float(given_rows.double().norm(dim=1).max())
    assert parts.tolist() == pytest.approx([largest] * m, rel=1e-2 if dtype == torch.bfloat16 else 1e-5)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(matrix=matrices(most=10))
def test_units_of_the_losses_do_not_matter(matrix: Tensor) -> None:
    matrix = matrix.double()
    losses = torch.linspace(0.1, 3, len(matrix), dtype=torch.float64)
    units = 10.0 ** torch.linspace(-3, 3, len(matrix), dtype=torch.float64)
    largest = float((matrix / losses[:, None]).norm(dim=1).max())
    plain, other = create("db_mtl"), create("db_mtl")
    for step in range(3):
        want = plain.aggregate(matrix * (1 + step), losses)
        got = other.aggregate(matrix * (1 + step) * units[:, None], losses * units)
        assert torch.allclose(want, got, rtol=1e-9, atol=1e-9 * largest)


def test_a_loss_near_zero_is_bounded() -> None:
    balancer = create("db_mtl", eps=0.01)
    assert balancer.aggregate(torch.tensor([[1.0]]), torch.tensor([1e-30])).tolist() == pytest.approx([100.0])


def test_a_zero_row_contributes_nothing() -> None:
    matrix = rows(3, 20)
    matrix[1] = 0
    with_it = create("db_mtl").aggregate(matrix, names="abc")
    assert torch.allclose(with_it, create("db_mtl").aggregate(matrix[[0, 2]], names="ac"))


def test_a_vanishing_row_leaves_the_others_finite() -> None:
    matrix = rows(2, 20).float()
    matrix[0] *= 1e-42
    out = create("db_mtl").aggregate(1e4 * matrix)
    assert bool(out.isfinite().all())


@pytest.mark.parametrize("value", [0.0, -2.0])
def test_a_loss_without_a_logarithm(value: float) -> None:
    balancer = create("db_mtl")
    with pytest.raises(BalanceError, match=r'the loss of task "b" is .*: shift the loss'):
        balancer.aggregate(rows(2, 5), torch.tensor([1.0, value]), names="ab")
    assert balancer.row_state.names == []


def test_an_absent_task_is_as_it_was() -> None:
    balancer = create("db_mtl")
    matrix = rows(2, 20)
    balancer.aggregate(matrix, names="ab")
    for _ in range(3):
        balancer.aggregate(rows(1, 20, seed=1), names="a")
    # back with the same gradient, its mean is that gradient still
    assert torch.allclose(balancer.aggregate(matrix[1:], names="b"), matrix[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": 1.0}, "beta must be at least 0"),
        ({"beta": -0.1}, "beta must be at least 0"),
        ({"decay": -1.0}, "decay must be a finite number >= 0"),
        ({"eps": 0.0}, "eps must be a positive number"),
    ],
)
def test_options_outside_their_range(options: dict[str, float], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        create("db_mtl", **options)
