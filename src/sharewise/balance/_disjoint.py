"""All rows from one backward pass, where no example belongs to two tasks.

The gradient of the sum of the losses with respect to an operation's output then holds, example by example, the
gradient of one task. Whose it is the graph tells where each task has a forward pass of its own; where tasks sit in one
batch, a second pass with the losses multiplied by powers of two does: every example's gradient must come out
multiplied by the power of one task, exactly, for these only move the exponent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from ..errors import BalanceError
from ._gram import Products
from ._graph import SHARED
from ._owned import OwnedFactor
from ._passes import OwnGradients
from ._reading import Reading, begin_factor, read_uses, worthwhile
from ._uses import Use

_MIXED = (
    'mode "disjoint" needs every example to belong to one task, but one has gradients of several: a loss looks at the '
    'examples of others, or an operation (batch normalisation) mixes them; use mode="auto"'
)


class Output(NamedTuple):
    """Gradient of an operation's output ``[P, *rest]``, and whose each of the P places is."""

    gradient: Tensor
    owner: Tensor


def _places(node: Any, gradient: Tensor) -> Tensor:
    """The gradient as ``[P, *rest]``: examples for a convolution, else all axes but the last."""
    if node.name() == "ConvolutionBackward0" or gradient.dim() < 2:
        return gradient
    return gradient.reshape(-1, gradient.shape[-1])


class Disjoint(NamedTuple):
    """Rows of m tasks: those of weights as products, those of other tensors formed ``[m, *shape]``."""

    factors: dict[int, Products]
    formed: dict[int, Tensor]
    own: OwnGradients
    touched: set[int]


def owned_apart(nodes: Mapping[Any, int], uses: Sequence[Sequence[Use]]) -> bool:
    """Whether every operation that uses a target works for one task only: each task has a pass of its own."""
    return all(found and all(nodes[u.node] != SHARED and _simple(u.node) for u in found) for found in uses)


def _simple(node: Any) -> bool:
    """Whether the backward function of an operation may be run by itself (no compiled or custom function)."""
    return not isinstance(node, torch.autograd.function.BackwardCFunction)


def take_disjoint(
    losses: Sequence[Tensor],
    targets: Sequence[Tensor],
    own: Sequence[Sequence[Tensor]],
    nodes: Mapping[Any, int],
    uses: Sequence[Sequence[Use]],
    scale: float | Tensor,
    batches: int = 1,
) -> Disjoint | None:
    """One pass (two, if tasks sit in one batch) of the sum of the losses; ``None`` where a gradient is not finite.

    A leaf that several tasks reach and that is not balanced counts for the first of them. Raises
    :class:`BalanceError` where an example has gradients of two tasks, and for a target that is no parameter, or one
    used by a compiled or custom function, or by a recurrent layer whose last state is used besides its outputs.
    """
    if not all(found and all(_simple(use.node) for use in found) for found in uses):
        raise BalanceError('mode "disjoint" cannot look into compiled or custom functions: use mode="auto"')
    tasks = len(losses)
    operations = list(dict.fromkeys(use.node for found in uses for use in found))
    found = _differentiate(losses, own, operations, nodes, scale)
    if found is None:
        return None
    outputs, mine = found
    factors: dict[int, Products] = {}
    formed: dict[int, Tensor] = {}
    for i, (target, several) in enumerate(zip(targets, uses, strict=True)):
        readings = read_uses(several, target)
        picked = readings is not None and readings[0].layout[0] == "embedding"
        if readings is not None and not picked:
            factors[i] = _factor(target, readings, outputs, tasks)
        elif readings is not None and worthwhile(readings, tasks, batches):
            factors[i] = _picked(target, readings, outputs, tasks)
        else:
            formed[i] = torch.stack([_rows(use, outputs[use.node], target, tasks) for use in several]).sum(0)
    touched = {int(t) for out in outputs.values() for t in out.owner[_nonzero(out.gradient)].unique()}
    return Disjoint(factors, formed, mine, touched)


def _differentiate(
    losses: Sequence[Tensor],
    own: Sequence[Sequence[Tensor]],
    operations: Sequence[Any],
    nodes: Mapping[Any, int],
    scale: float | Tensor,
) -> tuple[dict[Any, Output], OwnGradients] | None:
    """Gradients of all operations' outputs with their owners, and of the leaves that are not balanced."""
    edges: list[Any] = [GradientEdge(node, 0) for node in operations]
    others = [GradientEdge(node, k) for node in operations for k in range(1, len(node._input_metadata))]
    leaves: dict[int, tuple[int, Tensor]] = {}
    for t, several in enumerate(own):
        for leaf in several:
            leaves.setdefault(id(leaf), (t, leaf))
    stacked = torch.stack([loss.to(losses[0]) for loss in losses])
    plain = torch.ones_like(stacked) * scale
    wanted = [*edges, *(leaf for _, leaf in leaves.values()), *others]
    found = torch.autograd.grad(stacked, wanted, plain, retain_graph=True, allow_unused=True)
    mine: OwnGradients = [[] for _ in losses]
    if any(g is not None for g in found[len(wanted) - len(others) :]):
        raise BalanceError('mode "disjoint" needs one output a layer, but the losses use several: use mode="auto"')
    for (t, leaf), gradient in zip(leaves.values(), found[len(edges) :], strict=False):
        if gradient is not None:
            mine[t].append((leaf, gradient))
    gradients = [
        _places(n, torch.zeros(n._input_metadata[0].shape, device=stacked.device) if g is None else g.detach())
        for n, g in zip(operations, found, strict=False)
    ]
    if not all(bool(torch.isfinite(g).all()) for g in gradients):
        return None
    coded: Sequence[Tensor | None] = [None] * len(edges)
    codes = torch.arange(len(losses)) - len(losses) // 2
    if any(nodes[node] == SHARED for node in operations):
        powers = torch.ldexp(plain, codes.to(plain.device))
        coded = torch.autograd.grad(stacked, edges, powers, retain_graph=True, allow_unused=True)
    outputs = {}
    for node, gradient, other in zip(operations, gradients, coded, strict=True):
        if nodes[node] == SHARED and other is not None:
            owner = _owner(gradient, _places(node, other.detach()), len(losses))
        else:
            whose = max(nodes[node], 0)
            owner = torch.full((len(gradient),), whose, dtype=torch.long, device=gradient.device)
        outputs[node] = Output(gradient, owner)
    return outputs, mine


def _owner(gradient: Tensor, coded: Tensor, tasks: int) -> Tensor:
    """For each place the task whose power of two it was multiplied by (0 where it is zero)."""
    rows, other = gradient.reshape(len(gradient), -1), coded.reshape(len(coded), -1)
    largest, where = rows.abs().max(dim=1)
    ratio = (other.gather(1, where[:, None])[:, 0] / rows.gather(1, where[:, None])[:, 0]).abs().double()
    code = torch.where(largest > 0, torch.log2(ratio).round(), 0.0)
    owner = code.long() + tasks // 2
    # Exact but for entries so small that a power of two takes them out of the range of normal numbers.
    allowed = 4 * torch.finfo(rows.dtype).eps * largest * torch.exp2(code).to(rows)
    off = (other - rows * torch.exp2(code).to(rows)[:, None]).abs().amax(dim=1)
    if not bool(((owner >= 0) & (owner < tasks) & (off <= allowed) | (largest == 0)).all()):
        raise BalanceError(_MIXED)
    return torch.where(largest > 0, owner, 0)


def _factor(weight: Tensor, readings: Sequence[Reading], outputs: Mapping[Any, Output], tasks: int) -> OwnedFactor:
    gradients, owners = [], []
    for reading in readings:
        out = outputs[reading.node]
        flat = out.gradient.new_empty(1, reading.count, reading.wide_out)
        shown = reading.place(flat)
        shown.copy_(out.gradient.view_as(shown))
        gradients.append(flat[0])
        owners.append(out.owner.repeat_interleave(reading.count // len(out.owner)))
    inputs = torch.cat([r.inputs().detach() for r in readings])
    transposed = readings[0].layout == ("product", True)
    return OwnedFactor(weight, inputs, torch.cat(gradients), torch.cat(owners), tasks, transposed)


def _picked(weight: Tensor, readings: Sequence[Reading], outputs: Mapping[Any, Output], tasks: int) -> Products:
    """Rows of an embedding with more entries than the batch has words: each word's gradient in its task's row."""
    factor, views = begin_factor(weight, readings, tasks)
    for reading, view in zip(readings, views, strict=True):
        out = outputs[reading.node]
        mine = out.owner == torch.arange(tasks, device=out.owner.device)[:, None]
        view.copy_((out.gradient * mine[..., None]).view_as(view))
    return factor


@torch.no_grad()
def _rows(use: Use, out: Output, target: Tensor, tasks: int) -> Tensor:
    """What one use of a small parameter adds to the rows ``[m, *shape]``."""
    summed = _ROWS.get((use.node.name(), use.slot)) if target.dim() == 1 else None
    if use.node.name() == "EmbeddingBackward0":
        rows = _embedded(use.node, out, len(target), tasks)
    elif summed is not None:
        contributions = summed(use.node, out.gradient)
        rows = contributions.new_zeros(tasks, *contributions.shape[1:]).index_add_(0, out.owner, contributions)
    else:
        shape = use.node.next_functions[use.slot][0]._input_metadata[0].shape
        rows = out.gradient.new_zeros(tasks, *shape)
        for t in out.owner.unique().tolist():
            mine = (out.owner == t).view(-1, *[1] * (out.gradient.dim() - 1))
            whole = (out.gradient * mine).view(use.node._input_metadata[0].shape)
            found = use.node(whole, *[None] * (len(use.node._input_metadata) - 1))
            part = found[use.slot] if isinstance(found, tuple) else found
            rows[t] = part.detach().sum_to_size(shape)  # what autograd does for an argument that was broadcast
    if use.transposed:
        rows = rows.transpose(1, 2)
    return rows.reshape(tasks, *target.shape).to(target)


def _embedded(node: Any, out: Output, entries: int, tasks: int) -> Tensor:
    places = out.owner * entries + node._saved_indices.flatten()
    rows = out.gradient.new_zeros(tasks * entries, out.gradient.shape[1]).index_add_(0, places, out.gradient)
    rows = rows.view(tasks, entries, -1)
    if int(node._saved_padding_idx) < entries:
        rows[:, int(node._saved_padding_idx)] = 0
    return rows


def _bias(node: Any, gradient: Tensor) -> Tensor:
    return gradient * node._saved_beta


def _channel_bias(node: Any, gradient: Tensor) -> Tensor:
    return gradient.flatten(2).sum(2)


def _scale_of_norm(node: Any, gradient: Tensor) -> Tensor:
    normed = (node._saved_input.detach() - node._saved_result1) * node._saved_result2
    return gradient * normed.view_as(gradient)


def _shift_of_norm(node: Any, gradient: Tensor) -> Tensor:
    return gradient


# (operation, argument): contributions of each example to the gradient of a small parameter. All others are asked
# task by task, by running the operation's own backward function on the task's part.
_ROWS = {
    ("AddmmBackward0", 0): _bias,
    ("ConvolutionBackward0", 2): _channel_bias,
    ("NativeLayerNormBackward0", 1): _scale_of_norm,
    ("NativeLayerNormBackward0", 2): _shift_of_norm,
}


def _nonzero(gradient: Tensor) -> Tensor:
    return gradient.flatten(1).any(dim=1)
