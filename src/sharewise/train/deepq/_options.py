"""The numbers of deep Q-learning."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from ...errors import OptionError


@dataclass(frozen=True)
class DQNOptions:
    """Settings of :class:`MultiTaskDQN`; the defaults are those of SwitchMT's released code, except ``lanes``.

    Attributes:
        gamma: discount a step. learning_rate: of Adam. batch: transitions a gradient step.
        capacity: transitions kept a task. warm_up: random ones a task before learning starts, not counted as frames.
        update_every: frames between rounds of one gradient step a task.
        target_every: frames between copies of the network to the target network.
        epsilon_start, epsilon_end, epsilon_frames: share of random actions, linear in frames.
        clamp: bound of each entry of the gradient.
        lanes: copies of a game that are played at once, where it is made as a single environment.
    """

    gamma: float = 0.99
    learning_rate: float = 3e-4
    batch: int = 1024
    capacity: int = 2**20
    warm_up: int = 5000
    update_every: int = 4
    target_every: int = 25_000
    epsilon_start: float = 1.0
    epsilon_end: float = 0.1
    epsilon_frames: int = 1_000_000
    clamp: float = 1.0
    lanes: int = 8

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type == "int" and (not isinstance(value, int) or value < 1):
                raise OptionError(f"{field.name} must be a whole number of at least 1, got {value!r}")
            if not math.isfinite(value):
                raise OptionError(f"{field.name} must be a finite number, got {value}")
        for name in ("gamma", "epsilon_start", "epsilon_end"):
            if not 0 <= getattr(self, name) <= 1:
                raise OptionError(f"{name} must lie from 0 to 1, got {getattr(self, name)}")
        for name in ("learning_rate", "clamp"):
            if getattr(self, name) <= 0:
                raise OptionError(f"{name} must be above 0, got {getattr(self, name)}")

    def epsilon(self, frame: int) -> float:
        """The share of random actions at ``frame``."""
        share = min(1.0, frame / self.epsilon_frames)
        return self.epsilon_start + (self.epsilon_end - self.epsilon_start) * share
