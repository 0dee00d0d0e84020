"""What every schedule is: which tasks are in a step, what it learns from the step, and its state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch

from ..errors import OptionError, ScheduleError
from ._signal import Signal

Starving = Literal["raise", "add"]


class Schedule:
    """Decides which tasks train in each step. Derive and write :meth:`_choose`.

    Ask :meth:`tasks` for the tasks of a step, train them, and tell :meth:`observe` what came of it. A step is whatever
    one decision lasts for: an optimizer step (as in :func:`sharewise.fit`), or an episode of a game.

    Args:
        tasks: the names of all tasks.
        seed: of the schedule's own ``generator``, for those that draw random numbers; ``None`` for the others.
        max_absence: for how many steps in a row a task may be left out; ``None``: any number.
        starving: what happens to a task left out for longer: ``raise`` an error, at once where the schedule is known to
            do so, or ``add`` it to the step.

    Raises :class:`OptionError` for names that repeat and options out of range, :class:`ScheduleError` naming the task
    that is left out for too long.

    State: ``state_dict`` is of tensors, numbers and strings; with it a schedule built with the same options continues
    bit for bit.
    """

    uses: frozenset[str] = frozenset()
    """What :meth:`observe` looks at: of ``losses``, ``rewards``, ``parameters``, ``gram`` and ``rows``."""

    def __init__(
        self,
        tasks: Sequence[str],
        *,
        seed: int | None = None,
        max_absence: int | None = None,
        starving: Starving = "raise",
    ) -> None:
        self.names = tuple(tasks)
        if not self.names or len(set(self.names)) < len(self.names):
            raise OptionError(f"a schedule needs one or more tasks with different names, got {list(self.names)}")
        if max_absence is not None:
            check_count("max_absence", max_absence, least=0)
        if starving not in ("raise", "add"):
            raise OptionError(f'starving must be "raise" or "add", got {starving!r}')
        self.max_absence, self.starving = max_absence, starving
        self.generator = None if seed is None else torch.Generator().manual_seed(seed)
        self._step = -1
        self._current: list[str] = []
        self._absence = dict.fromkeys(self.names, 0)

    def tasks(self, step: int) -> list[str]:
        """The tasks that train in ``step``, in the order the schedule was given them; at least one.

        Steps go forwards. Asked again about the same step the answer is the same, and nothing is drawn anew.
        """
        if step < self._step:
            raise ScheduleError(f"step {step} was asked for after step {self._step}: steps go forwards")
        if step > self._step:
            chosen = self._choose(step)
            self._current, self._absence = self._cover(set(chosen), step)
            self._step = step
        return list(self._current)

    def probes(self, step: int) -> list[str]:
        """Tasks whose gradients :meth:`observe` wants before the tasks of ``step`` are asked for; none for most.

        Their form is the one that ``uses`` names: ``gram`` or ``rows``.
        """
        return []

    def observe(self, step: int, signal: Signal) -> None:
        """Learn from the step; see ``uses`` for what is looked at.

        Raises :class:`ScheduleError` for a task it does not know, and for a reward or loss that is no finite number.
        """
        signal.check(self.names)
        self._learn(step, signal)

    def state_dict(self) -> dict[str, Any]:
        """All that decides how the schedule goes on; a copy."""
        state: dict[str, Any] = {
            "tasks": list(self.names),
            "step": self._step,
            "current": list(self._current),
            "absence": dict(self._absence),
        }
        if self.generator is not None:
            state["generator"] = self.generator.get_state()
        return state | self._own_state()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what :meth:`state_dict` gave; raises :class:`ScheduleError` if that was for other tasks."""
        if list(state["tasks"]) != list(self.names):
            raise ScheduleError(f"the state is of tasks {state['tasks']}, this schedule was built for {self.names}")
        self._step, self._current = state["step"], list(state["current"])
        self._absence = dict(state["absence"])
        if self.generator is not None:
            self.generator.set_state(state["generator"].cpu())
        self._take(state)

    def _choose(self, step: int) -> Sequence[str]:
        """The tasks of a step; called once a step."""
        raise NotImplementedError

    def _learn(self, step: int, signal: Signal) -> None:
        """Take in a signal that was checked."""

    def _own_state(self) -> dict[str, Any]:
        """What a derived schedule saves beside the rest."""
        return {}

    def _take(self, state: Mapping[str, Any]) -> None:
        """Take back what :meth:`_own_state` gave, from the whole state."""

    def _cover(self, chosen: set[str], step: int) -> tuple[list[str], dict[str, int]]:
        """The tasks of the step, with those that must not be left out any longer, and how long each is absent then."""
        overdue = [
            name
            for name in self.names
            if self.max_absence is not None and name not in chosen and self._absence[name] >= self.max_absence
        ]
        if overdue and self.starving == "raise":
            raise self._starved(overdue[0], self._absence[overdue[0]] + 1, f"up to step {step}")
        chosen = chosen.union(overdue)
        absence = {name: 0 if name in chosen else self._absence[name] + 1 for name in self.names}
        return [name for name in self.names if name in chosen], absence

    def _check_absence(self, longest: Mapping[str, float]) -> None:
        """Refuse options under which a task is known to be left out too long: task -> steps in a row at most."""
        if self.max_absence is None or self.starving == "add":
            return
        for name, steps in longest.items():
            if steps > self.max_absence:
                raise self._starved(name, steps, "by these options")

    def _starved(self, task: str, steps: float, when: str) -> ScheduleError:
        return ScheduleError(
            f'{type(self).__name__} leaves task "{task}" out of {steps:g} steps in a row {when}, max_absence is '
            f'{self.max_absence}: give the task a larger share, raise max_absence, or set starving="add"'
        )


def check_count(option: str, value: object, *, least: int = 1) -> None:
    """Raise :class:`OptionError` unless ``value`` is a whole number of at least ``least``."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise OptionError(f"{option} must be a whole number of at least {least}, got {value!r}")
