"""How well a policy plays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import DataError
from ._play import Lanes

Policy = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]


@dataclass(frozen=True)
class Score:
    """The episodes of one game: their returns (sums of rewards, not discounted) and lengths in steps."""

    returns: tuple[float, ...]
    lengths: tuple[int, ...]

    @property
    def mean(self) -> float:
        """The mean return."""
        return float(np.mean(self.returns))

    @property
    def length(self) -> float:
        """The mean length."""
        return float(np.mean(self.lengths))


def play(lanes: Lanes, policy: Policy, episodes: int, *, seed: int, max_steps: int) -> Score:
    """``episodes`` whole episodes, as many from each lane as from the others, so that short ones are not preferred.

    Raises :class:`DataError` if they have not ended after ``max_steps`` steps of every lane.
    """
    lanes.reset(seed)
    wanted = [episodes // lanes.lanes + (i < episodes % lanes.lanes) for i in range(lanes.lanes)]
    found: list[list[tuple[float, int]]] = [[] for _ in wanted]
    for _ in range(max_steps):
        _, finished = lanes.step(policy(lanes.observations))
        for lane, episode in finished:
            if len(found[lane]) < wanted[lane]:
                found[lane].append(episode)
        if all(len(have) == want for have, want in zip(found, wanted, strict=True)):
            every = [episode for have in found for episode in have]
            return Score(tuple(e[0] for e in every), tuple(e[1] for e in every))
    raise DataError(
        f'game "{lanes.name}" did not end {episodes} episodes within {max_steps} steps of {lanes.lanes} lanes: raise '
        "max_steps, or give the game a time limit"
    )
