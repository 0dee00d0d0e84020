"""What every balancer keeps, one row of the table a method."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from safetensors.torch import load, save
from torch import Tensor

from helpers.matrices import DTYPES, SHAPES, matrices, rows
from sharewise.balance import Balancer, available, create
from sharewise.errors import BalanceError

NAMES = [f"task {i}" for i in range(40)]
OPTIONS: dict[str, dict[str, Any]] = {
    "constant": {"weights": {name: 1.0 + i for i, name in enumerate(NAMES)}},
    "graddrop": {"leak": {"task 1": 0.5}},
    "rotograd": {"size": 6},
}
# One task's gradient keeps its direction but not its length; with all others it stays as it is.
SCALES_ONE_TASK = ("cagrad", "fairgrad", "nashmtl")
# The power of a factor of all rows with which the direction grows; 1 for all others.
DEGREE = {"fairgrad": -1 / 3, "nashmtl": 0.0}
# Their steps on the weights have a length in units of squared gradient norms.
SCALE_MATTERS = ("modo",)


def make(name: str, **more: Any) -> Balancer:
    return create(name, tasks=NAMES, **OPTIONS.get(name, {}), **more)


def direction(balancer: Balancer, matrix: Tensor) -> Tensor:
    return balancer.aggregate(matrix, names=NAMES[: len(matrix)])


pytestmark = pytest.mark.parametrize("name", available())


@settings(max_examples=40, deadline=None, derandomize=True)
@given(matrix=matrices())
def test_shape_dtype_and_finite(name: str, matrix: Tensor) -> None:
    out = direction(make(name), matrix)
    assert out.shape == matrix.shape[1:]
    assert out.dtype == matrix.dtype
    assert bool(out.isfinite().all())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_one_task_is_the_identity(name: str, dtype: torch.dtype) -> None:
    matrix = rows(1, 30, spread=0).to(dtype)
    out = direction(make(name), matrix)
    if name in SCALES_ONE_TASK:
        assert float(torch.cosine_similarity(out.double(), matrix[0].double(), dim=0)) == pytest.approx(1, abs=1e-4)
    else:
        assert torch.equal(out, matrix[0])


def test_groups_are_told_of_the_end_of_an_epoch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    balancer, told = make(name), []
    for group in ("a", "b"):
        monkeypatch.setattr(balancer.group(group), "end_epoch", lambda group=group: told.append(group), raising=True)
    balancer.end_epoch()
    assert told == ["a", "b"]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_rows_are_not_changed(name: str, shape: str) -> None:
    matrix = rows(5, 30, shape, spread=6).float()
    before = matrix.clone()
    direction(make(name), matrix)
    assert torch.equal(matrix, before)


def test_equal_rows_keep_their_direction(name: str) -> None:
    matrix = rows(4, 30, "equal")
    out = direction(make(name), matrix)
    assert float(torch.cosine_similarity(out, matrix[0], dim=0)) == pytest.approx(1.0, abs=1e-12)


def test_doubling_all_rows(name: str) -> None:
    if name in SCALE_MATTERS:
        return
    matrix = rows(6, 30, "conflict", spread=3)
    out, twice = direction(make(name), matrix), direction(make(name), 2 * matrix)
    assert torch.allclose(twice, 2 ** DEGREE.get(name, 1.0) * out, rtol=1e-12)


def test_order_of_tasks(name: str) -> None:
    if make(name).generator is not None:
        return  # random numbers are drawn by position
    matrix = rows(6, 30, "conflict", spread=3)
    order = [3, 0, 5, 1, 4, 2]
    swapped = make(name).aggregate(matrix[order], names=[NAMES[i] for i in order])
    assert torch.allclose(swapped, direction(make(name), matrix), rtol=1e-12)


def test_resumed_from_a_file_of_tensors_it_continues_bit_for_bit(name: str) -> None:
    whole, first = make(name), make(name)
    sequence = [rows(m, 30, "conflict", seed=m) for m in (5, 3, 6, 1, 5, 4)]
    for step, matrix in enumerate(sequence):
        if step == 3:
            saved = load(save(first.state_dict()))
            first = make(name)
            first.load_state_dict(saved)
        assert torch.equal(direction(whole, matrix), direction(first, matrix))


def test_a_copy_is_independent(name: str) -> None:
    balancer = make(name)
    other = copy.deepcopy(balancer)
    matrix = rows(6, 30, "conflict")
    assert torch.equal(direction(balancer, matrix), direction(other, matrix))


def test_global_random_state_is_left_alone(name: str) -> None:
    before = torch.get_rng_state()
    direction(make(name), rows(5, 30, "conflict"))
    assert torch.equal(torch.get_rng_state(), before)


def test_names_that_repeat_or_are_unknown(name: str) -> None:
    matrix = rows(2, 3)
    with pytest.raises(BalanceError, match="2 tasks need 2 different names"):
        make(name).aggregate(matrix, names=["task 1", "task 1"])
    with pytest.raises(BalanceError, match="2 tasks need 2 different names"):
        make(name).aggregate(matrix, names=["task 1"])
    with pytest.raises(BalanceError, match=r'task "other" is not one .* was built for'):
        make(name).aggregate(matrix, names=["task 1", "other"])
