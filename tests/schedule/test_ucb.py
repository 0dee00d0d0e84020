"""The bandit: scores by hand, what it prefers, what it refuses."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from sharewise.errors import OptionError, ScheduleError
from sharewise.schedule import UCB, Signal


def test_scores_by_hand() -> None:
    # a trained at steps 0 and 2, b at step 1; loss of a 2 -> 1: its running mean before is 2, so it pays (2 - 1) / 2.
    # counts at discount 1/2: a = 1/4 + 1 = 1.25, b = 1/2; totals a = 1/2, b = 0; N = 1.75
    schedule = UCB(["a", "b"], discount=0.5, momentum=0.0, exploration=0.3)
    for step, losses in enumerate([{"a": 2.0}, {"b": 5.0}, {"a": 1.0}]):
        schedule.tasks(step)
        schedule.observe(step, Signal(losses))
    wide = math.log(1.75)
    expected = {"a": 0.5 / 1.25 + 0.3 * math.sqrt(wide / 1.25), "b": 0.3 * math.sqrt(wide / 0.5)}
    assert schedule.scores() == pytest.approx(expected)


def trained(driver: str, losses: dict[str, list[float]], steps: int = 200, **options: float) -> Counter:
    schedule = UCB(list(losses), driver=driver, **options)
    seen: Counter = Counter()
    for step in range(steps):
        (task,) = schedule.tasks(step)
        schedule.observe(step, Signal({task: losses[task][seen[task]]}, {task: losses[task][seen[task]]}))
        seen[task] += 1
    return seen


FALLING = [0.97**i for i in range(201)]
FLAT = [1.0] * 201
NOISY = [1.0 + 0.5 * (-1) ** i for i in range(201)]


def test_it_prefers_the_task_that_improves() -> None:
    seen = trained("improvement", {"flat": FLAT, "falling": FALLING, "rising": FALLING[::-1]})
    assert seen["falling"] > 150 and min(seen.values()) >= 2


def test_it_prefers_the_task_that_cannot_be_foretold() -> None:
    seen = trained("uncertainty", {"flat": FLAT, "noisy": NOISY})
    assert seen["noisy"] > 150


def test_it_prefers_the_larger_reward() -> None:
    seen = trained("reward", {"low": [0.1] * 201, "high": [0.9] * 201})
    assert seen["high"] > 150


def test_without_exploration_it_stays_with_the_best() -> None:
    assert trained("reward", {"low": [0.1] * 201, "high": [0.9] * 201}, exploration=0.0)["low"] == 1


def test_every_task_has_a_first_turn() -> None:
    schedule = UCB(["a", "b", "c"], count=2)
    first = []
    for step in range(2):
        first.append(schedule.tasks(step))
        schedule.observe(step, Signal(dict.fromkeys(first[-1], 1.0)))
    assert first == [["a", "b"], ["a", "c"]]


def test_bad_signals_name_the_task() -> None:
    schedule = UCB(["a", "b"])
    schedule.tasks(0)
    with pytest.raises(ScheduleError, match='the loss of task "a" is nan'):
        schedule.observe(0, Signal({"a": math.nan}))
    schedule = UCB(["a", "b"], driver="reward")
    schedule.tasks(0)
    with pytest.raises(ScheduleError, match='no reward of task "a", which trains'):
        schedule.observe(0, Signal({"a": 1.0}))


@pytest.mark.parametrize(
    "options",
    [{"driver": "best"}, {"exploration": -1.0}, {"discount": 0.0}, {"discount": 1.1}, {"momentum": 1.0}, {"count": 0}],
)
def test_options_are_checked(options: dict) -> None:
    with pytest.raises(OptionError, match=f"{next(iter(options))} must"):
        UCB(["a", "b"], **options)
