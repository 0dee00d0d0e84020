"""A merge that is killed, or whose disk fills up, leaves no output; the same call then works."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.checkpoints import family, read
from helpers.killing import killed
from sharewise.errors import MergeError
from sharewise.merge import merge
from sharewise.merge._folder import new_folder

PLAN = {"merge_method": "linear", "models": [{"model": "a"}, {"model": "b"}], "parameters": {"weight": 0.5}}


def full(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_killed_at_many_moments(tmp_path: Path) -> None:
    """Blocks of one entry make a merge slow enough to be hit anywhere."""
    _, (a, b) = family(tmp_path)
    out, killings = tmp_path / "out", 0
    for after in (0.001, 0.003, 0.006, 0.01, 0.02, 0.03):
        killings += killed(lambda: merge(PLAN, out, root=tmp_path, block=1, threads=2), after)
        if out.exists():
            break
        assert {p.name for p in tmp_path.iterdir()} <= {"base", "a", "b", ".out.merging"}
    assert killings >= 3
    if not out.exists():
        merge(PLAN, out, root=tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b", "base", "out"]
    assert all(torch.equal(v, (a[k] + b[k]) / 2) for k, v in read(out).items())


@pytest.mark.parametrize("call", ["posix_fallocate", "pwrite", "fsync"])
def test_a_disk_that_fills_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    family(tmp_path)
    with monkeypatch.context() as filled:
        filled.setattr(os, call, full)
        with pytest.raises(MergeError, match=r"the disk of .* is full; nothing was left"):
            merge(PLAN, tmp_path / "out", root=tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b", "base"]
    merge(PLAN, tmp_path / "out", root=tmp_path)


def test_a_full_disk_keeps_the_former_merge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    family(tmp_path)
    merge(PLAN, tmp_path / "out", root=tmp_path)
    before = read(tmp_path / "out")
    with monkeypatch.context() as filled:
        filled.setattr(os, "fsync", full)
        with pytest.raises(MergeError, match="full"):
            merge(PLAN | {"parameters": {"weight": [1, 2]}}, tmp_path / "out", root=tmp_path, overwrite=True)
    assert all(torch.equal(v, before[k]) for k, v in read(tmp_path / "out").items())


def test_two_at_once_do_not_mix(tmp_path: Path) -> None:
    family(tmp_path)
    with new_folder(tmp_path / "out"), pytest.raises(MergeError, match="another process is writing"):
        merge(PLAN, tmp_path / "out", root=tmp_path)
    assert (tmp_path / "out").is_dir()
