"""Gradient rows of a weight kept as products, never formed: what makes the ``gram`` mode cheap.

The gradient of task t for the weight of a linear layer is ``D_t^T A``: ``A [N, d_in]`` holds the layer's inputs,
``D_t [N, d_out]`` the gradients of the task's loss with respect to its outputs. With ``K = A A^T``

    <D_s^T A, D_t^T A> = sum(D_s * (K D_t)),        sum_t w_t D_t^T A = (sum_t w_t D_t)^T A,

so neither the Gram matrix nor the balanced gradient needs any product of the weight's size for a single task, and a
backward pass that stops at ``D_t`` never forms one. (That inner products of gradients factor this way is used for
norms of per-example gradients by Goodfellow, "Efficient Per-Example Gradient Computations", 2015.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ._gram import inner_products, weighted_sum, widened


@dataclass
class Factor:
    """Rows of one weight: ``outputs [m, N, d_out]`` and ``inputs [N, d_in]``; row t is ``outputs[t]^T inputs``.

    ``transposed``: the weight is stored as ``[d_in, d_out]``. Cost of the Gram matrix: ``N^2 (d_in + m d_out)`` and
    ``m^2 N d_out``; of a combination ``N d_out (m + d_in)``. Memory ``(m + 1) N d_out`` beside the inputs, which the
    forward pass has kept.
    """

    weight: Tensor
    inputs: Tensor
    outputs: Tensor
    transposed: bool = False

    @property
    def tasks(self) -> int:
        """How many rows."""
        return len(self.outputs)

    def gram(self, other: Factor, dtype: torch.dtype) -> Tensor:
        """Inner products ``[m, m']`` (float64) with the rows of another batch for the same weight."""
        kernel = widened(self.inputs, dtype) @ widened(other.inputs, dtype).T
        return inner_products(
            widened(self.outputs, dtype).flatten(1), (kernel @ widened(other.outputs, dtype)).flatten(1)
        )

    def combine(self, weights: Tensor) -> Tensor:
        """``sum_t weights[t] row_t``, shaped like the weight."""
        mixed = weighted_sum(weights, self.outputs.flatten(1), wide=True).unflatten(0, self.outputs.shape[1:])
        inputs = self.inputs.to(mixed)
        found = inputs.T @ mixed if self.transposed else mixed.T @ inputs
        return weight_shaped(found, self.weight).to(self.weight)

    def formed(self) -> Tensor:
        """The rows themselves ``[m, numel]``."""
        outputs = widened(self.outputs, torch.float32)
        rows = outputs.transpose(1, 2) @ self.inputs.to(outputs)
        return weight_shaped(rows.transpose(1, 2) if self.transposed else rows, self.weight).flatten(1).to(self.weight)

    def select(self, keep: Sequence[int]) -> Factor:
        """The rows at these positions; -1 stands for a row of zeros."""
        return replace(self, outputs=take(self.outputs, keep))

    def extend(self, other: Factor) -> Factor:
        """The sum of these rows and those of another batch: more examples of the same tasks."""
        inputs = torch.cat([self.inputs, other.inputs.to(self.inputs)])
        outputs = torch.cat([self.outputs, other.outputs.to(self.outputs)], dim=1)
        return replace(self, inputs=inputs, outputs=outputs)

    def finite(self, task: int) -> bool:
        """Whether all entries of a task's row are finite, as far as its factors tell."""
        return bool(torch.isfinite(self.outputs[task]).all()) and bool(torch.isfinite(self.inputs).all())


@dataclass
class IndexFactor(Factor):
    """Rows of an embedding: ``inputs [N]`` are indices; the row of entry v is the sum of the outputs of v's places.

    The entry ``padding``, if any, has no gradient. Cost of the Gram matrix ``m N d + m^2 u d`` for u different indices.
    """

    padding: int = -1

    def gram(self, other: Factor, dtype: torch.dtype) -> Tensor:
        """See :meth:`Factor.gram`."""
        known, places = torch.unique(torch.cat([self.inputs, other.inputs]), return_inverse=True)
        sums = []
        for part, where in ((self, places[: len(self.inputs)]), (other, places[len(self.inputs) :])):
            outputs = widened(part.outputs, dtype)
            empty = outputs.new_zeros(len(outputs), len(known), outputs.shape[2])
            rows = empty.index_add_(1, where, outputs)
            sums.append(rows.masked_fill_((known == self.padding)[:, None], 0).flatten(1))
        return inner_products(*sums)

    def combine(self, weights: Tensor) -> Tensor:
        """See :meth:`Factor.combine`."""
        mixed = weighted_sum(weights, self.outputs.flatten(1), wide=True).unflatten(0, self.outputs.shape[1:])
        return self._placed(mixed[None])[0].to(self.weight)

    def formed(self) -> Tensor:
        """See :meth:`Factor.formed`."""
        return self._placed(self.outputs).flatten(1).to(self.weight)

    def _placed(self, outputs: Tensor) -> Tensor:
        """Outputs ``[k, N, d]`` added up where their entries are: ``[k, entries, d]``."""
        empty = outputs.new_zeros(len(outputs), *self.weight.shape)
        placed = empty.index_add_(1, self.inputs, outputs)
        if self.padding >= 0:
            placed[:, self.padding] = 0
        return placed

    def finite(self, task: int) -> bool:
        """See :meth:`Factor.finite`."""
        return bool(torch.isfinite(self.outputs[task]).all())


def weight_shaped(product: Tensor, weight: Tensor) -> Tensor:
    """A product of outputs and inputs ``[*, d_out, d_in]`` as the weight lies, ``[*, *weight.shape]``.

    Inputs of a convolution have the places of its kernel first and the channels last, as they are unfolded fastest.
    """
    if weight.dim() == 2:
        return product
    wide_out, channels, *kernel = weight.shape
    return product.reshape(*product.shape[:-2], wide_out, *kernel, channels).movedim(-1, -1 - len(kernel))


def take(rows: Tensor, keep: Sequence[int]) -> Tensor:
    """``rows[keep]``, with zeros where -1 is asked for."""
    places = torch.tensor(list(keep), dtype=torch.long, device=rows.device)
    found = rows[places.clamp_min(0)]
    missing = places < 0
    return found.masked_fill_(missing.view(-1, *[1] * (rows.dim() - 1)), 0) if -1 in keep else found
