"""Where batches come from: sources that know their size, their order and where to continue."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from ..errors import DataError
from ._batch import Batch, map_tensors


@runtime_checkable
class Source(Protocol):
    """A set of examples that can be walked again and again.

    The order is a function of ``(seed, epoch)`` alone, so a run can continue in the middle of an epoch:
    ``start`` names the first batch wanted, and earlier ones cost nothing.
    """

    def __len__(self) -> int:
        """Number of examples."""
        ...

    def batches(
        self, batch_size: int, *, seed: int = 0, epoch: int = 0, shuffle: bool = False, start: int = 0
    ) -> Iterator[Batch]:
        """Batches of at most ``batch_size`` examples from batch number ``start`` on."""
        ...


def epoch_generator(seed: int, epoch: int) -> torch.Generator:
    """The generator that orders an epoch; a function of both numbers and nothing else."""
    return torch.Generator().manual_seed((seed * 1_000_003 + epoch * 7_919 + 12_345) % (2**63))


class TensorSource:
    """Examples held in memory.

    Args:
        inputs: tensor ``[N, ...]`` or nested dicts, lists, tuples of such.
        targets: task name -> ``[N, ...]``.
        observed: task name -> BoolTensor ``[N]``; a task left out is fully observed.
        weight: example weights ``[N]``.
    """

    def __init__(
        self,
        inputs: Any,
        targets: Mapping[str, Tensor],
        observed: Mapping[str, Tensor] | None = None,
        weight: Tensor | None = None,
    ) -> None:
        self.all = Batch(inputs, dict(targets), dict(observed or {}), weight)
        if not targets:
            raise DataError("no targets: give at least one task's labels")
        sizes = {f'target "{k}"': len(v) for k, v in self.all.targets.items()}
        sizes |= {f'observed "{k}"': len(v) for k, v in self.all.observed.items()}
        if weight is not None:
            sizes["weight"] = len(weight)
        lengths: list[int] = []
        map_tensors(inputs, lambda t: lengths.append(len(t)) or t)  # type: ignore[func-returns-value]
        sizes |= {f"input {i}": n for i, n in enumerate(lengths)}
        if len(set(sizes.values())) > 1:
            raise DataError(f"inputs, targets and masks must have as many rows: found {sizes}")
        unknown = set(self.all.observed) - set(self.all.targets)
        if unknown:
            raise DataError(f"observed names {sorted(unknown)}, which are no targets")

    def __len__(self) -> int:
        return len(self.all)

    def batches(
        self, batch_size: int, *, seed: int = 0, epoch: int = 0, shuffle: bool = False, start: int = 0
    ) -> Iterator[Batch]:
        """See :class:`Source`."""
        if shuffle:
            order = torch.randperm(len(self), generator=epoch_generator(seed, epoch))
            for begin in range(start * batch_size, len(self), batch_size):
                yield self.all.select(order[begin : begin + batch_size])
        else:
            for begin in range(start * batch_size, len(self), batch_size):
                yield self.all.select(slice(begin, begin + batch_size))


class LoaderSource:
    """A user's own iterable of batches, for instance a ``torch.utils.data.DataLoader``.

    Args:
        make: called once an epoch with ``(seed, epoch, shuffle)``; returns an iterable of :class:`Batch`.
        size: examples in one pass.

    The order must depend on ``(seed, epoch)`` only if runs are to be resumed. ``batch_size`` is the loader's
    own. Continuing inside an epoch reads and drops the earlier batches.
    """

    def __init__(self, make: Callable[[int, int, bool], Iterable[Batch]], size: int) -> None:
        self.make, self.size = make, size

    def __len__(self) -> int:
        return self.size

    def batches(
        self, batch_size: int, *, seed: int = 0, epoch: int = 0, shuffle: bool = False, start: int = 0
    ) -> Iterator[Batch]:
        """See :class:`Source`."""
        for number, batch in enumerate(self.make(seed, epoch, shuffle)):
            if number >= start:
                yield batch


@dataclass
class Splits:
    """Training, validation and (optionally) test examples."""

    train: Source
    valid: Source
    test: Source | None = None
