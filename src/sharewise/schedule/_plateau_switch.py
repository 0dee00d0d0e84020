"""Switching when learning has come to a standstill."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import OptionError, ScheduleError
from ._change import ChangeTracker
from ._schedule import Starving, check_count
from ._signal import Signal
from ._switch import Visits


class PlateauSwitch(Visits):
    """One task until it stops changing the parameters (and, if asked, its reward stops rising), then the next.

    After ``min_episodes`` episodes of a visit, the change of the parameters from one episode's end to the next is
    looked at: the mean over the trainable tensors of ``|W - W_before| / |W|``. The first look only stores the weights.
    The visit ends when the mean of the last ``window`` changes is below ``threshold``: on frozen weights after
    ``min_episodes + window + 1`` episodes.

    With ``use_reward`` the reward must have come to a standstill as well: its mean over the last ``window`` episodes is
    above that over the ``window`` before by no more than ``min_gain`` times the latter's size.

    Source: Putra, Devkota, Shafique, "SwitchMT", 2025 (arXiv 2504.13541), the adaptive switching policy and its
    released code. Different: the weights that changes are measured from are copies (there they are the live tensors, so
    that every change after the first is 0); buffers do not count; the abstract's use of the reward, whose formula is
    not given, is our reading.

    Args:
        tasks: see :class:`Schedule`.
        window: changes, and rewards, that a mean is taken of.
        threshold: of the mean relative change.
        min_episodes: of a visit, before its changes are looked at.
        use_reward: whether the reward must stand still too (both, not either).
        min_gain: relative gain that still counts as standing still.
        max_episodes: longest visit; ``None``: as long as it learns.
        stretch: signals that make an episode. 1 where a signal is the end of a game; in training by steps take 50 or
            so, for a look at the parameters costs a tenth of a step, and what one step changes is little anyway. The
            reward of an episode is then the mean of its signals'.
        max_absence, starving: see :class:`Schedule`.

    The signal must have ``parameters`` (all trainable ones, the same at each call) and, with ``use_reward``, the
    current task's ``rewards``; without those the reward is minus the task's loss. Raises :class:`ScheduleError` where
    they are missing or not finite. Cost: a pass over the parameters and a copy of them, after ``min_episodes``.
    """

    uses: frozenset[str] = frozenset({"losses", "rewards", "parameters"})

    def __init__(
        self,
        tasks: Sequence[str],
        *,
        window: int = 10,
        threshold: float = 0.1,
        min_episodes: int = 50,
        use_reward: bool = False,
        min_gain: float = 0.05,
        max_episodes: int | None = None,
        stretch: int = 1,
        max_absence: int | None = None,
        starving: Starving = "raise",
    ) -> None:
        super().__init__(tasks, max_absence=max_absence, starving=starving)
        check_count("window", window)
        check_count("min_episodes", min_episodes, least=0)
        for option, value in (("threshold", threshold), ("min_gain", min_gain)):
            if not (math.isfinite(value) and value >= 0):
                raise OptionError(f"{option} must be a finite number from 0 on, got {value}")
        check_count("stretch", stretch)
        if max_episodes is not None:
            check_count("max_episodes", max_episodes, least=min_episodes + 1)
            self._check_absence(dict.fromkeys(self.names, stretch * max_episodes * (len(self.names) - 1)))
        self.window, self.threshold, self.min_episodes = window, float(threshold), min_episodes
        self.use_reward, self.min_gain, self.max_episodes = use_reward, float(min_gain), max_episodes
        self.stretch = stretch
        self._tracker = ChangeTracker(window)
        self._rewards: list[float] = []
        self._heard: list[float] = []
        self._signals = 0

    def _learn(self, step: int, signal: Signal) -> None:
        self._signals += 1
        if self.use_reward:
            self._heard.append(self._reward(signal))
        if self._signals >= self.stretch:
            self._signals = 0
            super()._learn(step, signal)
            self._heard = []

    def _reason(self, signal: Signal) -> tuple[str, float | None] | None:
        if self.use_reward:
            self._rewards = [*self._rewards, sum(self._heard) / len(self._heard)][-2 * self.window :]
        if self.episodes > self.min_episodes:
            self._tracker.look(signal.parameters)
        mean = self._tracker.mean
        if mean is not None and mean < self.threshold and (not self.use_reward or self._reward_stands()):
            return ("parameters and reward stand still" if self.use_reward else "parameters stand still"), mean
        if self.max_episodes is not None and self.episodes >= self.max_episodes:
            return "longest visit", mean
        return None

    def _reward(self, signal: Signal) -> float:
        if self.current in signal.rewards:
            return float(signal.rewards[self.current])
        loss = signal.loss(self.current)
        if loss is None:
            raise ScheduleError(
                f'use_reward needs a reward of task "{self.current}", which is the one that trains: pass '
                "Signal(rewards={task: value}), or its loss"
            )
        return -loss

    def _reward_stands(self) -> bool:
        if len(self._rewards) < 2 * self.window:
            return False
        before = sum(self._rewards[: self.window]) / self.window
        return sum(self._rewards[self.window :]) / self.window - before <= self.min_gain * abs(before)

    def _begin_visit(self) -> None:
        self._tracker.clear()
        self._rewards = []

    def _own_state(self) -> dict[str, Any]:
        own = {"tracker": self._tracker.state_dict(), "rewards": list(self._rewards)}
        return super()._own_state() | own | {"heard": list(self._heard), "signals": self._signals}

    def _take(self, state: Mapping[str, Any]) -> None:
        super()._take(state)
        self._tracker.load_state_dict(state["tracker"])
        self._rewards, self._heard = list(state["rewards"]), list(state["heard"])
        self._signals = state["signals"]
