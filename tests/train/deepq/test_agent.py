"""The agent: it learns, plays what the schedule says, resumes bit for bit, and names what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from helpers.optional import needs_gymnasium
from sharewise.errors import DataError, OptionError, RunError, TaskError
from sharewise.schedule import AllTasks, FixedSwitch, PlateauSwitch
from sharewise.train.deepq import DQNOptions, MultiTaskDQN

pytestmark = needs_gymnasium

FEW = DQNOptions(
    gamma=0.9, learning_rate=3e-3, batch=16, capacity=500, warm_up=40, target_every=40, epsilon_frames=300, lanes=4
)


def agent(schedule=None, seed: int = 0, prize: float = 1.0, options: DQNOptions = FEW) -> MultiTaskDQN:
    from helpers.games import Corridor, corridor_network

    torch.manual_seed(seed)
    games = {"long": Corridor, "short": lambda: Corridor(prize)}
    schedule = schedule or PlateauSwitch(list(games), window=2, min_episodes=3, threshold=0.5, max_episodes=9)
    return MultiTaskDQN(corridor_network(), games, schedule=schedule, options=options, seed=seed)


def same(one, other) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def test_it_learns_the_way() -> None:
    found = agent(FixedSwitch(["long", "short"], 5)).learn(640)
    for score in found.evaluate(6).values():
        assert score.mean == 1.0 and score.length <= 4
    assert found.frame == 640 and min(found.frames.values()) > 100
    assert {t: len(r) for t, r in found.returns.items()} == found.episodes


def test_a_run_that_was_continued_equals_one_that_was_not(tmp_path: Path) -> None:
    whole = agent().learn(400, out=tmp_path / "whole", checkpoint_every=160)
    agent().learn(160, out=tmp_path / "part")
    continued = agent(seed=0)
    torch.nn.init.zeros_(continued.network.value.last.weight)  # whatever it was before
    continued.learn(400, out=tmp_path / "part", checkpoint_every=160)
    assert whole.frame == continued.frame == 400 and whole.schedule.log
    assert same(whole.state_dict(), continued.state_dict())
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "part").read_bytes()
    assert not same(whole.state_dict(), agent(seed=1).learn(400, checkpoint_every=160).state_dict())


def test_games_alternate_as_the_schedule_says() -> None:
    rounds = []
    schedule = FixedSwitch(["long", "short"], 3)
    found = agent(schedule).learn(400, on_round=lambda a: rounds.append(a.schedule.rounds))
    left = [switch.left for switch in schedule.log]
    assert left[:4] == ["long", "short", "long", "short"]
    assert rounds == list(range(1, schedule.rounds + 1)) and rounds
    assert found.frame == sum(found.frames.values()) == 400


def test_several_tasks_at_a_time_take_steps_in_turn() -> None:
    assert agent(AllTasks(["long", "short"])).learn(320).frames == {"long": 160, "short": 160}


def test_all_games_learn_whichever_is_played() -> None:
    found = agent(FixedSwitch(["long", "short"], 10_000))
    before = [g.clone() for g in (found.network.advantage.gate.weight, found.network.value.gate.weight)]
    found.learn(40)
    assert found.frames == {"long": 40, "short": 0}
    for old, gate in zip(before, (found.network.advantage.gate, found.network.value.gate), strict=True):
        moved = (gate.weight - old).flatten(1).abs().sum(1)
        assert (moved > 0).all()


def test_a_frozen_network_is_left_after_min_episodes_and_window_and_one() -> None:
    schedule = PlateauSwitch(["long", "short"], window=3, min_episodes=4, threshold=0.1)
    options = DQNOptions(batch=4, capacity=99, warm_up=8, update_every=10_000, lanes=1)
    agent(schedule, options=options).learn(400)
    assert len(schedule.log) > 3
    assert {(switch.episodes, switch.change) for switch in schedule.log} == {(4 + 3 + 1, 0.0)}


def test_a_moving_network_is_never_left() -> None:
    """The released tracker compares the weights with themselves and would leave it at the same moment."""
    schedule = PlateauSwitch(["long", "short"], window=3, min_episodes=4, threshold=1e-4)
    agent(schedule).learn(400)
    assert schedule.log == [] and schedule.episodes > 20


def test_exploration() -> None:
    found = agent()
    frames = torch.eye(5).reshape(5, 1, 1, 5).repeat(80, 1, 1, 1)
    assert abs(found.act(frames, "long", epsilon=1.0).mean() - 0.5) < 0.15
    greedy = found.act(frames, "long")
    assert (found.act(frames, "long") == greedy).all()
    assert 0.02 < (found.act(frames, "long", epsilon=0.3) != greedy).mean() < 0.3
    assert [DQNOptions().epsilon(f) for f in (0, 500_000, 1_000_000, 9_000_000)] == pytest.approx([1, 0.55, 0.1, 0.1])


def test_evaluation_touches_nothing() -> None:
    found = agent()
    before = found.state_dict()
    found.evaluate(2)
    assert same(before, found.state_dict())


def test_wrong_use_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match='reward of task "short" is nan'):
        agent(prize=float("nan")).learn(10)
    with pytest.raises(OptionError, match=r"the schedule is of tasks \['long'\], the games are"):
        agent(FixedSwitch(["long"], 3))
    with pytest.raises(TaskError, match='no game "lung"; did you mean "long"'):
        agent().evaluate(1, games={"lung": None})
    with pytest.raises(RunError, match=r"with seed 0, this agent plays .* with seed 1"):
        agent(seed=1).load_state_dict(agent().state_dict())
    (tmp_path / "other").write_text("{}")
    with pytest.raises(RunError, match="not a state saved by Sharewise"):
        agent().learn(10, out=tmp_path / "other")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"batch": 0}, "batch must be a whole number of at least 1, got 0"),
        ({"gamma": 1.5}, "gamma must lie from 0 to 1, got 1.5"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"clamp": float("nan")}, "clamp must be a finite number"),
    ],
)
def test_wrong_options_are_named(changed, words) -> None:
    with pytest.raises(OptionError, match=words):
        DQNOptions(**changed)
