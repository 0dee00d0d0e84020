"""The encoders of the merging benchmarks; layers are numbered, so that methods know a layer's depth."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Perceptron(nn.Module):
    """Dense layers with a ReLU after each: ``[n, ...]`` flattened -> ``[n, widths[-1]]``."""

    def __init__(self, inputs: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        sizes = (inputs, *widths)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, widths, strict=False))
        self.width = widths[-1]

    def forward(self, inputs: Tensor) -> Tensor:
        """Features, none negative."""
        hidden = inputs.flatten(1)
        for layer in self.layers:
            hidden = torch.relu(layer(hidden))
        return hidden
