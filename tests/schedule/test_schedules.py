"""What all schedules promise: known tasks, in order, at least one; the same again; resumed bit for bit."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.schedules import build, walk
from sharewise.errors import OptionError, ScheduleError
from sharewise.schedule import Schedule, Signal, available, create
from sharewise.train._state import load_state, save_state

TASKS = ("sleep", "age", "income", "health", "moved")
EVERY = pytest.mark.parametrize("name", available())


@EVERY
@settings(derandomize=True, deadline=None, max_examples=12)
@given(m=st.integers(1, 9), seed=st.integers(0, 99))
def test_the_tasks_are_known_ones_in_their_order(name: str, m: int, seed: int) -> None:
    names = [f"task {i}" for i in range(m)]
    schedule = build(name, names)
    if schedule.generator is not None:
        schedule.generator.manual_seed(seed)
    for active in walk(schedule, 0, 30):
        assert active and active == [n for n in names if n in active]


@EVERY
def test_asking_again_draws_nothing(name: str) -> None:
    one, two = build(name, TASKS), build(name, TASKS)
    for step in range(20):
        assert two.tasks(step) == two.tasks(step) == one.tasks(step)


@EVERY
def test_what_is_handed_out_is_a_copy(name: str) -> None:
    schedule = build(name, TASKS)
    expected = schedule.tasks(0)
    schedule.tasks(0).clear()
    assert schedule.tasks(0) == expected


@EVERY
@pytest.mark.parametrize("cut", [0, 1, 7, 13])
def test_it_continues_from_its_state(name: str, cut: int, tmp_path: Path) -> None:
    whole = walk(build(name, TASKS), 0, 40)
    first = build(name, TASKS)
    assert walk(first, 0, cut) == whole[:cut]
    save_state(tmp_path / "state", first.state_dict())
    walk(first, cut, cut + 9)  # what is saved is a copy: going on does not change it
    again = build(name, TASKS)
    walk(again, 0, 3)
    again.load_state_dict(load_state(tmp_path / "state"))
    assert walk(again, cut, 40) == whole[cut:]


@EVERY
def test_the_state_can_be_saved_between_a_decision_and_its_step(name: str) -> None:
    one = build(name, TASKS)
    walk(one, 0, 5)
    active = one.tasks(5)
    two = build(name, TASKS)
    two.load_state_dict(one.state_dict())
    assert two.tasks(5) == active and walk(two, 5, 25) == walk(one, 5, 25)


@EVERY
def test_a_state_of_other_tasks_is_refused(name: str) -> None:
    state = build(name, TASKS).state_dict()
    with pytest.raises(ScheduleError, match=r"the state is of tasks \['sleep', 'age'"):
        build(name, TASKS[:4]).load_state_dict(state)


@EVERY
def test_steps_go_forwards(name: str) -> None:
    schedule = build(name, TASKS)
    schedule.tasks(3)
    with pytest.raises(ScheduleError, match="step 2 was asked for after step 3"):
        schedule.tasks(2)


@EVERY
@pytest.mark.parametrize("kind", ["losses", "rewards"])
def test_a_signal_of_an_unknown_task_is_refused(name: str, kind: str) -> None:
    schedule = build(name, TASKS)
    schedule.tasks(0)
    with pytest.raises(ScheduleError, match=r'task "slept", which the schedule does not know; did you mean "sleep"'):
        schedule.observe(0, Signal(**{kind: {"slept": 1.0}}))


@EVERY
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_reward_that_is_no_number_names_its_task(name: str, value: float) -> None:
    schedule = build(name, TASKS)
    schedule.tasks(0)
    with pytest.raises(ScheduleError, match=r'the reward of task "age" is (nan|inf)'):
        schedule.observe(0, Signal(rewards={"age": value}))


def takes_coverage(name: str) -> bool:
    return "max_absence" in sharewise_options(name)


def sharewise_options(name: str) -> set[str]:
    from sharewise.schedule import options

    return set(options(name))


@pytest.mark.parametrize("name", [n for n in available() if takes_coverage(n)])
@pytest.mark.parametrize("most", [0, 1, 3])
def test_no_task_is_left_out_longer_than_allowed(name: str, most: int) -> None:
    schedule = build(name, TASKS, max_absence=most, starving="add")
    absent = Counter(dict.fromkeys(TASKS, 0))
    for active in walk(schedule, 0, 60):
        for task in TASKS:
            absent[task] = 0 if task in active else absent[task] + 1
            assert absent[task] <= most


@pytest.mark.parametrize("name", [n for n in available() if takes_coverage(n) and n != "curriculum"])
def test_a_starved_task_is_an_error_that_names_it(name: str) -> None:
    with pytest.raises(ScheduleError, match=r'leaves task "\w+" out of \d+ steps in a row .* raise max_absence'):
        walk(build(name, TASKS, max_absence=1), 0, 60)


def test_an_error_leaves_the_schedule_where_it_was() -> None:
    schedule = create("plateau_switch", tasks=["a", "b"], max_absence=1)
    before = [schedule.tasks(0), schedule.state_dict()]
    with pytest.raises(ScheduleError, match='leaves task "b" out of 2 steps in a row up to step 1'):
        schedule.tasks(1)
    assert [schedule.tasks(0), schedule.state_dict()] == before


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("round_robin", {"max_absence": 3}),
        ("fixed_switch", {"n": 10, "max_absence": 39}),
        ("plateau_switch", {"max_episodes": 60, "max_absence": 239}),
        ("curriculum", {"stages": [(5, TASKS[:4]), (None, TASKS)], "max_absence": 4}),
        ("curriculum", {"stages": [(5, TASKS), (None, TASKS[:4])], "max_absence": 1000}),
    ],
)
def test_a_schedule_known_to_starve_is_refused_at_once(name: str, options: dict) -> None:
    with pytest.raises(ScheduleError, match=r'leaves task "\w+" out of \w+ steps in a row by these options'):
        create(name, tasks=TASKS, **options)
    if math.isfinite(options["max_absence"]) and options["max_absence"] < 1000:
        create(name, tasks=TASKS, **options | {"max_absence": options["max_absence"] + 1})


@pytest.mark.parametrize("tasks", [[], ["a", "a"]])
def test_tasks_need_different_names(tasks: list[str]) -> None:
    with pytest.raises(OptionError, match="one or more tasks with different names"):
        create("all", tasks=tasks)


def test_names_and_options_are_checked() -> None:
    with pytest.raises(OptionError, match='schedule "round_robbin" is not known; did you mean "round_robin"'):
        create("round_robbin", tasks=TASKS)
    with pytest.raises(OptionError, match='"round_robin" has no option "cont"; did you mean "count"'):
        create("round_robin", tasks=TASKS, cont=2)
    with pytest.raises(OptionError, match='"all" has no option "count"; it has none'):
        create("all", tasks=TASKS, count=2)
    with pytest.raises(OptionError, match='"proportional" needs sizes='):
        create("proportional", tasks=TASKS)
    with pytest.raises(OptionError, match='starving must be "raise" or "add"'):
        create("random", tasks=TASKS, starving="ignore")


@EVERY
def test_the_state_is_tensors_and_json(name: str) -> None:
    schedule = build(name, TASKS)
    walk(schedule, 0, 12)

    def plain(value: object) -> object:
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [plain(v) for v in value]
        return None if isinstance(value, torch.Tensor) else value

    json.dumps(plain(schedule.state_dict()))


class Odd(Schedule):
    """A schedule of one's own is one method."""

    def _choose(self, step: int) -> list[str]:
        return [name for i, name in enumerate(self.names) if i % 2 == step % 2]


def test_one_of_ones_own() -> None:
    assert walk(Odd(TASKS), 0, 3) == [["sleep", "income", "moved"], ["age", "health"], ["sleep", "income", "moved"]]
