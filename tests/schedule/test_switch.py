"""Switching by plateau and at fixed intervals."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from sharewise.errors import OptionError, ScheduleError
from sharewise.schedule import ChangeTracker, FixedSwitch, PlateauSwitch, Signal, relative_change

GAMES = ("pong", "breakout", "enduro")


def play(schedule: PlateauSwitch, model: nn.Module, episodes: int, moved: float, reward: float | None = None) -> None:
    """Episodes that each multiply the weights by ``1 + moved``."""
    first = schedule._step + 1
    for step in range(first, first + episodes):
        (game,) = schedule.tasks(step)
        with torch.no_grad():
            for p in model.parameters():
                p.mul_(1 + moved)
        rewards = {} if reward is None else {game: reward}
        schedule.observe(step, Signal(rewards=rewards, parameters=model.parameters()))


def test_a_fixed_switch_by_hand() -> None:
    schedule = FixedSwitch(GAMES, n=2)
    seen = []
    for step in range(8):
        seen += schedule.tasks(step)
        schedule.observe(step, Signal())
    assert seen == ["pong", "pong", "breakout", "breakout", "enduro", "enduro", "pong", "pong"]
    assert schedule.rounds == 1
    assert [(s.step, s.left, s.entered, s.episodes, s.reason) for s in schedule.log[:2]] == [
        (1, "pong", "breakout", 2, "fixed interval"),
        (3, "breakout", "enduro", 2, "fixed interval"),
    ]


def test_the_change_is_positive_after_a_real_update() -> None:
    """What is compared with is a copy: with the live tensors themselves the change would be 0."""
    torch.manual_seed(0)
    model, tracker = nn.Linear(3, 2), ChangeTracker(window=3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    assert tracker.look(model.parameters()) is None
    for _ in range(3):
        model(torch.ones(1, 3)).square().sum().backward()
        optimizer.step()
        change = tracker.look(model.parameters())
        assert change is not None and change > 1e-4
    assert tracker.mean is not None and tracker.mean > 1e-4


def test_the_change_by_hand() -> None:
    # |(3,4) - (3,0)| / 5 = 4/5 and |(1) - (1)| / 1 = 0: mean 0.4; zeros that stay zeros count as no change
    now = [torch.tensor([3.0, 4.0]), torch.tensor([1.0]), torch.zeros(2)]
    before = [torch.tensor([3.0, 0.0]), torch.tensor([1.0]), torch.zeros(2)]
    assert relative_change(now[:2], before[:2]) == pytest.approx(0.4)
    assert relative_change(now, before) == pytest.approx(0.8 / 3)
    assert relative_change([torch.zeros(1)], [torch.ones(1)]) == math.inf


def test_frozen_parameters_and_buffers_do_not_count() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 1))
    model[0].requires_grad_(False)
    tracker = ChangeTracker(window=1)
    tracker.look(model.parameters())
    model[1].running_mean.add_(5.0)
    with torch.no_grad():
        model[0].weight.mul_(3.0)
    assert tracker.look(model.parameters()) == 0.0


@pytest.mark.parametrize(("window", "least"), [(1, 0), (2, 3), (5, 2)])
def test_frozen_weights_end_the_visit_on_time(window: int, least: int) -> None:
    schedule, model = PlateauSwitch(GAMES, window=window, min_episodes=least, threshold=0.1), nn.Linear(2, 2)
    play(schedule, model, least + window, moved=0.0)
    assert schedule.current == "pong" and not schedule.log
    play(schedule, model, 1, moved=0.0)
    assert schedule.current == "breakout"
    assert (schedule.log[0].episodes, schedule.log[0].change) == (least + window + 1, 0.0)
    assert schedule.log[0].reason == "parameters stand still"
    play(schedule, model, 2 * (least + window + 1), moved=0.0)
    assert schedule.current == "pong" and schedule.rounds == 1


def test_moving_weights_never_end_it() -> None:
    schedule, model = PlateauSwitch(GAMES, window=2, min_episodes=1, threshold=0.1), nn.Linear(2, 2)
    play(schedule, model, 40, moved=0.2)  # a relative change of 0.2 / 1.2 = 0.167
    assert not schedule.log


def test_a_new_visit_does_not_look_back() -> None:
    """The jump between two visits is no change of the second one."""
    schedule, model = PlateauSwitch(["a", "b"], window=2, min_episodes=0, threshold=0.1), nn.Linear(2, 2)
    play(schedule, model, 3, moved=0.0)
    assert schedule.current == "b"
    play(schedule, model, 1, moved=9.0)
    play(schedule, model, 2, moved=0.0)
    assert schedule.current == "a"


def test_reward_and_parameters_must_both_stand_still() -> None:
    options = {"window": 2, "min_episodes": 1, "threshold": 0.1, "use_reward": True, "min_gain": 0.05}
    rising, model = PlateauSwitch(["a", "b"], **options), nn.Linear(2, 2)
    for reward in range(1, 12):
        play(rising, model, 1, moved=0.0, reward=2.0**reward)
    assert not rising.log
    moving = PlateauSwitch(["a", "b"], **options)
    play(moving, model, 12, moved=0.2, reward=1.0)
    assert not moving.log
    both = PlateauSwitch(["a", "b"], **options)
    play(both, model, 4, moved=0.0, reward=1.0)
    assert both.log[0].reason == "parameters and reward stand still"


def test_without_rewards_the_loss_stands_in() -> None:
    schedule = PlateauSwitch(["a", "b"], window=1, min_episodes=0, use_reward=True)
    weights = [torch.ones(2, requires_grad=True)]
    for step, loss in enumerate([4.0, 2.0, 1.0, 1.0]):
        assert not schedule.log
        schedule.tasks(step)
        schedule.observe(step, Signal({"a": loss}, parameters=weights))
    assert schedule.log[0].step == 3


def test_the_longest_visit() -> None:
    schedule, model = PlateauSwitch(["a", "b"], window=2, min_episodes=1, max_episodes=5), nn.Linear(2, 2)
    play(schedule, model, 5, moved=0.5)
    assert (schedule.current, schedule.log[0].reason) == ("b", "longest visit")


def test_an_episode_of_several_signals() -> None:
    """Two signals an episode: looked at after 2, 4, 6, ...; the reward of an episode is their mean."""
    schedule = PlateauSwitch(["a", "b"], window=1, min_episodes=0, use_reward=True, stretch=2)
    weights = [torch.ones(2, requires_grad=True)]
    for step, reward in enumerate([0.0, 2.0, 3.0, 1.0, 1.0, 3.0]):  # means 1, 2, 2: it stands still in the third
        assert not schedule.log
        schedule.tasks(step)
        schedule.observe(step, Signal(rewards={"a": reward}, parameters=weights))
    assert (schedule.log[0].step, schedule.log[0].episodes) == (5, 3)


def test_one_task_has_nowhere_to_go() -> None:
    schedule, model = PlateauSwitch(["a"], window=1, min_episodes=0), nn.Linear(2, 2)
    play(schedule, model, 6, moved=0.0)
    assert schedule.tasks(6) == ["a"] and not schedule.log


def test_what_cannot_be_used_is_refused() -> None:
    schedule = PlateauSwitch(["a", "b"], window=1, min_episodes=0)
    schedule.tasks(0)
    with pytest.raises(ScheduleError, match="no trainable parameter was given"):
        schedule.observe(0, Signal())
    schedule.observe(0, Signal(parameters=[torch.ones(2, requires_grad=True)]))
    with pytest.raises(ScheduleError, match="not those of the last look"):
        schedule.observe(0, Signal(parameters=[torch.ones(3, requires_grad=True)]))
    with pytest.raises(ScheduleError, match="NaN or infinite"):
        schedule.observe(0, Signal(parameters=[torch.full((2,), math.nan, requires_grad=True)]))
    schedule = PlateauSwitch(["a", "b"], use_reward=True)
    schedule.tasks(0)
    with pytest.raises(ScheduleError, match='use_reward needs a reward of task "a"'):
        schedule.observe(0, Signal(rewards={"b": 1.0}, parameters=[torch.ones(1, requires_grad=True)]))


@pytest.mark.parametrize(
    "options",
    [
        {"window": 0},
        {"min_episodes": -1},
        {"threshold": math.nan},
        {"min_gain": -1.0},
        {"max_episodes": 50},
        {"stretch": 0},
    ],
)
def test_options_are_checked(options: dict) -> None:
    with pytest.raises(OptionError, match=f"{next(iter(options))} must"):
        PlateauSwitch(["a", "b"], **options)
    with pytest.raises(OptionError, match="n must be a whole number"):
        FixedSwitch(["a", "b"], n=0)
