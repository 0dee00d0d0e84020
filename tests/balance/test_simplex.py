"""Projection on the simplex: hand-calculated values and the conditions that make a point the nearest one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sharewise.balance._simplex import project


def vector(*entries: float) -> torch.Tensor:
    return torch.tensor(entries, dtype=torch.float64)


def test_by_hand() -> None:
    # All three stay: t = (0.5 + 0.4 + 0.4 - 1) / 3 = 0.1. Then the last drops out: t = (1.2 + 0.6 - 1) / 2 = 0.4.
    assert project(vector(0.5, 0.4, 0.4)).tolist() == pytest.approx([0.4, 0.3, 0.3])
    assert project(vector(1.2, 0.6, 0.3)).tolist() == pytest.approx([0.8, 0.2, 0.0])
    assert project(vector(-5.0, 3.0)).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("entry", [0.0, 1.0, -3.0, 1e300])
def test_one_entry_is_one(entry: float) -> None:
    assert project(vector(entry)).tolist() == [1.0]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.lists(st.floats(-1, 1), min_size=1, max_size=100),
    st.sampled_from([0.0, 1.0, 1e6, 1e300]),
    st.floats(-1e6, 1e6),
)
def test_is_the_nearest_point(entries: list[float], size: float, shift: float) -> None:
    v = vector(*entries) * size + shift
    w = project(v)
    assert bool((w >= 0).all())
    assert float(w.sum()) == pytest.approx(1.0, abs=1e-12)
    # Nearest: no corner of the simplex lies on v's side of the plane through w, (e_k - w) . (v - w) <= 0 for all k.
    out = v - v.max() - w
    assert float((out - w @ out).max()) <= 1e-9 * (1 + float((w @ out).abs()))


def test_rows_of_a_matrix_are_projected_each() -> None:
    v = torch.randn(4, 3, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    w = project(v)
    assert torch.equal(w[2, 1], project(v[2, 1]))
