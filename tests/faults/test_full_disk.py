"""A disk that fills up: an error that says so, nothing half-written, and what was finished stays readable."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

import sharewise as sw
from helpers.small import TASKS, SmallModel, splits
from sharewise import files
from sharewise.cli import main
from sharewise.data import sets


class FullDisk:
    """``os.fsync`` that fails as on a full disk from the n-th call on."""

    def __init__(self, allowed: int) -> None:
        self.left, self.fsync = allowed, os.fsync

    def __call__(self, handle: int) -> None:
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.fsync(handle)


def test_the_former_content_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "result.json"
    files.write_json(path, {"good": 1})
    monkeypatch.setattr(os, "fsync", FullDisk(0))
    with pytest.raises(OSError, match="No space"):
        files.write_json(path, {"good": 2})
    assert files.read_json(path) == {"good": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_fit_goes_on_when_there_is_room_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"epochs": 3, "batch_size": 32, "progress": False, "checkpoint_seconds": 0.0, "out": tmp_path}
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", FullDisk(9))
        with pytest.raises(OSError, match="No space"):
            sw.fit(SmallModel(), TASKS, splits(), **options)
    fitted = sw.fit(SmallModel(seed=4), TASKS, splits(), **options)
    whole = sw.fit(SmallModel(), TASKS, splits(), **options | {"out": None})
    assert fitted.history[-1].valid == whole.history[-1].valid


def test_a_study_keeps_what_was_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    sets.simulate_table(200, seed=0).write_csv(tmp_path / "t.csv")
    out = tmp_path / "run"
    words = ["study", str(tmp_path / "t.csv"), "--targets", "y1,y2", "--seeds", "0-1", "--trials", "1", "--epochs", "1"]
    words += ["--jobs", "1", "--arms", "separate", "--out", str(out)]
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", FullDisk(5))
        with pytest.raises(SystemExit) as stopped:
            main(words)
    assert stopped.value.code == 2
    message = capsys.readouterr().err.strip()
    assert message.startswith("error: the disk is full") and len(message.splitlines()) == 1
    kept = {p: p.stat().st_mtime_ns for p in out.rglob("trial-*.json")}
    assert len(kept) == 2 and not list(out.rglob("*.tmp"))
    with pytest.raises(SystemExit):
        main(words)
    assert (out / "report.html").exists()
    assert all(p.stat().st_mtime_ns == kept[p] for p in kept)
