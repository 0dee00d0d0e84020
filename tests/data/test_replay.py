"""Transitions by task: what is kept, what is drawn, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sharewise.data import PerTaskReplay
from sharewise.errors import DataError, OptionError, TaskError


def push(replay: PerTaskReplay, task: str, values: list[float]) -> None:
    v = np.array(values)
    frames = np.repeat(np.nan_to_num(v, posinf=0).astype(np.uint8)[:, None], 2, 1)
    replay.push(task, frames, np.zeros(len(v)), v, frames + 1, v > 100)


def drawn(replay: PerTaskReplay, task: str, n: int = 200) -> set[float]:
    return set(replay.sample(task, n).rewards.tolist())


def test_the_last_ones_are_kept_task_by_task() -> None:
    replay = PerTaskReplay(["a", "b"], 4)
    push(replay, "a", [1, 2, 3])
    push(replay, "b", [9])
    assert (replay.size("a"), replay.size("b")) == (3, 1)
    push(replay, "a", [4, 5])
    assert replay.size("a") == 4 and drawn(replay, "a") == {2, 3, 4, 5} and drawn(replay, "b") == {9}
    push(replay, "a", [10, 11, 12, 13, 14, 115])  # more than there is room for: the last ones again
    assert drawn(replay, "a") == {12, 13, 14, 115}


def test_a_transition_stays_together() -> None:
    replay = PerTaskReplay(["a"], 10)
    push(replay, "a", [1, 5, 101])
    found = replay.sample("a", 50)
    assert found.observations.dtype == torch.uint8 and found.actions.dtype == torch.int64
    assert torch.equal(found.observations[:, 0].float(), found.rewards)
    assert torch.equal(found.next_observations[:, 1].float(), found.rewards + 1)
    assert torch.equal(found.ended, (found.rewards > 100).float())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_reward_that_is_no_number_is_refused_by_name(bad) -> None:
    replay = PerTaskReplay(["a", "b"], 10)
    with pytest.raises(DataError, match=f'reward of task "b" is {bad}'):
        push(replay, "b", [1.0, bad])
    assert replay.size("b") == 0


def test_state_resumes_bit_for_bit() -> None:
    replay = PerTaskReplay(["a", "b"], 4, seed=3)
    push(replay, "a", [1, 2, 3, 4, 5])
    replay.sample("a", 7)
    again = PerTaskReplay(["a", "b"], 4)
    again.load_state_dict(replay.state_dict())
    for r in (replay, again):
        push(r, "a", [6])
        push(r, "b", [7])
    for task in ("a", "b"):
        for one, other in zip(replay.sample(task, 9), again.sample(task, 9), strict=True):
            assert torch.equal(one, other)
    with pytest.raises(DataError, match="replay is of"):
        PerTaskReplay(["a"], 4).load_state_dict(replay.state_dict())
    with pytest.raises(DataError, match="another capacity than 3"):
        PerTaskReplay(["a", "b"], 3).load_state_dict(replay.state_dict())


def test_wrong_use_is_named() -> None:
    replay = PerTaskReplay(["catch", "avoid"], 4)
    with pytest.raises(TaskError, match='no task "cach"; did you mean "catch"'):
        replay.size("cach")
    with pytest.raises(DataError, match='no transition of task "avoid" to draw'):
        replay.sample("avoid", 1)
    with pytest.raises(OptionError, match="capacity must be a whole number"):
        PerTaskReplay(["a"], 0)
    with pytest.raises(OptionError, match="different names"):
        PerTaskReplay(["a", "a"], 1)
