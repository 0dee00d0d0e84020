"""Checks of what is handed to ``backward``: each failure names the task."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch.distributed as distributed
from torch import Tensor

from ..errors import BalanceError, OptionError, nearest
from ._balancer import Balancer
from ._reducer import Reducer

NONFINITE = ("raise", "skip task", "skip step", "ignore")


def check_option(name: str, value: str, known: Sequence[str]) -> None:
    """Raise :class:`OptionError` unless ``value`` is among ``known``."""
    if value not in known:
        raise OptionError(f'{name} "{value}" is not known; {nearest(str(value), known)}')


def check_balancer(balancer: object) -> None:
    """Raise :class:`OptionError` for anything but a balancer."""
    if not isinstance(balancer, Balancer):
        hint = f'sharewise.balance.create("{balancer}")' if isinstance(balancer, str) else "sharewise.balance.create"
        raise OptionError(f"the balancer must be a Balancer, got {balancer!r}: make one with {hint}")


def check_processes(reducer: Reducer | None) -> None:
    """Refuse to balance gradients of one process alone while others train the same model."""
    if reducer is None and distributed.is_available() and distributed.is_initialized():
        count = distributed.get_world_size()
        if count > 1:
            raise BalanceError(
                f"{count} processes are at work, and each would balance its own gradients and drift from the others: "
                "pass reducer=MeanReducer(), or reducer=Reducer() if each has a model of its own"
            )


def check_losses(losses: Mapping[str, Tensor]) -> None:
    """Every loss a scalar tensor with a graph, under a name that is a string."""
    if not isinstance(losses, Mapping):
        raise BalanceError(f"losses must be a mapping from task name to loss, got {type(losses).__name__}")
    if not losses:
        raise BalanceError("no losses given: a step needs at least one task with labels; skip the step instead")
    for name, loss in losses.items():
        if not isinstance(name, str):
            raise BalanceError(f"task names must be strings, got {name!r}")
        if not isinstance(loss, Tensor):
            raise BalanceError(f'the loss of task "{name}" must be a tensor, got {type(loss).__name__}')
        if loss.dim() > 0:
            raise BalanceError(
                f'the loss of task "{name}" must be a scalar, got shape {list(loss.shape)}: take its mean or sum'
            )
        if not loss.requires_grad:
            raise BalanceError(
                f'the loss of task "{name}" has no graph to differentiate: was it detached, or computed under no_grad?'
            )


def not_finite(values: Tensor) -> list[int]:
    """Positions of entries of ``[m]`` that are NaN or infinite; waits for the device."""
    return [i for i, value in enumerate(values.tolist()) if not math.isfinite(value)]


def refuse(names: Iterable[str], what: str) -> BalanceError:
    """The error for losses or gradients that are not finite."""
    listed = ", ".join(f'"{n}"' for n in names)
    return BalanceError(
        f"{what} of task {listed} is NaN or infinite: look at its inputs, labels and learning rate, or choose "
        'on_nonfinite="skip task" or "skip step"'
    )


def check_reached(names: Sequence[str], reached: Sequence[bool]) -> None:
    """Raise for a loss without a path to what is shared; a gradient that just is zero is fine."""
    for name, found in zip(names, reached, strict=True):
        if not found:
            raise BalanceError(
                f'the loss of task "{name}" does not depend on any shared parameter, so it cannot be balanced '
                "with the others: leave it out and call .backward() on it"
            )


def check_batches(batches: int) -> None:
    """A whole number of at least 1."""
    if not isinstance(batches, int) or batches < 1:
        raise OptionError(f"batches must be a whole number of at least 1, got {batches!r}")


def check_samples(
    losses: Mapping[str, Tensor] | Sequence[Mapping[str, Tensor]], balancer: Balancer
) -> list[Mapping[str, Tensor]]:
    """The losses of each independent batch, checked; several only for a method that asks for them."""
    samples: list[Any] = [losses]
    if isinstance(losses, Sequence) and all(isinstance(sample, Mapping) for sample in losses):
        samples = list(losses)
    for sample in samples:
        check_losses(sample)
    if not samples or len(samples) > balancer.samples:
        raise BalanceError(
            f"{type(balancer).__name__} takes the losses of {balancer.samples} independent batch(es) a step, got "
            f"{len(samples)}: to add up the gradients of several batches use Accumulation"
        )
    if any(list(sample) != list(samples[0]) for sample in samples):
        raise BalanceError(f"each batch must have the same tasks in the same order, got {[list(s) for s in samples]}")
    return samples


def check_representation(tensors: Sequence[Tensor]) -> None:
    """Every representation a tensor with a graph."""
    for tensor in tensors:
        if not isinstance(tensor, Tensor) or not tensor.requires_grad:
            raise BalanceError(
                "representation must be the activation (or activations) between shared and task-specific parts, "
                "with its graph; got one that asks for no gradient"
            )
