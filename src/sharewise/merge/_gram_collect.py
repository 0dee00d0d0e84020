"""Gram matrices of the inputs of layers, gathered while a model runs."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import MergeError
from ._running import arguments, evaluating
from ._statistics import Statistics

Layer = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@torch.no_grad()
def collect_gram(model: nn.Module, batches: Iterable[Any], *, bias: bool = False) -> Statistics:
    """Mean of ``x x^T`` over the inputs ``x`` of every linear and convolutional layer, for ``regmean`` and its like.

    Args:
        model: run as it is, in evaluation mode and without gradients; its modes are restored.
        batches: each a :class:`~sharewise.Batch`, a tensor, a tuple whose first item is the input, or a mapping of
            keyword arguments. Labels are not used. A few hundred examples are enough.
        bias: append 1 to the inputs of layers that have a bias, so that weights and biases are merged together.

    Returns float64 tensors by the name of the layer's weight, and over how many rows each is a mean: ``[d, d]`` with
    ``d`` the columns of the weight (plus one for ``bias``); of a convolution the rows are its patches, unfolded in the
    order of its filters' entries, and with groups it is ``[groups, d, d]``. A layer that is called several times counts
    every call; one that is never called has no entry (attention in ``nn.MultiheadAttention`` multiplies by its
    weights without calling a layer). Raises :class:`~sharewise.errors.MergeError` where no layer saw an input and where
    an input is not finite. Memory: the matrices and, for convolutions, one batch's patches; O(rows d^2) time.
    """
    sums: dict[str, Tensor] = {}
    rows: dict[str, int] = {}

    def see(name: str, layer: Layer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        x = rows_of(layer, args[0] if args else kwargs["input"], bias)
        total = x.mT @ x
        if not bool(total.isfinite().all()):
            raise MergeError(f'the inputs of layer "{name}" are not finite: check the model and the batches')
        sums[name] = sums[name].add_(total) if name in sums else total
        rows[name] = rows.get(name, 0) + x.shape[-2]

    hooks = [
        module.register_forward_pre_hook(partial(see, name), with_kwargs=True)
        for name, module in model.named_modules(remove_duplicate=False)
        if isinstance(module, LAYERS)
    ]
    try:
        with evaluating(model):
            for batch in batches:
                args, kwargs = arguments(batch)
                model(*args, **kwargs)
    finally:
        for hook in hooks:
            hook.remove()
    if not sums:
        raise MergeError("no linear or convolutional layer of the model was called: pass at least one batch")
    named = {f"{name}.weight" if name else "weight": (sums[name] / rows[name]).cpu() for name in sums}
    return Statistics("gram", named, {key: rows[name] for key, name in zip(named, sums, strict=True)})


def rows_of(layer: Layer, x: Tensor, bias: bool) -> Tensor:
    """What a layer multiplies its weight by, float64: ``[rows, d]``, or ``[groups, rows, d]`` for grouped filters."""
    x = x.double()
    if isinstance(layer, nn.Linear):
        x = x.reshape(-1, layer.in_features)
    else:
        x = _patches(layer, x)
    if bias and layer.bias is not None:
        x = torch.cat([x, x.new_ones(*x.shape[:-1], 1)], -1)
    return x


def _patches(layer: nn.Conv1d | nn.Conv2d | nn.Conv3d, x: Tensor) -> Tensor:
    """``[B, channels, *space]`` -> every patch a filter meets, flat: ``[rows, d]`` or ``[groups, rows, d]``."""
    space = len(layer.kernel_size)
    x = x.reshape(-1, *x.shape[-space - 1 :])
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    x = nn.functional.pad(x, _padding(layer), mode)
    for axis in range(space):
        dilation, stride = layer.dilation[axis], layer.stride[axis]
        length = dilation * (layer.kernel_size[axis] - 1) + 1
        x = x.unfold(2 + axis, length, stride)[..., ::dilation]
    # [B, channels, *places, *kernel] -> [groups, B, *places, channels of a group, *kernel]
    batch, channels = x.shape[:2]
    x = x.reshape(batch, layer.groups, channels // layer.groups, *x.shape[2:])
    places = range(3, 3 + space)
    x = x.permute(1, 0, *places, 2, *range(3 + space, 3 + 2 * space))
    x = x.reshape(layer.groups, -1, layer.weight[0].numel())
    return x if layer.groups > 1 else x[0]


def _padding(layer: nn.Conv1d | nn.Conv2d | nn.Conv3d) -> list[int]:
    """Before and after each axis, the last axis first, as ``pad`` takes it."""
    found: list[int] = []
    for axis in reversed(range(len(layer.kernel_size))):
        if layer.padding == "same":
            total = layer.dilation[axis] * (layer.kernel_size[axis] - 1)
            found += [total // 2, total - total // 2]
        elif layer.padding == "valid":
            found += [0, 0]
        else:
            found += [int(layer.padding[axis])] * 2
    return found
