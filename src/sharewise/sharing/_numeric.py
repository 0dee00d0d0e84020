"""Embeddings of numbers: every column is turned into a small vector before the first shared layer.

All columns are embedded at once, by one batched product instead of a loop over columns, in the layout
``[p, ..., B]``: with the examples innermost, steps that differ by column run over contiguous numbers.

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


class NumericEmbedding(nn.Module):
    """Embeds p columns of numbers: ``[B, p]`` -> ``[B, p * d]``, after a ReLU ("LR" in [G]).

    Every column has a linear layer of its own, from the k numbers that :meth:`encode` makes of one to d.
    """

    def __init__(self, columns: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(columns, outputs, inputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(columns, outputs, 1).uniform_(-bound, bound))

    def encode(self, columns: Tensor) -> Tensor:
        """``[p, 1, B]`` -> ``[p, k, B]``."""
        raise NotImplementedError

    def forward(self, numbers: Tensor) -> Tensor:
        """``[B, p]`` -> ``[B, p * d]``."""
        encoded = self.encode(numbers.T.contiguous().unsqueeze(1))
        return F.relu(torch.baddbmm(self.bias, self.weight, encoded)).flatten(0, 1).T


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
        left, factor = torch.zeros(len(bins), count, 1), torch.zeros(len(bins), count, 1)
        low, high = torch.zeros(len(bins), count, 1), torch.zeros(len(bins), count, 1)
        for j, edges in enumerate(bins):
            cuts = torch.tensor(list(edges), dtype=torch.float64)
            widths = cuts.diff()
            if len(cuts) < 2 or not bool(cuts.isfinite().all()) or bool((widths <= 0).any()):
                raise OptionError(f"bins[{j}] must be at least two ascending finite edges, got {list(edges)[:6]}")
            own = len(widths)
            left[j, :own, 0], factor[j, :own, 0] = cuts[:-1].float(), (1 / widths).float()
            high[j, :own, 0] = 1.0
            low[j, 0, 0], high[j, own - 1, 0] = -math.inf, math.inf
        # Fixed numbers, known from the settings: not part of the state.
        for name, value in (("left", left), ("factor", factor), ("low", low), ("high", high)):
            self.register_buffer(name, value, persistent=False)

    left: Tensor
    factor: Tensor
    low: Tensor
    high: Tensor

    def encode(self, columns: Tensor) -> Tensor:
        """``[p, 1, B]`` -> ``[p, T, B]``."""
        scaled = (columns - self.left).mul_(self.factor)
        # two steps: clamping between two tensors is several times slower on CPUs
        return torch.minimum(torch.maximum(scaled, self.low), self.high)


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
        self.frequencies = nn.Parameter(torch.randn(columns, frequencies, 1) * sigma)

    def encode(self, columns: Tensor) -> Tensor:
        """``[p, 1, B]`` -> ``[p, 2 k, B]``."""
        angles = columns * (2 * math.pi * self.frequencies)
        return torch.cat([angles.cos(), angles.sin()], dim=1)
