"""The promise of several methods: no loss rises to first order, however short its gradient."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from torch import Tensor

from helpers.matrices import SHAPES, matrices, rows
from sharewise.balance import GramBalancer, create
from sharewise.balance._gram import gram_matrix

METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "mgda": ("mgda", {}),
    "mgda, l2": ("mgda", {"normalisation": "l2"}),
    "upgrad": ("upgrad", {}),
    "dualproj": ("dualproj", {}),
    "cagrad, c = 1": ("cagrad", {"c": 1.0}),
    "cagrad, c = 5": ("cagrad", {"c": 5.0}),
    "nashmtl": ("nashmtl", {}),
    "nashmtl, max_norm": ("nashmtl", {"max_norm": 1.0}),
    "fairgrad": ("fairgrad", {}),
    "fairgrad, alpha = 1/2": ("fairgrad", {"alpha": 0.5}),
}
RIDGE = 1e-12  # on the diagonal of the cosines; the methods' pages say so


def check(label: str, matrix: Tensor) -> None:
    name, options = METHODS[label]
    balancer = create(name, **options)
    assert isinstance(balancer, GramBalancer)
    weights = balancer.weights(gram_matrix([matrix]))
    wide = matrix.double()
    norms = wide.norm(dim=1)
    direction = weights @ wide
    # 1e-9 of |d| |g_k|, and where d is the small difference of long rows what the ridge and rounding leave
    allowed = 1e-9 * direction.norm() + 10 * RIDGE * (weights * norms).sum()
    assert bool((wide @ direction >= -allowed * norms).all())


@pytest.mark.parametrize("label", METHODS)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(matrix=matrices())
def test_no_row_conflicts_with_the_direction(label: str, matrix: Tensor) -> None:
    check(label, matrix)


@pytest.mark.parametrize("label", METHODS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_hundred_tasks(label: str, shape: str) -> None:
    check(label, rows(100, 150, shape, spread=6))
