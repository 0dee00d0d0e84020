"""Embeddings of numbers, against the paper's formula written out column by column."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sharewise.errors import OptionError
from sharewise.sharing import LinearEmbedding, PeriodicEmbedding, PiecewiseEmbedding


def encoded(x: float, edges: list[float]) -> list[float]:
    """Equation 1 of Gorishniy et al. (2022) for one number."""
    count = len(edges) - 1
    out = []
    for t in range(1, count + 1):
        value = (x - edges[t - 1]) / (edges[t] - edges[t - 1])
        if x < edges[t - 1] and t > 1:
            value = 0.0
        elif x >= edges[t] and t < count:
            value = 1.0
        out.append(value)
    return out


def test_by_hand() -> None:
    layer = PiecewiseEmbedding([[0.0, 1.0, 3.0, 4.0]], 2)
    x = torch.tensor([[[-1.0, 0.5, 1.0, 2.0, 5.0]]])
    assert layer.encode(x)[0].T.tolist() == [[-1, 0, 0], [0.5, 0, 0], [1, 0, 0], [1, 0.5, 0], [1, 1, 2]]


@settings(max_examples=60, deadline=None)
@given(
    bins=st.lists(
        st.lists(st.integers(-30, 30), min_size=2, max_size=8, unique=True).map(sorted), min_size=1, max_size=5
    ),
    x=st.floats(-5, 5, width=32),
)
def test_equals_the_formula_with_padding(bins: list[list[int]], x: float) -> None:
    edges = [[e / 10 for e in column] for column in bins]
    layer = PiecewiseEmbedding(edges, 3)
    got = layer.encode(torch.full((len(bins), 1, 1), x))[:, :, 0]
    most = max(len(column) for column in edges) - 1
    for row, column in zip(got, edges, strict=True):
        want = encoded(x, column) + [0.0] * (most - len(column) + 1)
        assert row.tolist() == pytest.approx(want, rel=1e-5, abs=1e-4)


def test_very_narrow_bins_lose_no_digits() -> None:
    layer = PiecewiseEmbedding([[1.0, 1.0 + 2**-20, 2.0]], 2)
    got = layer.encode(torch.tensor([[[1.0 + 2**-21]]]))
    assert got[0, :, 0].tolist() == [0.5, 0.0]


@pytest.mark.parametrize(
    "layer",
    [
        PiecewiseEmbedding([[0.0, 1.0], [-1.0, 0.0, 2.0]], 4),
        PeriodicEmbedding(2, 4, frequencies=3),
        LinearEmbedding(2, 4),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_each_column_has_its_own_layer(layer: torch.nn.Module) -> None:
    x = torch.randn(6, 2)
    out = layer(x)
    assert out.shape == (6, 8)
    moved = x.clone()
    moved[:, 1] += 1.0
    assert torch.equal(layer(moved)[:, :4], out[:, :4])  # the first column's numbers stand first
    for j in range(2):
        k = layer.encode(x.T.contiguous().unsqueeze(1))[j]
        want = torch.relu(layer.weight[j] @ k + layer.bias[j]).T
        assert torch.allclose(out[:, 4 * j : 4 * j + 4], want, atol=1e-6)


def test_periodic_by_hand() -> None:
    layer = PeriodicEmbedding(1, 2, frequencies=1)
    with torch.no_grad():
        layer.frequencies.fill_(0.25)
    got = layer.encode(torch.tensor([[[1.0, 2.0]]]))[0]
    assert got.flatten().tolist() == pytest.approx([0.0, -1.0, 1.0, 0.0], abs=1e-6)
    assert layer.frequencies.requires_grad


@pytest.mark.parametrize("edges", [[0.0], [0.0, 0.0], [1.0, 0.0], [0.0, math.nan], [0.0, math.inf], []])
def test_edges_that_are_none(edges: list[float]) -> None:
    with pytest.raises(OptionError, match=r"bins\[1\] must be at least two ascending finite edges"):
        PiecewiseEmbedding([[0.0, 1.0], edges], 2)
