"""SIGKILL at random moments, also in the middle of writing a checkpoint: the run goes on to the same weights."""

from __future__ import annotations

from pathlib import Path

import torch

import sharewise as sw
from helpers.killing import kill_until_done
from helpers.small import TASKS, SmallModel, splits


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
