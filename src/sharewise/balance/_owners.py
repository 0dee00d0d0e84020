"""Whose each place of an operation's output is."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor


class Owners:
    """``of [P]``: the task of each of P places. One object for all operations with the same owners, so that what
    follows from them is found once.
    """

    def __init__(self, of: Tensor) -> None:
        self.of = of
        self._repeated: dict[int, Owners] = {}

    def __len__(self) -> int:
        return len(self.of)

    @cached_property
    def runs(self) -> tuple[list[int], list[int]]:
        """Tasks and numbers of places that follow each other and belong to one task."""
        tasks, counts = torch.unique_consecutive(self.of, return_counts=True)
        return tasks.tolist(), counts.tolist()

    @cached_property
    def sorted_runs(self) -> tuple[list[int], list[int]]:
        """The same once places are sorted by task."""
        tasks, counts = torch.unique(self.of, return_counts=True)
        return tasks.tolist(), counts.tolist()

    @cached_property
    def order(self) -> Tensor:
        """Sorts the places by task."""
        return self.of.argsort(stable=True)

    def repeated(self, times: int) -> Owners:
        """So many places for each one."""
        if times not in self._repeated:
            self._repeated[times] = Owners(self.of.repeat_interleave(times))
        return self._repeated[times]

    def sums(self, places: Tensor, tasks: int) -> Tensor:
        """``[P, d]`` added up by task: ``[tasks, d]``."""
        of, (runs, counts) = self.of, self.runs
        if counts[0] > 1 and len(set(counts)) == 1:  # as of sequences: fewer and longer sums
            places, of = places.unflatten(0, (len(runs), counts[0])).sum(1), of[:: counts[0]]
        return places.new_zeros(tasks, places.shape[1]).index_add_(0, of, places)


class KnownOwners:
    """Makes one object of equal owners."""

    def __init__(self) -> None:
        self.known: list[Owners] = []

    def find(self, of: Tensor) -> Owners:
        """The owners met before that are these, or new ones."""
        for owners in self.known:
            if owners.of.shape == of.shape and owners.of.device == of.device and torch.equal(owners.of, of):
                return owners
        self.known.append(Owners(of))
        return self.known[-1]
