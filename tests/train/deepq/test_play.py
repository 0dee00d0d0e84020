"""Lanes: what is remembered where episodes end, whichever way an environment begins anew."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.optional import needs_gymnasium
from sharewise.errors import DataError, ModelError, OptionError

pytestmark = needs_gymnasium

from sharewise.train.deepq._play import Lanes, check_games  # noqa: E402
from sharewise.train.deepq._score import play  # noqa: E402


def makers():
    from gymnasium.vector import AutoresetMode, SyncVectorEnv

    from helpers.games import Corridor

    return {
        "single": Corridor,
        "same step": lambda: SyncVectorEnv([Corridor] * 3, autoreset_mode=AutoresetMode.SAME_STEP),
        "next step": lambda: SyncVectorEnv([Corridor] * 3, autoreset_mode=AutoresetMode.NEXT_STEP),
    }


@pytest.mark.parametrize("kind", ["single", "same step", "next step"])
def test_every_transition_is_one_of_the_game(kind) -> None:
    lanes = Lanes("long", makers()[kind], 3)
    assert (lanes.shape, lanes.actions, lanes.lanes) == ((1, 1, 5), 2, 3)
    lanes.reset(0)
    rng, seen, ends = np.random.default_rng(0), 0, 0
    for _ in range(200):
        moves, finished = lanes.step(rng.integers(2, size=3))
        place, following = (part.reshape(-1, 5).argmax(1) for part in (moves.observations, moves.next_observations))
        assert (following == np.clip(place + np.where(moves.actions, 1, -1), 0, 4)).all()
        assert (moves.ended == (following == 4)).all() and (moves.rewards == moves.ended).all()
        assert not (place == 4).any()  # nothing is done behind an end
        seen += len(place)
        ends += len(finished)
        assert all(e.length <= 9 and e.total in (0.0, 1.0) for _, e in finished)
        assert sum(e.total for _, e in finished) == moves.rewards.sum()
    assert ends > 40 and seen == (600 if kind != "next step" else 600 - ends + sum(lanes._resetting))


def test_the_seed_decides() -> None:
    def walk(seed: int) -> list:
        lanes = Lanes("long", makers()["single"], 4)
        lanes.reset(seed)
        return [lanes.step(np.ones(4, int))[0].observations.tolist() for _ in range(20)]

    assert walk(1) == walk(1) != walk(2)


def test_short_episodes_are_not_preferred() -> None:
    """One lane ends every step, the other after ten: each gives half of the episodes."""

    class Clockwork:
        lanes, name = 2, "clockwork"
        observations = np.zeros((2, 1))

        def reset(self, seed):
            self.clock = 0

        def step(self, actions):
            from sharewise.train.deepq._play import Episode

            self.clock += 1
            return None, [(0, Episode(0.0, 1)), *([(1, Episode(1.0, 10))] if self.clock % 10 == 0 else [])]

    def policy(observations):
        return np.zeros(2, int)

    found = play(Clockwork(), policy, 6, seed=0, max_steps=100)
    assert (found.mean, found.length, len(found.returns)) == (0.5, 5.5, 6)
    with pytest.raises(DataError, match='"clockwork" did not end 6 episodes within 20 steps of 2 lanes'):
        play(Clockwork(), policy, 6, seed=0, max_steps=20)


def test_games_that_do_not_fit_are_named() -> None:
    from gymnasium.vector import AutoresetMode, SyncVectorEnv

    from helpers.games import Corridor

    lanes = {"long": Lanes("long", Corridor, 2)}
    with pytest.raises(ModelError, match=r'game "long" shows \[1, 1, 5\], the network takes \[4, 84, 84\]'):
        check_games(lanes, (4, 84, 84), 2, ("long",))
    with pytest.raises(ModelError, match='game "long" has 2 actions, the network values 18'):
        check_games(lanes, (1, 1, 5), 18, ("long",))
    with pytest.raises(ModelError, match='no task "long"; did you mean "longer"'):
        check_games(lanes, (1, 1, 5), 2, ("longer",))
    disabled = SyncVectorEnv([Corridor], autoreset_mode=AutoresetMode.DISABLED)
    with pytest.raises(OptionError, match='game "long" says autoreset_mode Disabled'):
        Lanes("long", lambda: disabled, 1)


def test_a_reward_that_is_no_number_is_refused_by_name() -> None:
    from helpers.games import Corridor

    lanes = Lanes("short", lambda: Corridor(prize=float("nan")), 1)
    lanes.reset(0)
    with pytest.raises(DataError, match='reward of task "short" is nan'):
        for _ in range(4):
            lanes.step(np.ones(1, int))
