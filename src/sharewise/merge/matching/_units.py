"""Which axes of which tensors belong to the same hidden units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ...errors import MergeError, nearest

State = Mapping[str, Tensor]
Matching = dict[str, Tensor]
"""Group -> ``[n]``: which unit of the other model stands where this model has unit i."""
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.LayerNorm)
_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class Axis:
    """An axis of a tensor that runs over a group's units; a unit may take several entries in a row (a head of
    attention, a channel's places once it is flattened).

    Attributes:
        tensor: its name.
        axis: which.
        reads: the tensor reads the units (a weight's inputs) rather than makes them.
    """

    tensor: str
    axis: int
    reads: bool = False


@dataclass(frozen=True)
class Group:
    """Units that may be put in any order together.

    Attributes:
        size: how many.
        axes: where they are.
        module: whose output their activations are: ``[B, units, ...]`` of a convolution, else ``[B, ..., units]``.
    """

    size: int
    axes: tuple[Axis, ...]
    module: str


@dataclass
class Units:
    """The groups of hidden units of an architecture, by name; declared with :meth:`group` and :meth:`heads`, or found
    by :func:`units_of` for plain chains of layers.

    Args:
        state: any state dict of the architecture, for names and sizes.

    Example: ``Units(state).group("hidden", writers=["fc1"], readers=["fc2"], along=["norm1"])``.
    """

    state: State = field(repr=False)
    groups: dict[str, Group] = field(default_factory=dict)

    def group(
        self,
        name: str,
        *,
        writers: Sequence[str],
        readers: Sequence[str],
        along: Sequence[str] = (),
        size: int | None = None,
    ) -> Units:
        """Add the units that the modules ``writers`` put out and ``readers`` take in.

        Args:
            name: new.
            writers: layers whose outputs they are (several where outputs are added, as in residual streams).
            readers: layers whose inputs they are.
            along: modules with one number a unit between them: norms.
            size: how many units, where one takes several outputs; else the first writer's outputs.

        Returns itself. Raises :class:`~sharewise.errors.MergeError` for modules that are not there and axes that do not
        divide into so many units.
        """
        if name in self.groups:
            raise MergeError(f'a group of units "{name}" exists already')
        axes = [Axis(tensor, 0) for module in (*writers, *along) for tensor in self._of(module)]
        axes += [Axis(f"{module}.weight", 1, True) for module in readers if self._of(module)]
        if not writers or not readers:
            raise MergeError(f'group "{name}" needs at least one writer and one reader')
        count = size or self.state[f"{writers[0]}.weight"].shape[0]
        for axis in axes:
            length = self.state[axis.tensor].shape[axis.axis]
            if length % count:
                raise MergeError(
                    f'group "{name}": axis {axis.axis} of tensor "{axis.tensor}" is {length} long, not a multiple of '
                    f"{count} units"
                )
        self.groups[name] = Group(count, tuple(axes), writers[0])
        return self

    def heads(self, name: str, *, queries: str, keys: str, values: str, out: str, count: int) -> Units:
        """Add the heads of attention, each as one unit: ``count`` of them."""
        return self.group(name, writers=[values, queries, keys], readers=[out], size=count)

    def _of(self, module: str) -> list[str]:
        found = [n for n, t in self.state.items() if n.rpartition(".")[0] == module and t.ndim > 0]
        if not found:
            modules = sorted({n.rpartition(".")[0] for n in self.state})
            raise MergeError(f'no module "{module}" has tensors; {nearest(module, modules)}')
        return found

    def on(self, tensor: str) -> list[tuple[str, Axis]]:
        """The groups that run over a tensor's axes."""
        return [(name, axis) for name, group in self.groups.items() for axis in group.axes if axis.tensor == tensor]

    def check(self, states: Mapping[str, State]) -> None:
        """Raise :class:`~sharewise.errors.MergeError` where a model lacks a tensor of a group, or has other units."""
        for model, state in states.items():
            for name, group in self.groups.items():
                for axis in group.axes:
                    if axis.tensor not in state:
                        close = nearest(axis.tensor, state)
                        raise MergeError(
                            f'model "{model}" has no tensor "{axis.tensor}" of the units "{name}"; {close}'
                        )
                    found, wanted = state[axis.tensor].shape, self.state[axis.tensor].shape
                    if len(found) != len(wanted) or found[axis.axis] != wanted[axis.axis]:
                        raise MergeError(
                            f'tensor "{axis.tensor}" of model "{model}" is {list(found)}, expected {list(wanted)}: '
                            f'the units "{name}" run over its axis {axis.axis}'
                        )

    def permute(self, state: State, matching: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The same function with its units in another order: unit i becomes the former unit ``matching[group][i]``."""
        found = dict(state)
        for name, order in matching.items():
            group = self.groups[name]
            for axis in group.axes:
                found[axis.tensor] = reordered(found[axis.tensor], axis.axis, order)
        return found


def reordered(tensor: Tensor, axis: int, order: Tensor) -> Tensor:
    """Units along an axis in a new order, each with its consecutive entries."""
    blocks = tensor.unflatten(axis, (len(order), -1))
    return blocks.index_select(axis, order.to(tensor.device)).flatten(axis, axis + 1)


def transformed(tensor: Tensor, axis: int, matrix: Tensor) -> Tensor:
    """``matrix`` ``[m, n]`` applied to the n units of an axis, each with its consecutive entries."""
    blocks = tensor.unflatten(axis, (matrix.shape[1], -1))
    moved = torch.tensordot(matrix.to(tensor.dtype), blocks, ([1], [axis]))
    return moved.movedim(0, axis).flatten(axis, axis + 1)


def units_of(model: nn.Module) -> Units:
    """The groups of a chain of layers (nested ``nn.Sequential``): one between each linear or convolutional layer and
    the next, with the norms that stand there.

    Raises :class:`~sharewise.errors.MergeError` for other models: which outputs are added or split cannot be read from
    modules, so declare them with :class:`Units`.
    """
    unknown = [name or "its forward" for name, module in model.named_modules() if not _in_chain(module)]
    if unknown:
        raise MergeError(
            f"{type(model).__name__} is no chain of layers ({', '.join(unknown[:5])}): declare its groups of units "
            "with sw.merge.Units(state).group(...)"
        )
    state = model.state_dict()
    units = Units(state)
    writer, along = "", list[str]()
    for name, module in model.named_modules():
        if isinstance(module, _LAYERS):
            if writer:
                units.group(writer, writers=[writer], readers=[name], along=along)
            writer, along = name, []
        elif isinstance(module, _NORMS) and any(n.rpartition(".")[0] == name for n in state) and writer:
            along.append(name)
    return units


def _in_chain(module: nn.Module) -> bool:
    """Whether a module hands units on one by one: a layer without groups, a norm, a chain, or what has no tensors."""
    if isinstance(module, _LAYERS):
        return getattr(module, "groups", 1) == 1
    if isinstance(module, (nn.Sequential, *_NORMS)):
        return True
    return not any(True for _ in module.children()) and not any(True for _ in module.parameters())
