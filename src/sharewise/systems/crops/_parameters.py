"""Bounded parameters of a biophysical model, and the casts that keep a network's output inside the bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import OptionError


@dataclass(frozen=True)
class Parameter:
    """One calibrated parameter: its name, the range it may take, and the value of the stock model."""

    name: str
    low: float
    high: float
    stock: float
    unit: str


class ParameterBox:
    """The ranges of all calibrated parameters of a model, in a fixed order.

    Args:
        parameters: at least one; every range must have ``low < high``. Stock values may lie outside the
            range (the stock TSUMEM of the grape model does).

    Raises:
        OptionError: for an empty list, a repeated name or an empty range.
    """

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        names = [p.name for p in parameters]
        if not names or len(set(names)) < len(names):
            raise OptionError(f"parameter names must be distinct and not empty, found {names}")
        for p in parameters:
            if not p.low < p.high:
                raise OptionError(f'parameter "{p.name}": the range needs low < high, found [{p.low}, {p.high}]')
        self.names = tuple(names)
        self.low = torch.tensor([p.low for p in parameters], dtype=torch.float64)
        self.high = torch.tensor([p.high for p in parameters], dtype=torch.float64)
        self.stock = torch.tensor([p.stock for p in parameters], dtype=torch.float64)

    def __len__(self) -> int:
        return len(self.names)

    def cast(self, raw: Tensor) -> Tensor:
        """``low + (tanh(raw) + 1) (high - low) / 2``: raw ``[..., P]`` of any size to values in the ranges."""
        half = (0.5 * (self.high - self.low)).to(raw)
        return (self.low.to(raw) + half).addcmul(torch.tanh(raw), half)

    def smooth(self, raw: Tensor, previous: Tensor, scale: float) -> Tensor:
        """The smoothed cast: yesterday's values plus at most ``scale`` half-ranges, kept in the ranges.

        ``clamp(previous + scale tanh(raw) (high - low) / 2, low, high)``, all ``[..., P]``.
        """
        half = (0.5 * scale * (self.high - self.low)).to(raw)
        return torch.clamp(torch.addcmul(previous, torch.tanh(raw), half), self.low.to(raw), self.high.to(raw))

    def uncast(self, values: Tensor, margin: float = 0.05) -> Tensor:
        """The raw output that :meth:`cast` turns into ``values``; values are first moved ``margin`` inside."""
        low, high = self.low.to(values), self.high.to(values)
        share = ((values - low) / (high - low)).clamp(margin, 1 - margin)
        return torch.atanh(2 * share - 1)

    def clip(self, values: Tensor) -> Tensor:
        """``values`` moved to the nearest point of the ranges."""
        return torch.clamp(values, self.low.to(values), self.high.to(values))
