"""State as one file: what goes in comes out, and nothing that is not data gets in."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sharewise.errors import RunError
from sharewise.train._state import load_state, save_state


def test_state_comes_back_as_it_was(tmp_path: Path) -> None:
    tree = {
        "a": torch.tensor([1.5, float("nan")], dtype=torch.float64),
        0: {"step": 3, "none": None, True: [1, (2.5, "x")]},
        "bf16": torch.ones(2, dtype=torch.bfloat16),
        "empty": {},
        "scalar": torch.tensor(7),
        "inf": float("inf"),
    }
    save_state(tmp_path / "s", tree)
    again = load_state(tmp_path / "s")
    assert again[0] == tree[0] and again["empty"] == {} and again["inf"] == float("inf")
    for key in ("a", "bf16", "scalar"):
        assert again[key].dtype == tree[key].dtype
        assert torch.equal(again[key].nan_to_num(9), tree[key].nan_to_num(9))


def test_objects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="Path"):
        save_state(tmp_path / "s", {"a": tmp_path})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "])
def test_a_broken_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "s"
    path.write_bytes(content)
    with pytest.raises(RunError, match="not a state saved by Sharewise"):
        load_state(path)
    with pytest.raises(RunError, match="no saved state"):
        load_state(tmp_path / "t")
