"""Each task its own examples."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from ..errors import DataError, OptionError, nearest
from ._batch import Batch
from ._source import LoaderSource, Source

MIXES: Mapping[str, float] = {"proportional": 1.0, "sqrt": 0.5, "equal": 0.0}


class PerTaskSource:
    """Sources of one task each, as one source: different rows, different numbers of rows.

    Args:
        sources: task -> its examples; their inputs must have the same names and shapes.
        mix: how often each task is drawn from while training: in proportion to ``rows ** a``, with ``a`` = 1
            (``proportional``), 0.5 (``sqrt``), 0 (``equal``) or any number from 0 to 1 (temperature sampling;
            Arivazhagan et al. 2019, "Massively Multilingual Neural Machine Translation in the Wild", section
            4.2, with temperature 1 / a).

    A batch holds examples of several tasks, each task's together; ``observed`` says whose label an example
    has. An
    epoch has as many examples as the sources together, whatever the mix: a task drawn from more often than
    its share starts over in a new order, one drawn from less often is not seen whole. Tasks are spread
    evenly, so every batch holds each in its share (to the nearest example). Without shuffling every example
    comes once.

    Raises:
        DataError: no source, an empty one, or one without labels of its task.
        OptionError: an unknown mix.
    """

    def __init__(self, sources: Mapping[str, Source], mix: str | float = "proportional") -> None:
        if not sources:
            raise DataError("no sources: give at least one task's examples")
        if isinstance(mix, str) and mix not in MIXES:
            raise OptionError(f"mix must be one of {sorted(MIXES)} or a number from 0 to 1, got {mix!r}")
        self.exponent = MIXES[mix] if isinstance(mix, str) else float(mix)
        if not 0.0 <= self.exponent <= 1.0:
            raise OptionError(f"mix must be a number from 0 (equal) to 1 (proportional), got {mix}")
        self.sources = dict(sources)
        self._owners: dict[bool, Tensor] = {}
        self._blanks: dict[str, Tensor] = {}
        for task, source in self.sources.items():
            if len(source) == 0:
                raise DataError(f'task "{task}" has no examples')

    def __len__(self) -> int:
        """Examples of all tasks together."""
        return sum(len(s) for s in self.sources.values())

    def batches(
        self, batch_size: int, *, seed: int = 0, epoch: int = 0, shuffle: bool = False, start: int = 0
    ) -> Iterator[Batch]:
        """See :class:`Source`."""
        owners = self.owners(shuffle)
        blanks = self.blanks()
        passed = torch.bincount(owners[: start * batch_size], minlength=len(self.sources)).tolist()
        shares = torch.bincount(owners, minlength=len(self.sources)) / len(owners)
        streams = [
            _Stream(task, source, max(1, round(float(share) * batch_size)), seed, epoch, shuffle, done)
            for (task, source), share, done in zip(self.sources.items(), shares, passed, strict=True)
        ]
        for begin in range(start * batch_size, len(owners), batch_size):
            counts = torch.bincount(owners[begin : begin + batch_size], minlength=len(streams)).tolist()
            parts = [s.take(n) for s, n in zip(streams, counts, strict=True) if n]
            yield Batch.join([_filled(part, blanks) for part in parts])

    def reader(self, batch_size: int, *, seed: int = 0) -> TaskReader:
        """Batches of the tasks that are asked for, each task's examples in an order of its own; see the class."""
        return TaskReader(self, batch_size, seed)

    def owners(self, shuffle: bool) -> Tensor:
        """Which task each example of an epoch is drawn from: numbers in the order of ``sources``, ``[N]``."""
        if shuffle not in self._owners:
            sizes = [len(s) for s in self.sources.values()]
            exponent = self.exponent if shuffle else 1.0
            draws = _apportion([n**exponent for n in sizes], sum(sizes))
            places = torch.cat([(torch.arange(d, dtype=torch.float64) + 0.5) / d for d in draws])
            task = torch.repeat_interleave(torch.arange(len(draws)), torch.tensor(draws))
            self._owners[shuffle] = task[torch.argsort(places, stable=True)]
        return self._owners[shuffle]

    def blanks(self) -> dict[str, Tensor]:
        """A label of zero ``[1, ...]`` for every task, as its own source has them."""
        if not self._blanks:
            for task, source in self.sources.items():
                example = next(iter(source.batches(1)))
                if task not in example.targets:
                    raise DataError(f'the source of task "{task}" has no labels of it: {sorted(example.targets)}')
                self._blanks |= {k: torch.zeros_like(v[:1]) for k, v in example.targets.items()}
        return self._blanks


class TaskReader:
    """Reads the examples of chosen tasks, batch by batch: what a schedule asks for.

    A batch is shared by its tasks in the proportion of the source's ``mix``, at least one example each. Every task
    walks through its own examples in a random order, and through all of them before it starts over in another one,
    however seldom it is asked for; ``taken`` counts its examples. The order is a function of the seed, so that a
    reader with the same ``taken`` goes on in the same place.

    Made by :meth:`PerTaskSource.reader`.
    """

    def __init__(self, source: PerTaskSource, batch_size: int, seed: int) -> None:
        self.source, self.batch_size, self.seed = source, batch_size, seed
        self.taken = dict.fromkeys(source.sources, 0)
        self._streams: dict[str, _Stream] = {}

    def take(self, tasks: Sequence[str]) -> Batch:
        """The next batch of these tasks, each task's examples together.

        Raises :class:`DataError` naming a task that has no source.
        """
        for task in tasks:
            if task not in self.taken:
                raise DataError(f'task "{task}" has no source of its own; {nearest(task, self.taken)}')
        sizes = [len(self.source.sources[task]) ** self.source.exponent for task in tasks]
        parts = []
        for task, count in zip(tasks, _apportion(sizes, self.batch_size), strict=True):
            parts.append(_filled(self._stream(task).take(count), self.source.blanks()))
            self.taken[task] += count
        return Batch.join(parts)

    def state_dict(self) -> dict[str, int]:
        """``taken``; a copy."""
        return dict(self.taken)

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on where the state was taken."""
        self.taken, self._streams = dict(state), {}

    def _stream(self, task: str) -> _Stream:
        if task not in self._streams:
            source, done = self.source.sources[task], self.taken[task]
            self._streams[task] = _Stream(task, source, self.batch_size, self.seed, 0, True, done)
        return self._streams[task]


def _apportion(shares: list[float], total: int) -> list[int]:
    """``total`` in whole numbers by ``shares``, at least one each (largest remainders)."""
    exact = [s / sum(shares) * total for s in shares]
    whole = [max(1, int(e)) for e in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: (whole[i] - exact[i], i))
    for i in by_remainder[: max(0, total - sum(whole))]:
        whole[i] += 1
    return whole


def _filled(batch: Batch, blanks: Mapping[str, Tensor]) -> Batch:
    """The batch with every task: labels it does not have are zeros, not observed."""
    rows = len(batch)
    absent = {k: v.expand(rows, *v.shape[1:]) for k, v in blanks.items() if k not in batch.targets}
    masks = {k: torch.zeros(rows, dtype=torch.bool) for k in absent}
    targets = {k: batch.targets.get(k, absent.get(k)) for k in blanks}
    return Batch(batch.inputs, targets, {**batch.observed, **masks}, batch.weight)  # type: ignore[arg-type]


class _Stream:
    """Examples of one task one after the other, in a new order each time round."""

    def __init__(self, task: str, source: Source, size: int, seed: int, epoch: int, shuffle: bool, passed: int) -> None:
        self.source, self.size, self.epoch, self.shuffle = source, size, epoch, shuffle
        self.seed = (seed * 31 + zlib.crc32(task.encode())) % (2**40)
        self.round, self.skip = divmod(passed, len(source))
        self.rest: Batch | None = None
        self.walk = self._open()

    def _open(self) -> Iterator[Batch]:
        # a loader has its own batch size, so its batches cannot be counted off
        start, drop = (0, self.skip) if isinstance(self.source, LoaderSource) else divmod(self.skip, self.size)
        self.skip = drop
        epoch = self.epoch + self.round * 1_000_003
        return self.source.batches(self.size, seed=self.seed, epoch=epoch, shuffle=self.shuffle, start=start)

    def take(self, count: int) -> Batch:
        """The next ``count`` examples."""
        taken: list[Batch] = []
        while count:
            batch = self.rest if self.rest is not None else self._next()
            self.rest = batch.select(slice(count, None)) if len(batch) > count else None
            taken.append(batch if self.rest is None else batch.select(slice(0, count)))
            count -= len(taken[-1])
        return Batch.join(taken)

    def _next(self) -> Batch:
        while True:
            batch = next(self.walk, None)
            if batch is None:
                self.round += 1
                self.walk = self._open()
            elif self.skip >= len(batch):
                self.skip -= len(batch)
            else:
                batch, self.skip = batch.select(slice(self.skip, None)), 0
                return batch
