"""How an operation's gradient for its weight factors, read from its graph node before anything is differentiated."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from ._factor import Factor, IndexFactor
from ._owned import pairs_pay
from ._uses import Use


@dataclass(frozen=True)
class Reading:
    """One use of a weight as a product.

    Args:
        node: the operation; the backward pass is to stop at its output.
        count, wide_in, wide_out: N, d_in and d_out of the use.
        inputs: gives A when called (and unpacks what a checkpoint has to recompute); for a convolution the unfolded
            input, channels last (see ``weight_shaped``).
        place: shows a buffer ``[m, N, d_out]`` in the shape of gradients of the output ``[m, ...]``.
        make: weight, A and D to a factor.
        layout: uses of one weight go into one factor if they agree in it.
    """

    node: Any
    count: int
    wide_in: int
    wide_out: int
    inputs: Callable[[], Tensor]
    place: Callable[[Tensor], Tensor]
    make: Callable[[Tensor, Tensor, Tensor], Factor] = Factor
    layout: tuple[Any, ...] = ()

    @property
    def edge(self) -> GradientEdge:
        """Where the backward pass stops."""
        return GradientEdge(self.node, 0)

    @property
    def transposed(self) -> bool:
        """Whether the weight is stored as ``[d_in, d_out]``."""
        return self.layout == ("product", True)


def read_uses(uses: Sequence[Use], weight: Tensor) -> list[Reading] | None:
    """All uses of a weight as products, or ``None`` if one of them is something else or they do not go together."""
    readings: list[Reading] = []
    for use in uses:
        reader = _READERS.get(use.node.name())
        reading = None if reader is None else reader(use, weight)
        if reading is None or (readings and reading.layout != readings[0].layout):
            return None
        readings.append(reading)
    return readings or None


def worthwhile(readings: Sequence[Reading], tasks: int, batches: int) -> bool:
    """Whether rows of a weight are cheaper kept as factors than formed.

    Forming costs ``m N d_in d_out`` products and ``m d_in d_out`` memory; factors ``N^2 (d_in + m d_out)`` for the
    Gram matrix and ``N d_in d_out`` for the combination, and ``m N d_out`` memory. (Counting products predicts which
    is faster: measured for linear layers and convolutions of 2 to 40 tasks.) N counts all uses and all batches to be
    accumulated. Entries of an embedding are only picked: there N is compared with their number.
    """
    first = readings[0]
    count = batches * sum(r.count for r in readings)
    if first.layout[0] == "embedding":
        return count < first.wide_in
    formed = first.wide_in * first.wide_out
    return count * (first.wide_in + tasks * first.wide_out) + formed < tasks * formed


def written_in_place(readings: Sequence[Reading]) -> bool:
    """Whether a row is better written as the product of outputs and inputs than left to autograd and copied.

    Where the weight is larger than its batch; elsewhere the copy is small, and autograd frees inputs in time.
    """
    first = readings[0]
    return first.layout[0] == "product" and sum(r.count for r in readings) <= first.wide_out


def worthwhile_apart(readings: Sequence[Reading], tasks: int, batches: int) -> bool:
    """:func:`worthwhile` where every example belongs to one task: see :func:`pairs_pay`."""
    first = readings[0]
    count = batches * sum(r.count for r in readings)
    if first.layout[0] == "embedding":
        return count < first.wide_in
    return pairs_pay(count**2, tasks, first.wide_in, first.wide_out)


def begin_factor(weight: Tensor, readings: Sequence[Reading], tasks: int) -> tuple[Factor, list[Tensor]]:
    """A factor with room for the rows of so many tasks, and for each reading the view its gradients go to."""
    first = readings[0]
    counts = [r.count for r in readings]
    parts = [r.inputs().detach() for r in readings]
    inputs = parts[0] if len(parts) == 1 else torch.cat(parts)
    output = first.node._input_metadata[0]
    outputs = torch.empty(tasks, sum(counts), first.wide_out, dtype=output.dtype, device=output.device)
    views = [r.place(piece) for r, piece in zip(readings, outputs.split(counts, dim=1), strict=True)]
    return first.make(weight, inputs, outputs), views


def _read_product(use: Use, weight: Tensor) -> Reading | None:
    """``input @ weight`` or ``input @ weight.T``, with or without a bias added."""
    node = use.node
    with_bias = node.name() == "AddmmBackward0"
    if use.slot != (2 if with_bias else 1) or (with_bias and node._saved_alpha != 1):
        return None
    stored_in = not use.transposed  # the weight lies as [d_in, d_out]
    wide_out, wide_in = reversed(weight.shape) if stored_in else weight.shape
    return Reading(
        node,
        _output_shape(node)[0],
        wide_in,
        wide_out,
        lambda: node._saved_mat1 if with_bias else node._saved_self,
        lambda buffer: buffer,
        partial(Factor, transposed=stored_in),
        ("product", stored_in),
    )


def _read_convolution(use: Use, weight: Tensor) -> Reading | None:
    """One- and two-dimensional convolutions in one group: a product with the unfolded input."""
    node = use.node
    if use.slot != 1 or use.transposed or node._saved_groups != 1 or node._saved_transposed or weight.dim() > 4:
        return None
    batch, channels, *space = _output_shape(node)

    def place(buffer: Tensor) -> Tensor:
        return buffer.view(len(buffer), batch, math.prod(space), channels).transpose(2, 3).unflatten(3, space)

    return Reading(
        node,
        batch * math.prod(space),
        math.prod(weight.shape[1:]),
        channels,
        partial(_unfold, node, tuple(weight.shape[2:]), tuple(space)),
        place,
        layout=("convolution",),
    )


def _unfold(node: Any, kernel: tuple[int, ...], space: tuple[int, ...]) -> Tensor:
    """The input a convolution sees at each place of its output: ``[images * places, kernel * channels]``.

    Whole runs of channels are copied: several times faster than ``torch.nn.functional.unfold``.
    """
    images = node._saved_input.detach().movedim(1, -1)  # [B, *sizes, channels]
    count, *sizes, channels = images.shape
    pads, strides, dilations = node._saved_padding, node._saved_stride, node._saved_dilation
    padded = images.new_zeros(count, *(n + 2 * pad for n, pad in zip(sizes, pads, strict=True)), channels)
    inner = padded
    for axis, (n, pad) in enumerate(zip(sizes, pads, strict=True)):
        inner = inner.narrow(axis + 1, pad, n)
    inner.copy_(images)
    first, *steps, last = padded.stride()
    windows = padded.as_strided(
        (count, *space, *kernel, channels),
        (
            first,
            *(step * by for step, by in zip(steps, strides, strict=True)),
            *(step * by for step, by in zip(steps, dilations, strict=True)),
            last,
        ),
    )
    return windows.reshape(count * math.prod(space), -1)


def _read_embedding(use: Use, weight: Tensor) -> Reading | None:
    node = use.node
    if use.transposed or node._saved_scale_grad_by_freq or node._saved_sparse:
        return None
    shape, padding = _output_shape(node), int(node._saved_padding_idx)
    padding = padding if padding < len(weight) else -1  # "none" is stored as the largest unsigned number
    return Reading(
        node,
        math.prod(shape[:-1]),
        len(weight),
        weight.shape[1],
        lambda: node._saved_indices.flatten(),
        lambda buffer: buffer.view(len(buffer), *shape),
        partial(IndexFactor, padding=padding),
        ("embedding", padding),
    )


_READERS: dict[str, Callable[[Use, Tensor], Reading | None]] = {
    "AddmmBackward0": _read_product,
    "MmBackward0": _read_product,
    "ConvolutionBackward0": _read_convolution,
    "EmbeddingBackward0": _read_embedding,
}


def _output_shape(node: Any) -> list[int]:
    return list(node._input_metadata[0].shape)
