"""Whose each place of a shared operation's output is, followed through the autograd graph.

A *label* is a tensor that can be broadcast to a gradient's shape: 0 where no task has a gradient, t + 1 where only task
t can have one. Labels start where the passes of the tasks meet and go down through operations that are known to keep
places apart; what comes out is proven, whatever the numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge


def backward_names(functions: str) -> frozenset[str]:
    """Of the backward functions of these operations, which may come in variants."""
    return frozenset(f"{name}Backward{k}" for name in functions.split() for k in (0, 1, 2))


# Where the gradient at a place depends on the same place of the output only (arguments may be broadcast).
_EACH = backward_names(
    "Abs Add Addcdiv Addcmul Alias Clamp ClampMax ClampMin Clone Cos Div Elu Erf Exp Expm1 Gelu Hardsigmoid Hardswish "
    "Hardtanh LeakyRelu Lerp Log Log1P LogSigmoid MaskedFill Maximum Minimum Mish Mul NativeDropout Neg Pow Reciprocal "
    "Relu Rsqrt Rsub Sigmoid Silu Sin Softplus Sqrt Sub Tanh Threshold ToCopy Where"
)

# Where entries only change their places: the backward function itself carries labels.
_MOVES = backward_names(
    "Cat ConstantPadNd Flip Permute Roll Select Slice Split SplitWithSizes Squeeze Stack T Transpose Unbind "
    "UnsafeSplit Unsqueeze"
)

# Where entries are spread, and added up with weights that are not negative: it carries labels and shows clashes.
_SPREADS = backward_names("Expand Gather Index IndexSelect Mean Repeat Sum")

# Operations of one argument that only pick, move or spread entries.
PLACING = (_MOVES | _SPREADS | backward_names("UnsafeView View")) - backward_names("Cat Stack")


def _after(count: int) -> Callable[[Any, int], range]:
    return lambda node, axes: range(count, axes)


def _normalised(node: Any, axes: int) -> range:
    return range(axes - len(node._saved_normalized_shape), axes)


def _of_softmax(node: Any, axes: int) -> list[int]:
    return [_signed(node._saved_dim)]


# Where places along some axes mix and others stay apart: which axes, and for which argument (``None``: any).
_ALONG: dict[str, tuple[Callable[[Any, int], Sequence[int]], int | None]] = {
    "AddmmBackward0": (_after(1), 1),
    "MmBackward0": (_after(1), 0),
    "BmmBackward0": (_after(1), None),
    "BaddbmmBackward0": (_after(1), None),
    "ConvolutionBackward0": (_after(1), 0),
    "NativeGroupNormBackward0": (_after(1), 0),
    "NativeLayerNormBackward0": (_normalised, 0),
    "SoftmaxBackward0": (_of_softmax, 0),
    "LogSoftmaxBackward0": (_of_softmax, 0),
    "MaxPool2DWithIndicesBackward0": (_after(1), 0),
    "AvgPool2DBackward0": (_after(1), 0),
    "AdaptiveAvgPool2DBackward0": (_after(1), 0),
    "ScaledDotProductFlashAttentionForCpuBackward0": (_after(1), None),
    "ScaledDotProductFlashAttentionBackward0": (_after(1), None),
    "ScaledDotProductEfficientAttentionBackward0": (_after(1), None),
    "ScaledDotProductCudnnAttentionBackward0": (_after(1), None),
}


@torch.no_grad()
def follow(
    inner: Sequence[Any], edges: Sequence[GradientEdge], labels: Sequence[Tensor], operations: Sequence[Any]
) -> dict[Any, Tensor] | None:
    """The owner of every place of each operation's output, ``[P]``; places without gradient belong to task 0.

    Args:
        inner: the operations to go through, each after all that use its result.
        edges, labels: where labels start.
        operations: those asked for, with one output each that is used.

    ``None`` where an operation is met that is not known to keep places apart, or where places of two tasks meet.
    """
    known: dict[Any, dict[int, Tensor]] = {}  # by node, the labels of its outputs
    for edge, label in zip(edges, labels, strict=True):
        known.setdefault(edge.node, {})[edge.output_nr] = _compact(label)
    asked, found, clash = set(operations), {}, _Clash()
    inside = set(inner)
    for node in inner:
        given = known.pop(node, {})
        if node in asked:
            if given.keys() - {0}:
                return None
            found[node] = _owners(node, given.get(0), clash)
        children = node.next_functions
        wanted = [i for i, (child, _) in enumerate(children) if child in inside]
        if not wanted or not given:
            continue
        passed = _through(node, given, children, wanted, clash)
        if passed is None:
            return None
        for i, label in zip(wanted, passed, strict=True):
            child, nr = children[i]
            outputs = known.setdefault(child, {})
            outputs[nr] = clash.either(outputs[nr], label) if nr in outputs else label
    return None if clash.any() else found


class _Clash:
    """Takes note of places where labels of two tasks meet; looked at once, at the end."""

    def __init__(self) -> None:
        self.found: list[Tensor] = []

    def any(self) -> bool:
        return bool(self.found) and bool(torch.stack(self.found).any())

    def either(self, one: Tensor, two: Tensor) -> Tensor:
        """What is labelled by either."""
        if one.shape == two.shape and torch.equal(one, two):
            return one
        least, most = torch.minimum(one, two), torch.maximum(one, two)
        self.found.append(((least > 0) & (least < most)).any())
        for axis in range(most.dim()):  # query, key and value, taken one by one from a tensor, are whole again
            if most.shape[axis] > 1 and bool((most == most.narrow(axis, 0, 1)).all()):
                most = most.narrow(axis, 0, 1)
        return most

    def along(self, label: Tensor, axes: Sequence[int]) -> Tensor:
        """One label for all places along the axes, which become of size 1."""
        rest = [axis for axis in axes if label.shape[axis] > 1]
        if not rest:
            return label
        most = label.amax(rest, keepdim=True)
        self.found.append(((label != most) & (label > 0)).any())
        return most

    def spread(self, node: Any, given: Mapping[int, Tensor]) -> list[Tensor | None]:
        """Through a backward function that adds up places: the weighted mean of labels, which must not vary."""
        powers = [_run(node, {nr: (label > 0) * label.double() ** k for nr, label in given.items()}) for k in range(3)]
        labels: list[Tensor | None] = []
        for count, total, square in zip(*powers, strict=True):
            if count is None or total is None or square is None:
                labels.append(None)
                continue
            mean = torch.where(count > 0, total / count, 0.0)
            self.found.append(((square - mean * total).abs() > 1e-9 * square).any())
            labels.append(mean.round().float())
        return labels


def _owners(node: Any, label: Tensor | None, clash: _Clash) -> Tensor:
    """``[P]`` for an output: examples of a convolution, else all axes but the last."""
    shape = node._input_metadata[0].shape
    convolution = node.name() == "ConvolutionBackward0"
    kept = 1 if convolution else max(1, len(shape) - 1)
    if label is None:
        return torch.zeros(int(torch.Size(shape[:kept]).numel()), dtype=torch.long)
    label = clash.along(label, range(kept, len(shape))).squeeze(tuple(range(kept, len(shape))))
    return (label.expand(shape[:kept]).flatten().long() - 1).clamp_min(0)


# Of those, the ones after which a label is the same along new axes, or just turned around: nothing is filled.
_TURNS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "TBackward0": lambda node, label: label.T,
    "TransposeBackward0": lambda node, label: label.transpose(_signed(node._saved_dim0), _signed(node._saved_dim1)),
    "PermuteBackward0": lambda node, label: label.permute(_inverse([_signed(d) for d in node._saved_dims])),
    "UnsqueezeBackward0": lambda node, label: label.squeeze(_signed(node._saved_dim)),
    "SelectBackward0": lambda node, label: _unselected(node, label),
    "MeanBackward1": lambda node, label: _unreduced(node, label),
    "SumBackward1": lambda node, label: _unreduced(node, label),
}


def _through(
    node: Any,
    given: Mapping[int, Tensor],
    children: Sequence[tuple[Any, int]],
    wanted: Sequence[int],
    clash: _Clash,
) -> list[Tensor] | None:
    """Labels for the arguments at these positions, of size 1 along axes on which they are the same; or ``None``."""
    name = node.name()
    if name in _TURNS:
        return [_TURNS[name](node, given[0])]
    if name in _MOVES or name in _SPREADS:
        passed = _run(node, given) if name in _MOVES else clash.spread(node, given)
        chosen = [_compact(label) for i in wanted if (label := passed[i]) is not None]
        return chosen if len(chosen) == len(wanted) else None
    if given.keys() != {0}:
        return None
    label = given[0]
    if name in ("ViewBackward0", "UnsafeViewBackward0"):
        return [_reshaped(label, _shape((node, 0)), _shape(children[0]))]
    if name in _EACH or (name == "NativeBatchNormBackward0" and not node._saved_training):
        return [_shrunk(label, _shape(children[i]), clash) for i in wanted]
    if name not in _ALONG:
        return None
    axes, only = _ALONG[name]
    if only is not None and wanted != [only]:
        return None
    label = clash.along(label, axes(node, label.dim()))
    found = []
    for i in wanted:
        shape = _shape(children[i])
        if len(shape) != label.dim() or any(a not in (1, b) for a, b in zip(label.shape, shape, strict=True)):
            return None
        found.append(label)
    return found


def _run(node: Any, given: Mapping[int, Tensor]) -> list[Tensor | None]:
    """What the backward function makes of labels."""
    none = next(iter(given.values())).new_zeros(())
    found = node(*(given.get(nr, none).expand(meta.shape) for nr, meta in enumerate(node._input_metadata)))
    return list(found) if isinstance(found, tuple) else [found]


def _unreduced(node: Any, label: Tensor) -> Tensor:
    """As the backward function of a sum or mean along axes (all, if none are named)."""
    if node._saved_keepdim:
        return label
    count = len(node._saved_self_sym_sizes)
    for axis in sorted(_signed(d) % count for d in node._saved_dim) or range(count):
        label = label.unsqueeze(axis)
    return label


def _inverse(axes: Sequence[int]) -> list[int]:
    """The permutation that undoes this one."""
    return sorted(range(len(axes)), key=lambda i: axes[i] % len(axes))


def _unselected(node: Any, label: Tensor) -> Tensor:
    """As the backward function of ``select``, without filling a whole gradient."""
    sizes = node._saved_self_sym_sizes
    dim = _signed(node._saved_dim) % len(sizes)
    label = label.unsqueeze(dim)
    whole = label.new_zeros(*label.shape[:dim], sizes[dim], *label.shape[dim + 1 :])
    whole.narrow(dim, _signed(node._saved_index) % sizes[dim], 1).copy_(label)
    return whole


def _reshaped(label: Tensor, old: torch.Size, new: torch.Size) -> Tensor:
    """As the backward function of ``view``, without filling axes on which the label is the same.

    Axes are grouped so that each group of the old shape becomes one of the new.
    """
    filled, result = _refilled(label.shape, old, new)
    return label.expand(filled).reshape(result)


@lru_cache(maxsize=1024)  # graphs come again with every step
def _refilled(label: torch.Size, old: torch.Size, new: torch.Size) -> tuple[list[int], list[int]]:
    """To which shape a label of an output ``old`` is expanded, and then reshaped, for an input ``new``."""
    filled: list[int] = []
    result: list[int] = []
    i = j = 0
    while i < len(old) or j < len(new):
        first, second = old[i : i + 1], new[j : j + 1]
        while first.numel() != second.numel() or not (first or second):
            shorter = first.numel() < second.numel()
            first, second = (old[i : i + len(first) + 1], second) if shorter else (first, new[j : j + len(second) + 1])
        varies = any(size > 1 for size in label[i : i + len(first)])
        filled += first if varies else [1] * len(first)
        result += second if varies else [1] * len(second)
        i, j = i + len(first), j + len(second)
    return filled, result


def _signed(saved: Any) -> int:
    """Saved axes are unsigned."""
    value = int(saved)
    return value - (1 << 64) if value >> 63 else value


def _compact(label: Tensor) -> Tensor:
    """Of size 1 along axes on which it is the same."""
    for axis in range(label.dim()):
        if label.shape[axis] > 1 and label.stride(axis) == 0:
            label = label.narrow(axis, 0, 1)
    return label


def _shape(edge: tuple[Any, int]) -> torch.Size:
    node, output = edge
    return torch.Size(node._input_metadata[output].shape)


def _shrunk(label: Tensor, shape: torch.Size, clash: _Clash) -> Tensor:
    """For an argument of this shape that was broadcast."""
    extra = label.dim() - len(shape)
    axes = [*range(extra), *(extra + i for i, size in enumerate(shape) if size == 1)]
    label = clash.along(label, axes)
    return label[(0,) * extra] if extra else label
