"""What merges that run share: the model without its tensors, every task's head, and tensors by name as buffers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from ...data import map_tensors
from ...errors import MergeError, nearest
from .._layout import covers

State = Mapping[str, Tensor]


class Named(nn.Module):
    """Tensors by any name, dots too, as buffers: they move and are saved with the module."""

    def __init__(self, tensors: State) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(name.replace(".", "/"), tensor.detach().clone())

    def tensors(self) -> dict[str, Tensor]:
        """The tensors by their own names."""
        return {name.replace("/", "."): tensor for name, tensor in self.named_buffers(recurse=False)}


class TaskModel(nn.Module):
    """Base of merges that are mixed while the model runs: ``merged(inputs, task="law")``.

    Args:
        model: of the architecture all have; its code is used, its values are not. Runs in evaluation mode.
        states: the models' state dicts by task.
        exclude: tensors every task keeps its own of (heads): names, modules, or patterns with ``*``. What a state lacks
            of them is as ``model`` has it.

    Attributes:
        tasks: their names, in the order of ``states``.
        shared: names of the tensors that are merged.

    It is a module: ``state_dict`` has all it needs but the architecture. Raises
    :class:`~sharewise.errors.MergeError` for tensors that are missing or differ in shape.
    """

    def __init__(self, model: nn.Module, states: Mapping[str, State], exclude: Sequence[str] = ()) -> None:
        super().__init__()
        self.tasks = tuple(states)
        own = model.state_dict()
        self.shared = [name for name in own if not any(covers(p, name) for p in exclude)]
        if not self.shared:
            raise MergeError("exclude leaves no tensor to merge")
        check_states(states, {name: own[name].shape for name in self.shared})
        # In a tuple, so that it is no submodule: its values are replaced at every call and need not be saved.
        self._skeleton = (copy.deepcopy(model).eval().requires_grad_(False),)
        apart = [name for name in own if name not in set(self.shared)]
        self.heads = nn.ModuleList(Named({n: s[n] for n in apart if n in s}) for s in states.values())

    @property
    def skeleton(self) -> nn.Module:
        """The architecture."""
        return self._skeleton[0]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> TaskModel:
        """Moves and casts the architecture's own tensors too: those it does not save (tables of positions) are used."""
        self.skeleton._apply(fn)
        super()._apply(fn, recurse)
        return self

    @property
    def storage(self) -> int:
        """Bytes of everything kept, heads and routers too."""
        return sum(t.numel() * t.element_size() for t in (*self.parameters(), *self.buffers()))

    def index(self, task: str) -> int:
        """The place of a task; raises :class:`~sharewise.errors.MergeError` for an unknown one."""
        if task not in self.tasks:
            raise MergeError(f'task "{task}" is none of the models; {nearest(str(task), self.tasks)}')
        return self.tasks.index(task)

    def head(self, task: str | None) -> dict[str, Tensor]:
        """The tensors of a task's head; needs no task where all tensors are merged."""
        if task is None:
            if any(True for _ in self.heads.buffers()):
                raise MergeError(f"every task has its own head: say task=..., one of {', '.join(self.tasks)}")
            return {}
        found: Any = self.heads[self.index(task)]
        tensors: dict[str, Tensor] = found.tensors()
        return tensors

    def call(self, values: State, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """The architecture with these values."""
        return functional_call(self.skeleton, dict(values), tuple(args), dict(kwargs))


def check_states(states: Mapping[str, State], shapes: Mapping[str, torch.Size]) -> None:
    """Raise :class:`MergeError` where there is no model, or one lacks a tensor or has it in another shape."""
    if not states:
        raise MergeError("there is no model to merge")
    for task, state in states.items():
        for name, shape in shapes.items():
            if name not in state:
                close = nearest(name, state)
                raise MergeError(f'model "{task}" has no tensor "{name}" ({close}): exclude it if it is a head')
            if state[name].shape != shape:
                raise MergeError(
                    f'tensor "{name}" is {list(state[name].shape)} in "{task}" and {list(shape)} in the model: exclude '
                    "it if it is a head"
                )


def task_vectors(states: Mapping[str, State], base: State, names: Sequence[str]) -> dict[str, Tensor]:
    """``[T, *shape]`` by name, models minus base, of the tensors that are floating point."""
    check_states({**states, "base": base}, {n: next(iter(states.values()))[n].shape for n in names})
    return {
        n: torch.stack([s[n].detach() for s in states.values()]) - base[n].detach()
        for n in names
        if base[n].is_floating_point()
    }


def each_own(
    module: nn.Module,
    values: Callable[[Tensor], dict[str, Tensor]],
    weights: Tensor,
    args: Any,
    kwargs: Any,
    chunk: int | None = None,
) -> Any:
    """A module called with values of each example's own.

    Args:
        module: called with one example at a time, by ``vmap``.
        values: weights ``[T]`` of an example -> tensors by name.
        weights: ``[B, T]``.
        args, kwargs: of the batch; every tensor ``[B, ...]``.
        chunk: examples at once; memory is that many copies of the values.
    """

    def one(share: Tensor, args: Any, kwargs: Any) -> Any:
        inputs, named = map_tensors((tuple(args), dict(kwargs)), lambda t: t.unsqueeze(0))
        return map_tensors(functional_call(module, values(share), inputs, named), lambda t: t.squeeze(0))

    return vmap(one, (0, 0, 0), chunk_size=chunk)(weights, tuple(args), dict(kwargs))


def pooled(features: Tensor) -> Tensor:
    """``[B, ..., d]`` -> ``[B, d]``, the mean over positions."""
    return features if features.ndim == 2 else features.flatten(1, -2).mean(1)


def module_at(model: nn.Module, name: str) -> nn.Module:
    """A submodule by name; raises :class:`MergeError` for one that is not there."""
    known = dict(model.named_modules())
    if name not in known:
        raise MergeError(f'the model has no module "{name}"; {nearest(name, known)}')
    return known[name]


class Tapped:
    """While open, sees (and may replace) what a module returns."""

    def __init__(self, module: nn.Module, change: Callable[[Tensor], Tensor] = lambda seen: seen) -> None:
        self.module, self.change = module, change

    def __enter__(self) -> Tapped:
        """Start."""
        self._hook = self.module.register_forward_hook(self._see)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._hook.remove()

    def _see(self, module: nn.Module, args: Any, output: Any) -> Any:
        first = output[0] if isinstance(output, tuple) else output
        self.seen = self.change(first)
        return (self.seen, *output[1:]) if isinstance(output, tuple) else self.seen


def endless(batches: Sequence[Any]) -> Iterator[Any]:
    """All batches, again and again."""
    while True:
        yield from batches
