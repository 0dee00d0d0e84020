"""Round robin and stages, pinned by hand."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.schedules import walk
from sharewise.errors import OptionError
from sharewise.schedule import AllTasks, Curriculum, RoundRobin


def test_all_is_all() -> None:
    assert walk(AllTasks(["b", "a"]), 0, 2) == [["b", "a"], ["b", "a"]]


def test_two_of_five_in_turn() -> None:
    # 01 23 4|0 12 34: the pair that crosses the end is handed out in the order of the names
    names = ["t0", "t1", "t2", "t3", "t4"]
    expected = [["t0", "t1"], ["t2", "t3"], ["t0", "t4"], ["t1", "t2"], ["t3", "t4"], ["t0", "t1"]]
    assert walk(RoundRobin(names, count=2), 0, 6) == expected


@settings(derandomize=True, deadline=None, max_examples=40)
@given(m=st.integers(1, 12), count=st.integers(1, 14))
def test_round_robin_keeps_its_word(m: int, count: int) -> None:
    """Each task as often as any other, and never absent for longer than said."""
    names = [f"t{i}" for i in range(m)]
    most = -(-m // min(count, m)) - 1
    steps = walk(RoundRobin(names, count=count, max_absence=most), 0, 3 * m)  # raises if a task is absent longer
    assert set(Counter(t for s in steps for t in s).values()) == {3 * min(count, m)}


def test_stages_follow_one_another() -> None:
    schedule = Curriculum(["a", "b", "c"], stages=[(2, ["a"]), (3, ["b", "a"]), (None, ["c"])])
    expected = [["a"]] * 2 + [["a", "b"]] * 3 + [["c"]] * 4
    assert walk(schedule, 0, 9) == expected
    assert [schedule.stage(s) for s in (0, 1, 2, 4, 5, 99)] == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([], "at least one stage"),
        ([(3, ["a", "b"])], "stage 1 has steps=3: the last stage's are None"),
        ([(None, ["a"]), (None, ["b"])], "stage 1 has steps=None"),
        ([(0, ["a"]), (None, ["b"])], "the steps of stage 1 must be a whole number"),
        ([(3, []), (None, ["a", "b"])], "stage 1 has no tasks"),
        ([(3, ["a"]), (None, ["bb"])], 'stage 2 names task "bb", unknown; did you mean "b"'),
        ([(3, ["a"]), (None, ["a"])], 'task "b" is in no stage'),
    ],
)
def test_stages_are_checked(stages: list, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Curriculum(["a", "b"], stages=stages)
