"""Real Atari games, preprocessed as usual."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from ...errors import OptionError

if TYPE_CHECKING:
    from gymnasium.vector import VectorEnv


def atari(
    game: str, num_envs: int = 8, *, clip_rewards: bool = True, max_frames: int = 108_000
) -> Callable[[], VectorEnv]:
    """A maker of ``num_envs`` copies of an Atari game: four grey frames of 84 x 84, all 18 actions.

    Each step lasts four frames of the console, of the last two of which the brighter pixels are kept; episodes begin
    with up to 30 idle frames and, where a game waits for it, a press of the fire button.

    Args:
        game: a name such as ``Pong`` or ``SpaceInvaders``. clip_rewards: to [-1, 1]; for learning, not for scores.
        max_frames: of the console, after which an episode is cut off; the default is half an hour.

    Raises :class:`OptionError` where the package ale-py is missing or has no such game.
    """
    try:
        from ale_py import roms
        from ale_py.vector_env import AtariVectorEnv
    except ModuleNotFoundError as error:
        raise OptionError(f'Atari games need the package {error.name}: pip install "sharewise[robots]"') from None
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", game).lower()
    if name not in roms.get_all_rom_ids():
        raise OptionError(f'ale-py has no game "{game}": names are written as "Pong" or "SpaceInvaders"')

    def make() -> VectorEnv:
        return AtariVectorEnv(
            name,
            num_envs,
            num_threads=1,
            full_action_space=True,
            max_num_frames_per_episode=max_frames,
            reward_clipping=clip_rewards,
            autoreset_mode="SameStep",
        )

    return make
