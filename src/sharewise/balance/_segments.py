"""Rows formed from the gradients of operations' outputs, each place of which belongs to one task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ._factor import Factor
from ._owned import OwnedFactor
from ._owners import Owners
from ._reading import Reading, begin_factor
from ._sinks import add_products
from ._uses import Use


class Output(NamedTuple):
    """Gradient of an operation's output as ``[P, *rest]``, and whose each of the P places is."""

    gradient: Tensor
    owners: Owners


def as_places(node: Any, gradient: Tensor) -> Tensor:
    """The gradient as ``[P, *rest]``: examples for a convolution, else all axes but the last."""
    if node.name() == "ConvolutionBackward0" or gradient.dim() < 2:
        return gradient
    return gradient.reshape(-1, gradient.shape[-1])


def owned_factor(weight: Tensor, readings: Sequence[Reading], outputs: Sequence[Output], tasks: int) -> OwnedFactor:
    """The rows of a weight as products."""
    flat = [_flat(r, out) for r, out in zip(readings, outputs, strict=True)]
    inputs = _joined([r.inputs().detach() for r in readings])
    gradients, owners = _joined([f.gradient for f in flat]), _joined([f.owners.of for f in flat])
    return OwnedFactor(weight, inputs, gradients, owners, tasks, readings[0].transposed)


def picked_factor(weight: Tensor, readings: Sequence[Reading], outputs: Sequence[Output], tasks: int) -> Factor:
    """Rows of an embedding with more entries than the batch has words: each word's gradient in its task's row."""
    factor, views = begin_factor(weight, readings, tasks)
    for view, out in zip(views, outputs, strict=True):
        mine = out.owners.of == torch.arange(tasks, device=out.gradient.device)[:, None]
        view.copy_((out.gradient * mine[..., None]).view_as(view))
    return factor


@torch.no_grad()
def form_product(view: Tensor, readings: Sequence[Reading], outputs: Sequence[Output]) -> None:
    """The rows of a weight ``[m, *shape]``: the product of each task's own places, written in place.

    Those of a convolution lie with channels last (``Rows.channels_last``).
    """
    begun: set[int] = set()
    for reading, out in zip(readings, outputs, strict=True):
        add_products(view, _pieces(_flat(reading, out), reading.inputs().detach()), reading, begun)
    for t in set(range(len(view))) - begun:
        view[t].zero_()


def _pieces(out: Output, inputs: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
    """``(task, outputs [N_t, d_out], inputs [N_t, d_in])``, several times for a task whose places lie apart.

    Adding to a row once more costs its entries; where that is more than copying all places, they are sorted first.
    """
    gradient, owners = out
    tasks, counts = owners.runs
    wide_out, wide_in = gradient.shape[1], inputs.shape[1]
    if (len(tasks) - len(set(tasks))) * wide_out * wide_in > len(owners) * (wide_out + wide_in):
        gradient, inputs = gradient.index_select(0, owners.order), inputs.index_select(0, owners.order)
        tasks, counts = owners.sorted_runs
    return zip(tasks, gradient.split(counts), inputs.split(counts), strict=True)


@torch.no_grad()
def form_others(view: Tensor, uses: Sequence[Use], outputs: Sequence[Output]) -> None:
    """The rows ``[m, *shape]`` of a parameter that is used in some other way."""
    view.zero_()
    for use, out in zip(uses, outputs, strict=True):
        rows = _rows(use, out, view)
        view += (rows.transpose(1, 2) if use.transposed else rows).reshape(view.shape).to(view)


def _flat(reading: Reading, out: Output) -> Output:
    """A product's output as ``[N, d_out]`` with the owner of each of the N."""
    if reading.layout[0] == "product":
        return out
    flat = out.gradient.new_empty(1, reading.count, reading.wide_out)
    shown = reading.place(flat)
    shown.copy_(out.gradient.view_as(shown))
    return Output(flat[0], out.owners.repeated(reading.count // len(out.owners)))


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _rows(use: Use, out: Output, view: Tensor) -> Tensor:
    """What one use of a parameter adds to its rows, as the operation has them."""
    tasks, node = len(view), use.node
    summed = _ROWS.get((node.name(), use.slot)) if view.dim() == 2 else None
    if node.name() == "EmbeddingBackward0":
        return _embedded(node, out, view.shape[1], tasks)
    if summed is not None:
        contributions = summed(node, out.gradient)
        if contributions.shape[1:] != view.shape[1:]:  # one number for all channels
            contributions = contributions.sum(1, keepdim=True)
        return out.owners.sums(contributions, tasks)
    shape = node.next_functions[use.slot][0]._input_metadata[0].shape
    rows = out.gradient.new_zeros(tasks, *shape)
    for t in set(out.owners.runs[0]):
        mine = (out.owners.of == t).view(-1, *[1] * (out.gradient.dim() - 1))
        whole = out.gradient.masked_fill(~mine, 0).view(node._input_metadata[0].shape)
        found = node(whole, *[None] * (len(node._input_metadata) - 1))
        part = found[use.slot] if isinstance(found, tuple) else found
        rows[t] = part.detach().sum_to_size(shape)  # what autograd does for an argument that was broadcast
    return rows


def _embedded(node: Any, out: Output, entries: int, tasks: int) -> Tensor:
    places = out.owners.of * entries + node._saved_indices.flatten()
    rows = out.gradient.new_zeros(tasks * entries, out.gradient.shape[1]).index_add_(0, places, out.gradient)
    rows = rows.view(tasks, entries, -1)
    if int(node._saved_padding_idx) < entries:
        rows[:, int(node._saved_padding_idx)] = 0
    return rows


def _bias(node: Any, gradient: Tensor) -> Tensor:
    return gradient if node._saved_beta == 1 else gradient * node._saved_beta


def _second_term(node: Any, gradient: Tensor) -> Tensor:
    return gradient if node._saved_alpha == 1 else gradient * node._saved_alpha


def _channel_bias(node: Any, gradient: Tensor) -> Tensor:
    return gradient.flatten(2).sum(2)


def _scale_of_norm(node: Any, gradient: Tensor) -> Tensor:
    normed = (node._saved_input.detach() - node._saved_result1) * node._saved_result2
    return gradient * normed.view_as(gradient)


def _as_it_is(node: Any, gradient: Tensor) -> Tensor:
    return gradient


# (operation, argument): contributions of each place to the gradient of a small parameter. All others are asked
# task by task, by running the operation's own backward function on the task's part.
_ROWS = {
    ("AddmmBackward0", 0): _bias,
    ("AddBackward0", 0): _as_it_is,
    ("AddBackward0", 1): _second_term,
    ("ConvolutionBackward0", 2): _channel_bias,
    ("NativeLayerNormBackward0", 1): _scale_of_norm,
    ("NativeLayerNormBackward0", 2): _as_it_is,
}
