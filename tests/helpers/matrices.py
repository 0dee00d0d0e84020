"""Gradient rows of every kind a balancer can meet."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from torch import Tensor

SHAPES = ("gaussian", "conflict", "rank one", "rank half", "opposite", "equal", "zero rows", "all zero")
DTYPES = (torch.float32, torch.float64, torch.bfloat16)


def rows(m: int, n: int, shape: str = "gaussian", spread: float = 0.0, seed: int = 0) -> Tensor:
    """``[m, n]`` float64; row norms are spread over ``10**spread``, in random order."""
    g = torch.Generator().manual_seed(seed)
    base = torch.randn(m, n, generator=g, dtype=torch.float64)
    if shape == "conflict":  # every pair has a negative inner product, as far as n allows
        base = 0.01 * base + torch.eye(m, n, dtype=torch.float64)
        base[:, :m] -= 0.9 / max(m - 1, 1)
    elif shape in ("rank one", "rank half"):
        rank = 1 if shape == "rank one" else max(1, m // 2)
        base = torch.randn(m, rank, generator=g, dtype=torch.float64) @ base[:rank]
    elif shape == "opposite":
        base = base[:1] * torch.tensor([(-1.0) ** i for i in range(m)], dtype=torch.float64)[:, None]
    elif shape == "equal":
        base = base[:1].expand(m, n).clone()
    elif shape == "zero rows":
        base[::2] = 0
    elif shape == "all zero":
        base = torch.zeros(m, n, dtype=torch.float64)
    exponents = torch.linspace(0, spread, m, dtype=torch.float64)[torch.randperm(m, generator=g)]
    return base * 10.0 ** exponents[:, None]


@st.composite
def matrices(draw: st.DrawFn, most: int = 40, widest: int = 60) -> Tensor:
    """Rows of 1 to ``most`` tasks, norms within 1 : 1e6, in any dtype."""
    made = rows(
        draw(st.integers(1, most)),
        draw(st.integers(1, widest)),
        draw(st.sampled_from(SHAPES)),
        draw(st.sampled_from([0.0, 3.0, 6.0])),
        draw(st.integers(0, 2**16)),
    )
    return made.to(draw(st.sampled_from(DTYPES)))


@st.composite
def independent(draw: st.DrawFn, most: int = 40) -> Tensor:
    """Rows that are linearly independent beyond doubt, norms within 1 : 1e6, in any dtype."""
    m = draw(st.integers(1, most))
    made = rows(
        m,
        2 * m + draw(st.integers(0, 40)),
        draw(st.sampled_from(["gaussian", "conflict"])),
        draw(st.sampled_from([0.0, 3.0, 6.0])),
        draw(st.integers(0, 2**16)),
    )
    return made.to(draw(st.sampled_from(DTYPES)))
