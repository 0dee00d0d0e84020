"""GradDrop: a sign for each entry, with the probability the votes give it."""

from __future__ import annotations

import pytest
import torch

from helpers.matrices import rows
from sharewise.balance import create
from sharewise.balance._gram import CHUNK
from sharewise.errors import OptionError


def test_agreement_is_the_sum() -> None:
    matrix = torch.tensor([[1.0, -2.0, 0.0], [3.0, -4.0, 0.0]])
    assert create("graddrop").aggregate(matrix).tolist() == [4.0, -6.0, 0.0]


def test_each_entry_is_all_its_positive_or_all_its_negative_parts() -> None:
    matrix = rows(5, 400)
    out = create("graddrop").aggregate(matrix)
    up, down = matrix.clamp_min(0).sum(0), matrix.clamp_max(0).sum(0)
    chose_up, chose_down = torch.isclose(out, up), torch.isclose(out, down)
    assert bool((chose_up | chose_down).all())
    assert bool(chose_up.any())
    assert bool(chose_down.any())


def test_probability_is_the_share_of_the_sign() -> None:
    # entries (3, -1): P = (1 + 2 / 4) / 2 = 3/4 for the positive sign
    matrix = torch.tensor([[3.0], [-1.0]]).expand(2, 20_000)
    out = create("graddrop", seed=1).aggregate(matrix)
    assert set(out.tolist()) == {3.0, -1.0}
    assert float((out == 3.0).double().mean()) == pytest.approx(0.75, abs=0.015)  # 5 standard errors


def test_leak_passes_its_part() -> None:
    matrix = rows(3, 50)
    assert torch.allclose(create("graddrop", leak=1.0).aggregate(matrix), matrix.sum(0))
    leaky = create("graddrop", leak={"a": 1.0}, seed=2).aggregate(matrix, names=["a", "b", "c"])
    dropped = create("graddrop", seed=2).aggregate(matrix)
    # Same draws: what task a would have lost is put back, nothing else changes.
    lost = torch.where((dropped > 0) == (matrix[0] > 0), 0.0, matrix[0])
    assert torch.allclose(leaky, dropped + lost)


def test_one_task_is_left_alone() -> None:
    matrix = rows(1, 30).float()
    assert torch.equal(create("graddrop").aggregate(matrix), matrix[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_longer_than_a_chunk(dtype: torch.dtype) -> None:
    matrix = rows(3, 2 * CHUNK + 5).to(dtype)
    out = create("graddrop").aggregate(matrix)
    assert out.dtype == dtype
    up, down = matrix.double().clamp_min(0).sum(0), matrix.double().clamp_max(0).sum(0)
    nearest = torch.minimum((out.double() - up).abs(), (out.double() - down).abs())
    assert float((nearest / (up - down)).max()) < 1e-2


def test_scale_of_a_million_between_rows() -> None:
    matrix = rows(4, 300, spread=6).float()
    assert bool(create("graddrop").aggregate(matrix).isfinite().all())


@pytest.mark.parametrize("leak", [-0.1, 1.1, float("nan"), {"a": 2.0}])
def test_leak_outside_its_range(leak: object) -> None:
    with pytest.raises(OptionError, match="leak must be between 0"):
        create("graddrop", leak=leak)


def test_leak_for_an_unknown_task() -> None:
    with pytest.raises(OptionError, match='did you mean "height"'):
        create("graddrop", leak={"hieght": 0.5}, tasks=["height", "age"])
