"""Three games of 10 x 10 pixels that look alike and want different things."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from gymnasium.vector import AutoresetMode, VectorEnv

from ...errors import OptionError, nearest

Array = npt.NDArray[Any]
GAMES = ("catch", "avoid", "fetch")
LEFT, STAY, RIGHT = range(3)


class PixelGame(VectorEnv[Array, Array, Array]):
    """One of three games, ``num_envs`` copies at once: a player moves along the bottom row.

    Observations ``[2, size, size]`` of 0 and 1: the player, and objects. Actions: left, stay, right.

    ========= ======================================= ================================================================
    game      objects                                 reward
    ========= ======================================= ================================================================
    ``catch`` one in ``every`` steps starts in a      1 for each that comes down on the player
              random column of the top row and falls
    ``avoid`` the same                                -1 for each that comes down on the player, 0.1 for the others
    ``fetch`` one in the bottom row; when the player  1 when the player stands below the second
              is there, one in the middle row instead
    ========= ======================================= ================================================================

    An episode is cut off after ``horizon`` steps (a time limit, no end of the game), and the next begins at once
    (``SAME_STEP``). With ``staggered`` the first episodes are of different lengths, so that the copies do not end
    together: for learning, where the end of an episode is a moment of decision, not for scores.
    """

    def __init__(
        self,
        game: str,
        num_envs: int = 8,
        *,
        size: int = 10,
        horizon: int = 50,
        every: int = 3,
        staggered: bool = False,
    ) -> None:
        if game not in GAMES:
            raise OptionError(f'no pixel game "{game}": {nearest(game, GAMES)}')
        for option, value in (("num_envs", num_envs), ("size", size), ("horizon", horizon), ("every", every)):
            if not isinstance(value, int) or value < 1:
                raise OptionError(f"{option} must be a whole number of at least 1, got {value!r}")
        self.game, self.num_envs, self.size, self.horizon, self.every = game, num_envs, size, horizon, every
        self.staggered = staggered
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        self.single_observation_space = Box(0, 1, (2, size, size), np.uint8)
        self.observation_space = Box(0, 1, (num_envs, 2, size, size), np.uint8)
        self.single_action_space, self.action_space = Discrete(3), MultiDiscrete([3] * num_envs)
        self.player = np.zeros(num_envs, np.int64)
        self.objects = np.zeros((num_envs, size, size), bool)
        self._clock = np.zeros(num_envs, np.int64)
        self._carrying = np.zeros(num_envs, bool)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """All copies begin anew."""
        if not isinstance(seed, list):
            super().reset(seed=seed, options=options)
        self._begin(np.ones(self.num_envs, bool))
        if self.staggered:
            self._clock = np.arange(self.num_envs) * self.horizon // self.num_envs
        return self._look(), {}

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        """The player moves, then objects fall."""
        self.player = np.clip(self.player + np.asarray(actions) - STAY, 0, self.size - 1)
        self._clock += 1
        rewards = self._fetch() if self.game == "fetch" else self._fall()
        done, observations, info = self._clock >= self.horizon, self._look(), dict[str, Any]()
        if done.any():
            info = {"final_obs": observations, "_final_obs": done}
            self._begin(done)
            observations = self._look()
        return observations, rewards, np.zeros(self.num_envs, bool), done, info

    def _begin(self, which: Array) -> None:
        count = int(which.sum())
        self.player[which] = self.np_random.integers(self.size, size=count)
        self.objects[which] = False
        self._clock[which], self._carrying[which] = 0, False
        if self.game == "fetch":
            self._place(which, self.size - 1)
        else:
            self.objects[which, 0, self.np_random.integers(self.size, size=count)] = True

    def _fall(self) -> Array:
        self.objects[:, 1:] = self.objects[:, :-1]
        columns = self.np_random.integers(self.size, size=self.num_envs)
        self.objects[:, 0] = (np.arange(self.size) == columns[:, None]) & (self._clock % self.every == 0)[:, None]
        landed = self.objects[:, -1].sum(1)
        hit = self.objects[np.arange(self.num_envs), -1, self.player]
        if self.game == "catch":
            return hit.astype(np.float64)
        return 0.1 * (landed - hit) - hit

    def _fetch(self) -> Array:
        column = self.objects.any(1).argmax(1)
        there = column == self.player
        home, found = there & self._carrying, there & ~self._carrying
        self._carrying ^= there
        self._place(found, self.size // 2)
        self._place(home, self.size - 1)
        return home.astype(np.float64)

    def _place(self, which: Array, row: int) -> None:
        """The one object of ``fetch``, in any column but the player's."""
        count = int(which.sum())
        away = self.np_random.integers(1, self.size, size=count)
        self.objects[which] = False
        self.objects[which, row, (self.player[which] + away) % self.size] = True

    def _look(self) -> Array:
        seen = np.zeros((self.num_envs, 2, self.size, self.size), np.uint8)
        seen[np.arange(self.num_envs), 0, -1, self.player] = 1
        seen[:, 1] = self.objects
        return seen


def scripted(game: str) -> Callable[[Array], Array]:
    """A player that knows the rules: observations ``[n, 2, size, size]`` -> actions ``[n]``.

    ``catch``: towards the lowest object that can still be reached. ``avoid``: the nearest place where nothing comes
    down in the next step. ``fetch``: towards the object. A yardstick for returns, not the best there is.
    """
    return {"catch": _catch, "avoid": _avoid, "fetch": _towards}[game]


def _player(observations: Array) -> Array:
    return observations[:, 0, -1].argmax(1)


def _towards(observations: Array) -> Array:
    return STAY + np.sign(observations[:, 1].any(1).argmax(1) - _player(observations))


def _catch(observations: Array) -> Array:
    size, player = observations.shape[-1], _player(observations)
    steps = size - 1 - np.arange(size)[:, None]  # until what is in a row comes down
    distance = np.abs(np.arange(size) - player[:, None])[:, None, :]
    reachable = (observations[:, 1] > 0) & (distance <= steps) & (steps > 0)
    first = np.where(reachable, steps, size).reshape(len(observations), -1)
    goal = np.where(first.min(1) < size, first.argmin(1) % size, player)
    return STAY + np.sign(goal - player)


def _avoid(observations: Array) -> Array:
    size, player = observations.shape[-1], _player(observations)
    danger = observations[:, 1, -2] > 0
    places = np.clip(player[:, None] + np.array([0, -1, 1]), 0, size - 1)
    safe = ~np.take_along_axis(danger, places, 1)
    return np.array([STAY, LEFT, RIGHT])[safe.argmax(1)]
