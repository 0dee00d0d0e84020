"""What a spiking network does for one inference, counted: a proxy for energy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Activity:
    """Per observation, all simulated steps together.

    Attributes:
        spike_rate: share of neurons and steps that fire.
        rates: the same for each layer of neurons, from the input on.
        synaptic_operations: additions caused by spikes, one for each weight that a spike meets. Layers behind spikes
            are counted; the first one, which meets frames instead of spikes, is in ``dense_operations`` alone.
        dense_operations: multiplications and additions of one pass through the same layers without spikes, in which
            every weight is met once wherever it is applied.
    """

    spike_rate: float
    rates: tuple[float, ...]
    synaptic_operations: float
    dense_operations: float

    @classmethod
    def of(cls, spikes: Sequence[Tensor], sparse: Sequence[float], dense: float) -> Activity:
        """From the spikes ``[T, B, ...]`` of each layer."""
        total = sum(float(s.sum()) for s in spikes)
        return cls(
            spike_rate=total / sum(s.numel() for s in spikes),
            rates=tuple(float(s.mean()) for s in spikes),
            synaptic_operations=sum(sparse),
            dense_operations=dense,
        )


def linear_operations(layer: nn.Linear, spikes: Tensor) -> float:
    """Weights met by spikes ``[T, B, n]`` per observation."""
    return float(spikes.sum()) * layer.out_features / spikes.shape[1]


def convolution_operations(layer: nn.Conv2d, spikes: Tensor) -> float:
    """Weights met by spikes ``[T, B, c, h, w]`` per observation; those at the border meet fewer."""
    over_channels = spikes.sum((0, 2)).unsqueeze(1)
    ones = torch.ones(1, 1, *layer.kernel_size, dtype=spikes.dtype, device=spikes.device)
    met = F.conv2d(over_channels, ones, stride=layer.stride)
    return float(met.sum()) * layer.out_channels / spikes.shape[1]


def dense_operations(network: nn.Module, *inputs: Any) -> float:
    """Multiply-adds of one pass through the convolutions and linear layers, each applied to one step of one input."""
    counts: list[float] = []

    def count(layer: nn.Module, _: Any, output: Tensor) -> None:
        if isinstance(layer, nn.Conv2d):
            counts.append(layer.weight.numel() * output.shape[-1] * output.shape[-2])
        elif isinstance(layer, nn.Linear):
            counts.append(layer.weight.numel())

    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    training = network.training
    network.eval()
    network(*inputs)
    network.train(training)
    for hook in hooks:
        hook.remove()
    return float(sum(counts))
