"""What every tracked file keeps to."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MARKERS = tuple(7 * sign + b" " for sign in (b"<", b"|", b">"))


def tracked() -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout, so nothing says which files are tracked")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    return [ROOT / name for name in listed.decode().split("\0") if name]


def marked_lines(content: bytes) -> list[int]:
    """Numbers of the lines that a merge left half done begins its parts with."""
    return [number for number, line in enumerate(content.splitlines(), 1) if line.startswith(MARKERS)]


def test_no_file_holds_conflict_markers() -> None:
    files = tracked()
    assert len(files) > 100
    found = {path: lines for path in files if path.is_file() and (lines := marked_lines(path.read_bytes()))}
    assert not found


def test_the_markers_of_a_conflict_are_seen() -> None:
    conflict = [7 * "<" + " ours", "a", 7 * "|" + " base", "b", 7 * "=", "c", 7 * ">" + " theirs", " " + 7 * "<" + " d"]
    assert marked_lines("\r\n".join(conflict).encode()) == [1, 3, 7]
