"""SIGKILL at random moments, also in the middle of writing a checkpoint: the run goes on to the same weights."""

from __future__ import annotations

import signal
import subprocess
import sys
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
    """Whole processes: one that holds Polars' threads cannot be forked."""
    sets.simulate_table(200, seed=0).write_csv(tmp_path / "t.csv")
    words = [sys.executable, "-m", "sharewise", "study", "t.csv", "--targets", "y1,y2,y3", "--seeds", "0-1", "--json"]
    words += ["--trials", "2", "--epochs", "2", "--jobs", "1", "--arms", "groups,trees", "--out"]

    def trials() -> int:
        return len(list((tmp_path / "killed").rglob("trial-*.json")))

    for wanted in (3, 9):
        run = subprocess.Popen([*words, "killed"], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while trials() < wanted and run.poll() is None:
            time.sleep(0.002)
        run.kill()
        assert run.wait() == -signal.SIGKILL
    left = trials()
    for name in ("killed", "whole"):
        done = subprocess.run([*words, name], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode in (0, 1), done.stderr
    assert 9 <= left < trials()
    found, expected = (sw.study.StudyResult.load(tmp_path / name / "results.json") for name in ("killed", "whole"))
    assert found.comparisons == expected.comparisons
    assert found.verdict.answer == expected.verdict.answer
