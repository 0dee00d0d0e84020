"""Tiny games with known rules, in whatever way an environment can begin anew."""

from __future__ import annotations

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from torch import nn

from sharewise.sharing import DuelingDSQN


class Corridor(gymnasium.Env):
    """Five places in a row; at the last one a game ends with ``prize``. Cut off after 9 steps."""

    observation_space = Box(0, 1, (1, 1, 5), np.uint8)
    action_space = Discrete(2)

    def __init__(self, prize: float = 1.0) -> None:
        self.prize, self.place, self.clock = prize, 0, 0

    def _look(self) -> np.ndarray:
        return (np.arange(5) == self.place).astype(np.uint8)[None, None]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.clock = int(self.np_random.integers(2)), 0
        return self._look(), {}

    def step(self, action):
        self.place = int(np.clip(self.place + (1 if action else -1), 0, 4))
        self.clock += 1
        over = self.place == 4
        return self._look(), self.prize if over else 0.0, over, self.clock >= 9, {}


def corridor_network(tasks=("long", "short")) -> nn.Module:
    """A spiking network for it."""
    return DuelingDSQN(
        tasks, (1, 1, 5), 2, convolutions=[], hidden=16, steps=2, gate="per_neuron", normalise="none", scale=0.2
    )
