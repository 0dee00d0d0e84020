"""What a schedule is told about a step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from ..errors import ScheduleError, nearest


@dataclass(frozen=True)
class Gradients:
    """Gradients of several tasks' losses for the parameters they share, in one of two forms.

    Args:
        names: the m tasks.
        gram: their inner products ``[m, m]``.
        rows: one flat gradient ``[n]`` a task, in the order of ``names``. May be made one at a time: read once.
    """

    names: tuple[str, ...]
    gram: Tensor | None = None
    rows: Iterable[Tensor] | None = None


@dataclass(frozen=True)
class Signal:
    """What became known in a step; schedules take what they use and ignore the rest.

    Args:
        losses: task -> its (detached) scalar loss in the step, for the tasks that had one.
        rewards: task -> a number that is better the larger it is: the return of an episode, a score.
        parameters: the model's parameters after the step. Frozen ones do not count; nothing of them is kept but copies.
        gradients: of the tasks that :meth:`Schedule.probes` asked for, before the step's tasks are asked for.
    """

    losses: Mapping[str, Tensor | float] = field(default_factory=dict)
    rewards: Mapping[str, float] = field(default_factory=dict)
    parameters: Iterable[Tensor] = ()
    gradients: Gradients | None = None

    def check(self, names: Iterable[str]) -> None:
        """Raise :class:`ScheduleError` for a task that is not among ``names`` and for a reward that is not finite."""
        known = tuple(names)
        probed = () if self.gradients is None else self.gradients.names
        for kind, given in (("loss", self.losses), ("reward", self.rewards), ("gradient", probed)):
            for task in given:
                if task not in known:
                    raise ScheduleError(
                        f'a {kind} is of task "{task}", which the schedule does not know; {nearest(task, known)}'
                    )
        for task, reward in self.rewards.items():
            if not math.isfinite(reward):
                raise ScheduleError(f'the reward of task "{task}" is {float(reward)}: give a finite number')

    def loss(self, task: str) -> float | None:
        """A task's loss as a number, ``None`` where it had none; raises :class:`ScheduleError` if it is not finite.

        Waits for the device the loss is on.
        """
        if task not in self.losses:
            return None
        value = float(self.losses[task])
        if not math.isfinite(value):
            raise ScheduleError(f'the loss of task "{task}" is {value}: a schedule cannot go by it')
        return value
