"""Krum: rows that have close neighbours are chosen, outliers never."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchjd.aggregation import Krum

from helpers.matrices import matrices, rows
from sharewise.balance import create
from sharewise.errors import OptionError


def chosen_by(scores: Tensor, count: int) -> set[int]:
    """The rows with the smallest scores; none if that is a matter of rounding."""
    ordered = scores.sort()
    clear = bool(ordered.values[count] > ordered.values[count - 1] * (1 + 1e-9))
    return set(ordered.indices[:count].tolist()) if clear else set()


def test_value_by_hand() -> None:
    # On a line: 0, 1, 3, 20, with one outlier: 4 - 1 - 2 = 1 neighbour, squared distances 1, 1, 4, 289.
    matrix = torch.tensor([[20.0], [0.0], [3.0], [1.0]])
    assert create("krum").weights(matrix.double() @ matrix.double().T).tolist() == [0, 1, 0, 0]
    assert create("krum", selected=3).aggregate(matrix).tolist() == pytest.approx([4 / 3])
    # Without outliers, two neighbours: 0 -> 1 + 9, 1 -> 1 + 4, 3 -> 4 + 9, 20 -> 289 + 361: the one at 1.
    assert create("krum", outliers=0).aggregate(matrix).tolist() == [1.0]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(matrix=matrices(), outliers=st.integers(0, 5), selected=st.integers(1, 5))
def test_weights_are_equal_parts_of_some_rows(matrix: Tensor, outliers: int, selected: int) -> None:
    count = min(selected, len(matrix)) if len(matrix) > 2 else len(matrix)
    wide = matrix.double()
    weights = create("krum", outliers=outliers, selected=selected).weights(wide @ wide.T)
    assert sorted(weights.tolist(), reverse=True) == pytest.approx([1 / count] * count + [0.0] * (len(matrix) - count))


@pytest.mark.parametrize("m", [5, 12, 100])
@pytest.mark.parametrize("size", [1e-6, 10.0, 1e6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_outliers_are_rejected(m: int, size: float, dtype: torch.dtype) -> None:
    # All but two rows lie around one direction; the two point the other way.
    matrix = 10 * rows(1, 60)[0] + 0.1 * rows(m, 60, seed=1)
    matrix[[1, 3]] = -10 * rows(2, 60, seed=2)
    given = (size * matrix).to(dtype).double()
    weights = create("krum", outliers=2, selected=m - 2).weights(given @ given.T)
    assert weights[[1, 3]].tolist() == [0.0, 0.0]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**16), m=st.integers(5, 12), outliers=st.integers(0, 2), selected=st.integers(1, 3))
def test_parity_with_torchjd(seed: int, m: int, outliers: int, selected: int) -> None:
    # TorchJD adds distances where the paper, and we, add their squares: compared where both choose the same rows.
    matrix = rows(m, 20, seed=seed)
    distances = torch.cdist(matrix, matrix).fill_diagonal_(torch.inf).sort(1).values[:, : m - outliers - 2]
    best = chosen_by(distances.square().sum(1), selected)
    assume(best and best == chosen_by(distances.sum(1), selected))
    ours = create("krum", outliers=outliers, selected=selected).aggregate(matrix)
    theirs = Krum(outliers, selected)(matrix)
    assert float(torch.cosine_similarity(ours, theirs, dim=0)) >= 1 - 1e-5
    assert torch.allclose(ours, theirs)


def test_few_tasks() -> None:
    matrix = rows(3, 20)
    assert torch.equal(create("krum", outliers=5).aggregate(matrix[:1]), matrix[0])
    assert torch.allclose(create("krum").aggregate(matrix[:2]), matrix[:2].mean(0))
    # Three tasks leave no room for an outlier: one neighbour, as with outliers=0.
    assert torch.equal(create("krum").aggregate(matrix), create("krum", outliers=0).aggregate(matrix))


@pytest.mark.parametrize(("option", "value"), [("outliers", -1), ("outliers", 0.5), ("selected", 0), ("selected", 1.0)])
def test_options_outside_their_range(option: str, value: object) -> None:
    with pytest.raises(OptionError, match=f"{option} must be a whole number of tasks"):
        create("krum", **{option: value})


def test_how_many_outliers_a_step_has_counted_on_is_noted() -> None:
    balancer = create("krum", outliers=2)
    for m, counted in ((8, 2), (5, 2), (4, 1), (3, 0), (2, 0), (1, 0)):
        balancer.weights(torch.eye(m, dtype=torch.float64))
        assert int(balancer.notes["outliers"]) == counted
