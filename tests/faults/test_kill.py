"""SIGKILL at random moments, also in the middle of writing a checkpoint: the run goes on to the same weights."""

from __future__ import annotations

import time
from pathlib import Path

import torch

import sharewise as sw
from helpers.killing import kill_until_done
from helpers.small import TASKS, SmallModel, splits
from sharewise.data import sets


def train(out: Path | None) -> sw.Fitted:
    options = {"epochs": 40, "batch_size": 8, "patience": None, "progress": False, "checkpoint_seconds": 0.0}
    return sw.fit(SmallModel(), TASKS, splits(), balancer="pcgrad", out=out, **options)


def test_killed_at_random_moments(tmp_path: Path) -> None:
    expected = train(None)
    kills = kill_until_done(lambda: train(tmp_path) and None, kills=4, longest=1.0, seed=0)
    assert kills >= 2
    again = sw.load(tmp_path, model=SmallModel(seed=7))
    assert again.steps == expected.steps
    for a, b in zip(again.model.parameters(), expected.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert all(p.suffix != ".tmp" or p.name.startswith(".") for p in tmp_path.iterdir())


def test_a_study_killed_at_random_moments(tmp_path: Path) -> None:
    sets.simulate_table(200, seed=0).write_csv(tmp_path / "t.csv")
    options = {"seeds": "0-1", "trials": 2, "epochs": 2, "jobs": 1, "arms": ["groups", "trees"]}

    def run(name: str) -> sw.study.StudyResult:
        return sw.study.study(tmp_path / "t.csv", ["y1", "y2", "y3"], out=tmp_path / name, **options)

    began = time.perf_counter()
    expected = run("whole")
    longest = time.perf_counter() - began
    kills = kill_until_done(lambda: run("killed") and None, kills=4, longest=longest, seed=1)
    assert kills >= 2
    found = run("killed")
    assert [c.model_dump() for c in found.comparisons] == [c.model_dump() for c in expected.comparisons]
    assert found.verdict.answer == expected.verdict.answer
    assert (tmp_path / "killed" / "verdict.svg").exists()
