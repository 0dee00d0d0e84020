"""Spiking neurons unrolled over time: leaky integrate-and-fire, and its limit without a leak."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ..errors import OptionError, nearest

Backend = Literal["fused", "snntorch"]
BACKENDS: tuple[Backend, ...] = ("fused", "snntorch")


class LIF(nn.Module):
    """Leaky integrate-and-fire neurons: currents ``[T, B, ...]`` in, spikes of the same shape out (0 or 1).

    From rest, ``u = (1 - 1/tau) v + I/tau`` in each step; where ``u > threshold`` a spike is fired and the potential
    ``v`` starts again from 0, elsewhere ``v = u``. A call begins at rest and leaves nothing behind, so that the same
    currents give the same spikes whatever came before.

    The spike has no useful derivative; in its place stands that of ``sigmoid(slope (u - threshold))``. The reset is
    held constant in the backward pass, as in snnTorch (SpikingJelly's default lets it through).

    Args:
        tau: time constant in steps, above 1. threshold: potential above which a neuron fires.
        slope: of the sigmoid whose derivative stands in for the spike's.
        backend: ``fused``, one autograd node for all steps; or ``snntorch``, that package's ``Leaky`` step by step
            (extra ``robots``). Spikes are the same, gradients agree to rounding; a network of 400 neurons takes 0.43
            times as long to train and 0.31 times as long to ask with the fused ones.

    Source: the neurons of SwitchMT's released code (SpikingJelly's ``LIFNode``: tau 2, threshold 1, hard reset to 0,
    sigmoid of slope 4), which fires at the threshold, not above it. Memory: potentials and spikes, ``2 T B n`` numbers.
    """

    def __init__(
        self, tau: float = 2.0, *, threshold: float = 1.0, slope: float = 4.0, backend: Backend = "fused"
    ) -> None:
        if not (math.isfinite(tau) and tau > 1):
            raise OptionError(f"tau must be a finite number above 1, got {tau}: without a leak use IF")
        self._build(1 - 1 / tau, 1 / tau, threshold, slope, backend)

    def _build(self, decay: float, gain: float, threshold: float, slope: float, backend: Backend) -> None:
        super().__init__()
        for option, value in (("threshold", threshold), ("slope", slope)):
            if not (math.isfinite(value) and value > 0):
                raise OptionError(f"{option} must be a finite number above 0, got {value}")
        if backend not in BACKENDS:
            raise OptionError(f'no backend "{backend}": {nearest(backend, BACKENDS)}')
        self.decay, self.gain, self.threshold, self.slope, self.backend = decay, gain, threshold, slope, backend
        self.step: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = (
            None if backend == "fused" else _snntorch_neuron(decay, threshold, slope)
        )

    def forward(self, current: Tensor) -> Tensor:
        """Currents ``[T, B, ...]`` -> spikes of the same shape and dtype."""
        if self.step is None:
            return cast(Tensor, _Fire.apply(current, self.decay, self.gain, self.threshold, self.slope))
        spikes, potential = [], torch.zeros_like(current[0])
        for now in current * self.gain:
            fired, potential = self.step(now, potential)
            spikes.append(fired)
        _forget(self.step)
        return torch.stack(spikes)

    def extra_repr(self) -> str:
        """Options, as ``print(module)`` shows them."""
        return f"decay={self.decay:g}, gain={self.gain:g}, threshold={self.threshold:g}, backend={self.backend}"


class IF(LIF):
    """Integrate-and-fire neurons, :class:`LIF` without a leak: ``u = v + I``."""

    def __init__(self, *, threshold: float = 1.0, slope: float = 4.0, backend: Backend = "fused") -> None:
        self._build(1.0, 1.0, threshold, slope, backend)


class _Fire(torch.autograd.Function):
    """All steps of one layer in one node: a third of the graph's elementwise work, and no graph over time."""

    @staticmethod
    def forward(ctx: Any, current: Tensor, decay: float, gain: float, threshold: float, slope: float) -> Tensor:
        potentials = current * gain
        spikes = torch.empty_like(potentials)
        for t, potential in enumerate(potentials):
            if t:
                potential.addcmul_(potentials[t - 1], 1 - spikes[t - 1], value=decay)
            spikes[t] = potential > threshold
        ctx.save_for_backward(potentials, spikes)
        ctx.constants = decay, gain, threshold, slope
        return spikes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        potentials, spikes = ctx.saved_tensors
        decay, gain, threshold, slope = ctx.constants
        likely = torch.sigmoid((potentials - threshold) * slope)
        found = likely.mul(1 - likely).mul_(slope) * gradient
        for t in range(len(found) - 2, -1, -1):
            found[t].addcmul_(found[t + 1], 1 - spikes[t], value=decay)
        return found * gain, None, None, None, None


def _snntorch_neuron(decay: float, threshold: float, slope: float) -> nn.Module:
    try:
        import snntorch
    except ModuleNotFoundError as error:
        raise OptionError(
            f'backend "snntorch" needs the package {error.name}: pip install "sharewise[robots]", or use "fused"'
        ) from None
    # Its own sigmoid surrogate overflows to NaN far below the threshold (slope 4: at potentials under about -21).
    spike = partial(_spike, slope=slope)
    neuron = snntorch.Leaky(beta=decay, threshold=threshold, reset_mechanism="zero", spike_grad=spike)
    # snnTorch lists every neuron for as long as the process lives; ours are reset here and may go with their network.
    snntorch.SpikingNeuron.instances.remove(neuron)
    return neuron


def _spike(above: Tensor, slope: float) -> Tensor:
    """1 where a potential lies above the threshold, given by how much it does."""
    return cast(Tensor, _Fire.apply(above.unsqueeze(0), 1.0, 1.0, 0.0, slope))[0]


def _forget(neuron: Any) -> None:
    """Drop the potential that a snnTorch neuron keeps, and with it the graph that hangs on it."""
    neuron.mem = torch.zeros(0, device=neuron.mem.device)
