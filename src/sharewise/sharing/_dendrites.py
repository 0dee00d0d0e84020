"""Neurons that the task's context gates: active dendrites."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from ..errors import ModelError, OptionError, nearest

GateMode = Literal["scalar", "per_neuron"]
Select = Literal["max", "absolute"]


class ActiveDendriteGate(nn.Module):
    """Scales what a layer of neurons receives by what its dendrites make of the context: ``x * sigmoid(a)``.

    Each dendrite has ``segments``, each segment a weight for every component of the context. With a one-hot context
    the active task reads, and trains, only its own weights.

    ============== ========================================== =====================================================
    ``mode``       weights                                    gate
    ============== ========================================== =====================================================
    ``scalar``     ``[contexts, segments]``, one dendrite     one number for the whole layer, as in SwitchMT's
                                                              released code
    ``per_neuron`` ``[contexts, width, segments]``            one number a neuron, as SwitchMT's text and the papers
                                                              on active dendrites say
    ============== ========================================== =====================================================

    ``a`` is the response of the segment with the largest response (``select="max"``), or with the largest absolute one,
    its sign kept (``"absolute"``; Iyer et al., "Avoiding Catastrophe", Frontiers in Neurorobotics, 2022). Weights start
    from a standard normal distribution.

    Args:
        contexts: size of the context; with one-hot contexts the number of tasks.
        width: neurons of the layer. segments: of a dendrite.

    Source: Putra, Devkota, Shafique, "SwitchMT", 2025 (arXiv 2504.13541), and its released code.
    """

    def __init__(
        self,
        contexts: int,
        width: int,
        *,
        segments: int = 1,
        mode: GateMode = "scalar",
        select: Select = "max",
    ) -> None:
        super().__init__()
        for option, value in (("contexts", contexts), ("width", width), ("segments", segments)):
            if not isinstance(value, int) or value < 1:
                raise OptionError(f"{option} must be a whole number of at least 1, got {value!r}")
        if mode not in ("scalar", "per_neuron"):
            raise OptionError(f'no mode "{mode}" of a gate: {nearest(mode, ("scalar", "per_neuron"))}')
        if select not in ("max", "absolute"):
            raise OptionError(f'no select "{select}": {nearest(select, ("max", "absolute"))}')
        self.contexts, self.width, self.mode, self.select = contexts, width, mode, select
        shape = (contexts, segments) if mode == "scalar" else (contexts, width, segments)
        self.weight = nn.Parameter(torch.randn(shape))

    def gate(self, context: Tensor) -> Tensor:
        """Context ``[B, contexts]`` -> gates in (0, 1): ``[B, 1]`` (scalar) or ``[B, width]``."""
        if context.dim() != 2 or context.shape[1] != self.contexts:
            raise ModelError(f"the context has shape {list(context.shape)}, expected [B, {self.contexts}]")
        responses = torch.tensordot(context, self.weight, dims=1)
        if self.select == "max":
            strongest = responses.max(-1).values
        else:
            strongest = responses.gather(-1, responses.abs().argmax(-1, keepdim=True)).squeeze(-1)
        return torch.sigmoid(strongest.reshape(len(context), -1))

    def forward(self, currents: Tensor, context: Tensor) -> Tensor:
        """Currents ``[..., B, width]`` and contexts ``[B, contexts]`` -> gated currents of the same shape."""
        return currents * self.gate(context)

    def extra_repr(self) -> str:
        """Options, as ``print(module)`` shows them."""
        return f"contexts={self.contexts}, width={self.width}, mode={self.mode}, select={self.select}"
