"""Transitions of several games, kept apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..errors import DataError, OptionError, TaskError, nearest


class Transitions(NamedTuple):
    """Observations ``[n, ...]``, actions ``[n]``, rewards ``[n]``, what was observed next, and whether that was an end.

    ``ended`` is 1 where the game was over, so that nothing can follow; a time limit is no end of the game.
    """

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    next_observations: Tensor
    ended: Tensor


class PerTaskReplay:
    """The last ``capacity`` transitions of each task, drawn uniformly with replacement.

    Args:
        tasks: their names. capacity: transitions a task. seed: of the generator that draws.

    Memory: two observations a transition in the type they come in (uint8 for frames), taken when a task's first
    transition comes. State: ``state_dict`` holds what is filled and the generator; drawing continues bit for bit.
    """

    def __init__(self, tasks: Sequence[str], capacity: int, *, seed: int = 0) -> None:
        self.tasks = tuple(tasks)
        if not self.tasks or len(set(self.tasks)) < len(self.tasks):
            raise OptionError(f"a replay needs one or more tasks with different names, got {list(self.tasks)}")
        if not isinstance(capacity, int) or capacity < 1:
            raise OptionError(f"capacity must be a whole number of at least 1, got {capacity!r}")
        self.capacity = capacity
        self._kept: dict[str, Transitions] = {}
        self._pushed = dict.fromkeys(self.tasks, 0)
        self._generator = torch.Generator().manual_seed(seed)

    def size(self, task: str) -> int:
        """How many transitions of a task there are; raises :class:`TaskError` for an unknown one."""
        if task not in self._pushed:
            raise TaskError(f'the replay has no task "{task}"; {nearest(task, self.tasks)}')
        return min(self._pushed[task], self.capacity)

    def push(
        self,
        task: str,
        observations: npt.NDArray[Any],
        actions: npt.NDArray[Any],
        rewards: npt.NDArray[Any],
        next_observations: npt.NDArray[Any],
        ended: npt.NDArray[Any],
    ) -> None:
        """Add ``n`` transitions, in place of the oldest where the task's room is full.

        Raises :class:`DataError`, naming the task, for a reward that is NaN or infinite; nothing is added then.
        """
        self.size(task)
        bad = np.asarray(rewards)[~np.isfinite(rewards)]
        if bad.size:
            raise DataError(f'a reward of task "{task}" is {bad[0]}: a game must give finite rewards')
        new = Transitions(
            torch.from_numpy(np.ascontiguousarray(observations)),
            torch.as_tensor(np.asarray(actions, np.int64)),
            torch.as_tensor(np.asarray(rewards, np.float32)),
            torch.from_numpy(np.ascontiguousarray(next_observations)),
            torch.as_tensor(np.asarray(ended, np.float32)),
        )
        if task not in self._kept:
            self._kept[task] = Transitions(*(torch.empty((self.capacity, *t.shape[1:]), dtype=t.dtype) for t in new))
        count, start = len(new.actions), self._pushed[task]
        where = torch.arange(start, start + count)[-self.capacity :] % self.capacity
        for kept, values in zip(self._kept[task], new, strict=True):
            kept[where] = values[-self.capacity :]
        self._pushed[task] += count

    def sample(self, task: str, batch: int) -> Transitions:
        """``batch`` transitions of a task; raises :class:`DataError` where it has none yet."""
        size = self.size(task)
        if size == 0:
            raise DataError(f'there is no transition of task "{task}" to draw: play it first')
        rows = torch.randint(size, (batch,), generator=self._generator)
        return Transitions(*(kept[rows] for kept in self._kept[task]))

    def state_dict(self) -> dict[str, Any]:
        """All transitions, counts and the generator's state; a copy."""
        kept = {t: [part[: self.size(t)].clone() for part in self._kept[t]] for t in self._kept}
        return {"kept": kept, "pushed": dict(self._pushed), "generator": self._generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what :meth:`state_dict` gave; raises :class:`DataError` if that was of other tasks or sizes."""
        if set(state["pushed"]) != set(self.tasks):
            raise DataError(f"the state is of tasks {sorted(state['pushed'])}, this replay is of {sorted(self.tasks)}")
        kept = {}
        for task, parts in state["kept"].items():
            if len(parts[0]) != min(state["pushed"][task], self.capacity):
                raise DataError(f'the state was made with another capacity than {self.capacity}: task "{task}"')
            kept[task] = Transitions(*(torch.empty((self.capacity, *p.shape[1:]), dtype=p.dtype) for p in parts))
            for whole, part in zip(kept[task], parts, strict=True):
                whole[: len(part)] = part
        self._kept = kept
        self._pushed = dict(state["pushed"])
        self._generator.set_state(state["generator"])
