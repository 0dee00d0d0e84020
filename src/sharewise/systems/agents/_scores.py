"""Games with what their returns are measured against."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np

from ...train.deepq import GameMaker
from ...train.deepq._play import Lanes
from ...train.deepq._score import play
from ._atari import atari
from ._pixels import GAMES, PixelGame, scripted

HUMANS = {"Pong": -3.0, "Breakout": 31.0, "Enduro": 368.0}
"""Returns of people, as quoted by Devkota, Putra, Shafique, "MTSpark", 2024 (arXiv 2412.04847)."""


@dataclass(frozen=True)
class Games:
    """Makers for learning and for scores, and the returns that count as 0 (random play) and 1 (the yardstick)."""

    learn: Mapping[str, GameMaker]
    score: Mapping[str, GameMaker]
    zero: Mapping[str, float]
    one: Mapping[str, float]

    def normalise(self, task: str, value: float) -> float:
        """0 for random play, 1 for the yardstick; neither is a bound."""
        return (value - self.zero[task]) / (self.one[task] - self.zero[task])


@lru_cache(maxsize=2)
def pixels(episodes: int = 500, lanes: int = 50, size: int = 6) -> Games:
    """The three pixel games; the yardstick is the scripted player's mean return."""
    score: dict[str, GameMaker] = {game: partial(PixelGame, game, lanes, size=size) for game in GAMES}
    return Games(
        learn={game: partial(PixelGame, game, 8, size=size, staggered=True) for game in GAMES},
        score=score,
        zero={game: _mean(game, score[game], _random(3), episodes) for game in GAMES},
        one={game: _mean(game, score[game], scripted(game), episodes) for game in GAMES},
    )


@lru_cache(maxsize=2)
def arcade(lanes: int, episodes: int, max_frames: int) -> Games:
    """Pong, Breakout and Enduro; the yardstick is people's returns."""
    score: dict[str, GameMaker] = {
        game: atari(game, lanes, clip_rewards=False, max_frames=max_frames) for game in HUMANS
    }
    return Games(
        learn={game: atari(game, lanes, max_frames=max_frames) for game in HUMANS},
        score=score,
        zero={game: _mean(game, score[game], _random(18), episodes) for game in HUMANS},
        one=HUMANS,
    )


def _random(actions: int) -> Callable[[Any], Any]:
    rng = np.random.default_rng(0)
    return lambda observations: rng.integers(actions, size=len(observations))


def _mean(name: str, make: GameMaker, policy: Callable[[Any], Any], episodes: int) -> float:
    lanes = Lanes(name, make, 1)
    found = play(lanes, policy, episodes, seed=0, max_steps=27_000)
    lanes.close()
    return found.mean
