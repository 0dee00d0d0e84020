"""Several copies of a game, played step by step whatever way they begin anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ...errors import DataError, ModelError, OptionError, nearest

if TYPE_CHECKING:
    import gymnasium
    from gymnasium.vector import VectorEnv

    GameMaker = Callable[[], gymnasium.Env | VectorEnv]
else:
    GameMaker = Callable[[], Any]
    """Makes a ``gymnasium.Env``, of which as many as there are lanes are then made, or a whole ``VectorEnv``."""

Array = npt.NDArray[Any]


class Moves(NamedTuple):
    """The transitions of one step, one a lane except where a lane only began anew."""

    observations: Array
    actions: Array
    rewards: Array
    next_observations: Array
    ended: Array


class Episode(NamedTuple):
    """One that came to its end: the sum of its rewards, and its steps."""

    total: float
    length: int


class Lanes:
    """A vector environment with the returns of its running episodes.

    Lanes that end begin anew at once (``SAME_STEP``) or with the next step (``NEXT_STEP``), as the environment says.
    """

    def __init__(self, name: str, make: GameMaker, lanes: int) -> None:
        self.name = name
        self._env = _vector(name, make, lanes)
        self.lanes: int = self._env.num_envs
        self._mode = _autoreset(name, self._env)
        self._resetting = np.zeros(self.lanes, bool)
        self._total, self._length = np.zeros(self.lanes), np.zeros(self.lanes, np.int64)
        self.observations: Array = np.empty(0)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one observation."""
        return tuple(self._env.single_observation_space.shape or ())

    @property
    def actions(self) -> int:
        """How many actions there are."""
        return int(self._env.single_action_space.n)

    def reset(self, seed: int) -> None:
        """Begin all lanes anew; what happens then is a function of ``seed`` and the actions."""
        self.observations, _ = self._env.reset(seed=seed)
        self._resetting[:] = False
        self._total[:], self._length[:] = 0.0, 0

    def step(self, actions: Array) -> tuple[Moves, list[tuple[int, Episode]]]:
        """One step of all lanes: what to remember of it, and the lanes whose episodes ended with them.

        Raises :class:`DataError`, naming the game, for a reward that is not finite.
        """
        before, skipped = self.observations, self._resetting
        after, rewards, terminated, truncated, info = self._env.step(actions)
        if not np.isfinite(rewards).all():
            bad = np.asarray(rewards)[~np.isfinite(rewards)][0]
            raise DataError(f'a reward of task "{self.name}" is {bad}: a game must give finite rewards')
        done = np.logical_or(terminated, truncated)
        self.observations = after
        following = self._last(after, done, info) if self._mode == "SameStep" and done.any() else after
        self._total[~skipped] += rewards[~skipped]
        self._length[~skipped] += 1
        finished = [(int(i), Episode(float(self._total[i]), int(self._length[i]))) for i in np.flatnonzero(done)]
        self._total[done], self._length[done] = 0.0, 0
        self._resetting = done.copy() if self._mode == "NextStep" else np.zeros_like(done)
        moves = Moves(before, actions, rewards, following, terminated)
        return (Moves(*(part[~skipped] for part in moves)) if skipped.any() else moves), finished

    def close(self) -> None:
        """Free what the environments hold."""
        self._env.close()

    def _last(self, after: Array, done: Array, info: Mapping[str, Any]) -> Array:
        """What each lane saw after its action, before those that ended began anew."""
        following = np.array(after)
        for lane in np.flatnonzero(done):
            following[lane] = info["final_obs"][lane]
        return following


def _vector(name: str, make: GameMaker, lanes: int) -> Any:
    try:
        from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
    except ModuleNotFoundError:
        raise OptionError(f'game "{name}" needs the package gymnasium: pip install "sharewise[robots]"') from None
    first = make()
    if isinstance(first, VectorEnv):
        return first
    makers: list[Any] = [lambda: first, *[make] * (lanes - 1)]
    return SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)


def _autoreset(name: str, env: Any) -> str:
    mode = env.metadata.get("autoreset_mode")
    value = str(getattr(mode, "value", mode))
    if value not in ("NextStep", "SameStep"):
        raise OptionError(
            f'game "{name}" says autoreset_mode {value} in its metadata: lanes must begin anew by themselves, with '
            "gymnasium's AutoresetMode.SAME_STEP or NEXT_STEP"
        )
    return value


def check_games(games: Mapping[str, Lanes], shape: tuple[int, ...], actions: int, tasks: tuple[str, ...]) -> None:
    """Raise :class:`ModelError`, naming the game, where a network for these does not fit."""
    for name, lanes in games.items():
        if name not in tasks:
            raise ModelError(f'the network knows no task "{name}"; {nearest(name, tasks)}')
        if lanes.shape != shape:
            raise ModelError(f'game "{name}" shows {list(lanes.shape)}, the network takes {list(shape)}')
        if lanes.actions != actions:
            raise ModelError(
                f'game "{name}" has {lanes.actions} actions, the network values {actions}: give all games one set of '
                "actions (Atari: the full one)"
            )
