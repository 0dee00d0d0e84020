"""Tasks drawn in proportion: to what is given, to sizes, to powers of sizes."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sharewise.errors import OptionError
from sharewise.schedule import Proportional, RandomTasks, Sampled, SquareRoot, Temperature, available, create

NAMES = ("a", "b", "c")


def frequencies(schedule: Sampled, steps: int = 4000) -> dict[str, float]:
    seen = Counter(name for step in range(steps) for name in schedule.tasks(step))
    return {name: seen[name] / steps for name in schedule.names}


def test_proportions_by_hand() -> None:
    # sizes 16, 4, 1: roots 4, 2, 1 over 7; fourth roots 2, sqrt 2, 1 over 3 + sqrt 2; as they are over 21
    sizes = {"a": 16, "b": 4, "c": 1}
    assert SquareRoot(NAMES, sizes=sizes).proportions == pytest.approx({"a": 4 / 7, "b": 2 / 7, "c": 1 / 7})
    assert Proportional(NAMES, sizes=sizes).proportions == pytest.approx({"a": 16 / 21, "b": 4 / 21, "c": 1 / 21})
    whole = 3 + math.sqrt(2)
    expected = {"a": 2 / whole, "b": math.sqrt(2) / whole, "c": 1 / whole}
    assert Temperature(NAMES, sizes=sizes, temperature=4).proportions == pytest.approx(expected)
    assert RandomTasks(NAMES).proportions == pytest.approx(dict.fromkeys(NAMES, 1 / 3))


@settings(derandomize=True, deadline=None, max_examples=50)
@given(
    sizes=st.lists(st.integers(1, 10**12), min_size=1, max_size=40),
    temperature=st.floats(0.5, 100.0),
)
def test_higher_temperature_is_more_even(sizes: list[int], temperature: float) -> None:
    """A probability for all of any size; a larger task never has the smaller one; heat draws the extremes together."""
    names = [f"t{i}" for i in range(len(sizes))]
    cool, hot = (
        Temperature(names, sizes=dict(zip(names, sizes, strict=True)), temperature=t).proportions
        for t in (temperature, 2 * temperature)
    )
    assert sum(cool.values()) == pytest.approx(1)
    ranked = sorted(names, key=lambda n: sizes[int(n[1:])])
    assert [cool[n] for n in ranked] == sorted(cool.values())
    spread = [max(p.values()) / max(min(p.values()), 1e-300) for p in (hot, cool)]
    assert spread[0] <= spread[1] * (1 + 1e-9)


def test_draws_come_as_often_as_asked_for() -> None:
    # 4 standard deviations of a share of 4000 draws are at most 4 sqrt(.25 / 4000) = 0.032
    schedule = Sampled(NAMES, proportions={"a": 0.6, "b": 0.3, "c": 0.1})
    assert frequencies(schedule) == pytest.approx({"a": 0.6, "b": 0.3, "c": 0.1}, abs=0.032)


def test_two_at_once_are_two_different_ones() -> None:
    schedule = RandomTasks(NAMES, count=2)
    assert all(len(schedule.tasks(step)) == 2 for step in range(50))
    assert frequencies(RandomTasks(NAMES, count=2)) == pytest.approx(dict.fromkeys(NAMES, 2 / 3), abs=0.032)


def test_the_seed_decides_and_the_global_state_is_left_alone() -> None:
    state = torch.get_rng_state()
    runs = [[RandomTasks(NAMES, seed=seed).tasks(s) for s in range(1)] for seed in range(40)]
    assert len({str(r) for r in runs}) == 3
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    assert [RandomTasks(NAMES, seed=4).tasks(0)] == runs[4]


@pytest.mark.parametrize(
    ("proportions", "message"),
    [
        ({"a": 0.5, "b": 0.3, "c": 0.1}, "proportions must sum to 1, these sum to 0.9"),
        ({"a": 0.5, "b": 0.5}, 'proportions says nothing of task "c"'),
        ({"a": 0.5, "b": 0.4, "c": 0.1, "d": 0.1}, 'proportions names task "d", which is not known; known: a, b, c'),
        ({"a": 1.0, "b": 0.0, "c": 0.1}, 'proportions of task "b" must be a number above 0, got 0.0'),
        ({"a": 1.0, "b": math.nan, "c": 0.1}, 'proportions of task "b" must be a number above 0, got nan'),
        ({"a": 1.3, "b": -0.4, "c": 0.1}, 'proportions of task "b" must be a number above 0, got -0.4'),
    ],
)
def test_proportions_are_checked(proportions: dict[str, float], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Sampled(NAMES, proportions=proportions)


@pytest.mark.parametrize("name", ["proportional", "square_root", "temperature"])
def test_sizes_are_checked(name: str) -> None:
    assert name in available()
    with pytest.raises(OptionError, match='sizes of task "b" must be a number above 0, got 0'):
        create(name, tasks=NAMES, sizes={"a": 5, "b": 0, "c": 1})
    with pytest.raises(OptionError, match='sizes names task "d"'):
        create(name, tasks=NAMES, sizes={"a": 5, "b": 2, "c": 1, "d": 1})


def test_counts_and_temperature_are_checked() -> None:
    with pytest.raises(OptionError, match="count is 4, but there are only 3 tasks"):
        RandomTasks(NAMES, count=4)
    with pytest.raises(OptionError, match="count must be a whole number of at least 1, got 0"):
        RandomTasks(NAMES, count=0)
    for temperature in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(OptionError, match="temperature must be a number above 0"):
            Temperature(NAMES, sizes=dict.fromkeys(NAMES, 1), temperature=temperature)
