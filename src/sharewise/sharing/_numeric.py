"""Embeddings of numbers: every column is turned into a small vector before the first shared layer.

All columns are embedded at once, in the layout ``[p, B, ...]``: one batched product instead of a loop over columns.

References:
    [G] Gorishniy, Rubachev, Babenko. On Embeddings for Numerical Features in Tabular Deep Learning. NeurIPS 2022.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import OptionError


class ColumnLinear(nn.Module):
    """A linear layer of its own for each of p columns: ``[p, B, k]`` -> ``[p, B, d]``."""

    def __init__(self, columns: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(columns, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(columns, 1, outputs).uniform_(-bound, bound))

    def forward(self, values: Tensor) -> Tensor:
        """``[p, B, k]`` -> ``[p, B, d]``."""
        return torch.baddbmm(self.bias, values, self.weight)


class NumericEmbedding(nn.Module):
    """Embeds p columns of numbers: ``[B, p]`` -> ``[B, p * d]``, after a ReLU ("LR" in [G]).

    Derived classes say in :meth:`encode` what a number is turned into before its column's linear layer.
    """

    def __init__(self, columns: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = ColumnLinear(columns, inputs, outputs)

    def encode(self, columns: Tensor) -> Tensor:
        """``[p, B, 1]`` -> ``[p, B, k]``."""
        raise NotImplementedError

    def forward(self, numbers: Tensor) -> Tensor:
        """``[B, p]`` -> ``[B, p * d]``."""
        embedded = F.relu(self.linear(self.encode(numbers.T.unsqueeze(2))))
        return embedded.transpose(0, 1).flatten(1)


class LinearEmbedding(NumericEmbedding):
    """The number itself: ``relu(w x + b)``, a vector w and b for each column ("LR" in [G])."""

    def __init__(self, columns: int, outputs: int) -> None:
        super().__init__(columns, 1, outputs)

    def encode(self, columns: Tensor) -> Tensor:
        """The numbers as they are."""
        return columns


class PiecewiseEmbedding(NumericEmbedding):
    """Piecewise-linear encoding in bins ([G], equation 1; "Q-LR"), then a linear layer and a ReLU.

    For a column with edges ``b_0 < ... < b_T`` entry t is ``(x - b_{t-1}) / (b_t - b_{t-1})``, cut to [0, 1], but
    not cut below in the first bin nor above in the last one. Columns with fewer bins than others are padded with
    entries that are always 0.

    Args:
        bins: for each column its ascending edges, at least two.
        outputs: d.
    """

    def __init__(self, bins: Sequence[Sequence[float]], outputs: int) -> None:
        count = max(len(edges) - 1 for edges in bins)
        super().__init__(len(bins), count, outputs)
        left, factor = torch.zeros(len(bins), 1, count), torch.zeros(len(bins), 1, count)
        low, high = torch.zeros(len(bins), 1, count), torch.zeros(len(bins), 1, count)
        for j, edges in enumerate(bins):
            cuts = torch.tensor(list(edges), dtype=torch.float64)
            widths = cuts.diff()
            if len(cuts) < 2 or not bool(cuts.isfinite().all()) or bool((widths <= 0).any()):
                raise OptionError(f"bins[{j}] must be at least two ascending finite edges, got {list(edges)[:6]}")
            own = len(widths)
            left[j, 0, :own], factor[j, 0, :own] = cuts[:-1].float(), (1 / widths).float()
            high[j, 0, :own] = 1.0
            low[j, 0, 0], high[j, 0, own - 1] = -math.inf, math.inf
        # Fixed numbers, known from the settings: not part of the state.
        for name, value in (("left", left), ("factor", factor), ("low", low), ("high", high)):
            self.register_buffer(name, value, persistent=False)

    left: Tensor
    factor: Tensor
    low: Tensor
    high: Tensor

    def encode(self, columns: Tensor) -> Tensor:
        """``[p, B, 1]`` -> ``[p, B, T]``."""
        return ((columns - self.left) * self.factor).clamp(self.low, self.high)


class PeriodicEmbedding(NumericEmbedding):
    """``cos(2 pi c x)`` and ``sin(2 pi c x)`` with learned frequencies c ([G], equation 3; "PLR").

    Args:
        columns: p.
        outputs: d.
        frequencies: for each column.
        sigma: standard deviation of the frequencies at the start; the setting that matters most.
    """

    def __init__(self, columns: int, outputs: int, frequencies: int = 16, sigma: float = 0.1) -> None:
        super().__init__(columns, 2 * frequencies, outputs)
        self.frequencies = nn.Parameter(torch.randn(columns, 1, frequencies) * sigma)

    def encode(self, columns: Tensor) -> Tensor:
        """``[p, B, 1]`` -> ``[p, B, 2 k]``."""
        angles = columns * (2 * math.pi * self.frequencies)
        return torch.cat([angles.cos(), angles.sin()], dim=2)
