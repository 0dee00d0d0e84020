"""The pixel games keep their rules, Atari its shape."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from helpers.optional import needs_atari, needs_gymnasium
from sharewise.errors import OptionError

pytestmark = needs_gymnasium


def games():
    from sharewise.systems import agents

    return agents


def place(game, player: int, objects: list[tuple[int, int]]) -> None:
    """One copy, as it is wanted."""
    game.reset(seed=0)
    game.player[:] = player
    game.objects[:] = False
    for row, column in objects:
        game.objects[0, row, column] = True


@pytest.mark.parametrize(
    ("name", "landing", "reward"), [("catch", 5, 1.0), ("catch", 3, 0.0), ("avoid", 5, -1.0), ("avoid", 3, 0.1)]
)
def test_what_comes_down_by_hand(name, landing, reward) -> None:
    game = games().PixelGame(name, 1, every=1000)
    place(game, 4, [(8, landing)])
    observations, rewards, _, done, _ = game.step(np.array([2]))  # right: to column 5
    assert rewards[0] == pytest.approx(reward) and not done[0]
    assert observations[0, 0].nonzero()[1].tolist() == [5]
    assert game.step(np.array([1]))[0][0, 1].sum() == 0  # gone


def test_fetching_by_hand() -> None:
    game = games().PixelGame("fetch", 1)
    place(game, 4, [(9, 5)])
    observations, rewards, *_ = game.step(np.array([2]))
    assert rewards[0] == 0 and observations[0, 1, 5].sum() == 1  # found: the other object is in the middle row
    column = int(observations[0, 1, 5].argmax())
    assert column != 5
    for _ in range(abs(column - 5)):
        observations, rewards, *_ = game.step(1 + np.sign([column - 5]))
    assert rewards[0] == 1 and observations[0, 1, 9].sum() == 1  # home: the next one


def test_catch_and_avoid_look_the_same() -> None:
    seen = []
    for name in ("catch", "avoid"):
        game, rng = games().PixelGame(name, 4), np.random.default_rng(0)
        first, _ = game.reset(seed=3)
        steps = [game.step(rng.integers(3, size=4)) for _ in range(120)]
        seen.append((np.stack([first, *(s[0] for s in steps)]), np.stack([s[1] for s in steps])))
    assert (seen[0][0] == seen[1][0]).all() and (seen[0][1] != seen[1][1]).any()


def test_copies_that_do_not_end_together() -> None:
    for staggered, together in ((False, 4), (True, 1)):
        game = games().PixelGame("catch", 4, horizon=20, staggered=staggered)
        game.reset(seed=0)
        ended = [int(game.step(np.ones(4, int))[3].sum()) for _ in range(20)]
        assert (sum(ended), max(ended)) == (4, together)


def test_a_scripted_player_beats_chance() -> None:
    from sharewise.systems.agents._scores import pixels

    found = pixels(40, 20, 10)
    assert all(found.one[g] > found.zero[g] + 1 for g in games().GAMES)
    assert found.one["avoid"] > 1.2  # hardly ever hit
    assert found.normalise("catch", found.one["catch"]) == 1 and found.normalise("catch", found.zero["catch"]) == 0


def test_wrong_options_are_named() -> None:
    with pytest.raises(OptionError, match='no pixel game "cach": did you mean "catch"'):
        games().PixelGame("cach")
    with pytest.raises(OptionError, match="horizon must be a whole number"):
        games().PixelGame("catch", horizon=0)


@needs_atari
def test_atari_is_as_published() -> None:
    from sharewise.train.deepq._play import Lanes

    lanes = Lanes("Pong", games().atari("Pong", 1, max_frames=8), 1)
    assert (lanes.shape, lanes.actions) == ((4, 84, 84), 18)
    lanes.reset(0)
    assert lanes.observations.dtype == np.uint8
    ended = [len(lanes.step(np.zeros(1, int))[1]) for _ in range(6)]
    assert sum(ended) >= 2  # two steps of four frames, whole episodes
    lanes.close()
    with pytest.raises(OptionError, match='no game "Pnog"'):
        games().atari("Pnog")


def test_without_ale_py_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ale_py", None)
    with pytest.raises(OptionError, match=r'pip install "sharewise\[robots\]"'):
        games().atari("Pong")
