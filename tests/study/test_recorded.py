"""What the study keeps of a balancer's record."""

from __future__ import annotations

import math

import torch

from sharewise.balance import Balance, Recorder
from sharewise.study._recorded import projected, weights


def step(names: str, w: list[float], lost: list[list[int]] | None = None) -> Balance:
    notes = {} if lost is None else {"projected": torch.tensor(lost, dtype=torch.bool)}
    return Balance(tuple(names), torch.zeros(()), torch.tensor(w), notes=notes)


def test_means_by_epoch_and_shares_of_the_steps_two_tasks_met_in() -> None:
    recorder = Recorder()
    recorder.record(step("ab", [1.0, 2.0], [[0, 1], [0, 0]]), epoch=0)
    recorder.record(step("ab", [3.0, 4.0], [[0, 0], [0, 0]]), epoch=0)
    recorder.record(step("ac", [5.0, 6.0], [[0, 1], [1, 0]]), epoch=2)
    means = weights(recorder.read())
    assert list(means) == ["a", "b", "c"]
    assert (means["a"][0], means["a"][2], means["b"][0], means["c"][2]) == (2.0, 5.0, 3.0, 6.0)
    unknown = [means["a"][1], *means["b"][1:], *means["c"][:2]]
    assert len(unknown) == 5 and all(map(math.isnan, unknown))
    assert projected(recorder.read()) == {"a": {"b": 0.5, "c": 1.0}, "b": {"a": 0.0}, "c": {"a": 1.0}}


def test_nothing_is_known_of_methods_that_do_not_tell() -> None:
    recorder = Recorder()
    recorder.record(Balance(("a", "b"), torch.zeros(())), epoch=0)
    assert weights(recorder.read()) == {} == projected(recorder.read())
