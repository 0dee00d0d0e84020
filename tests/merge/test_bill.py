"""The bill says what happened to each model, tensor by tensor, layer by layer and in all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from helpers.checkpoints import family
from sharewise.merge import merge
from sharewise.merge._bill import Tally, table
from sharewise.merge.methods._gram import gram


def test_numbers_by_hand() -> None:
    """tau = (2, 0), (0, 1), merged (1, 1): kept 1/2 and 1; foreign 1/2 and 1; distance sqrt 2 / 2 and 1 / 1."""
    rows = torch.tensor([[2.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    found = Tally(gram(rows), 0, 2).numbers(True)
    assert found["kept"] == [0.5, 1.0] and found["foreign"] == pytest.approx([0.5, 1.0])
    assert found["interference"] == pytest.approx([0.5**0.5, 1.0]) and found["norms"] == [2.0, 1.0]
    assert found["cosines"] == [[1.0, 0.0], [0.0, 1.0]] and found["norm_kept"] == pytest.approx([0.5**0.5, 2**0.5])


def test_the_bill_of_a_merge(tmp_path: Path) -> None:
    base, (a, b) = family(tmp_path, layers=3)
    plan = {
        "merge_method": "task_arithmetic",
        "base_model": "base",
        "models": [{"model": "a", "parameters": {"weight": 1.0}}, {"model": "b", "parameters": {"weight": 0.0}}],
    }
    bill = merge(plan, tmp_path / "out", root=tmp_path, block=7)
    assert json.loads((tmp_path / "out" / "merge.json").read_text()) == bill
    assert bill["models"] == ["a", "b"] and len(bill["tensors"]) == len(base)
    total = bill["total"]
    assert total["kept"][0] == pytest.approx(1) and total["interference"][0] == pytest.approx(0, abs=1e-3)
    conflict = sum(int(((a[k] - v) * (b[k] - v) < 0).sum()) for k, v in base.items())
    assert total["sign_conflict"] == conflict / sum(v.numel() for v in base.values())
    expected = ["outside of the layers", *(f"model.layers.{i}" for i in range(3))]
    assert [row["layer"] for row in bill["layers"]] == expected
    assert sum(row["entries"] for row in bill["layers"]) == total["entries"]
    assert table(bill)[1].split() == ["a", "1.00", "0.00", "0.00"]


def test_models_without_a_base_and_models_that_changed_nothing(tmp_path: Path) -> None:
    family(tmp_path)
    models = [{"model": "a"}, {"model": "b"}]
    plan = {"merge_method": "linear", "models": models, "parameters": {"weight": 1}}
    bill = merge(plan, tmp_path / "x", root=tmp_path)
    assert not bill["changes"] and "kept" not in bill["total"] and table(bill) == []
    still = {"merge_method": "ties", "base_model": "base", "models": models, "parameters": {"weight": 1}}
    (tmp_path / "a" / "model.safetensors").write_bytes((tmp_path / "base" / "model.safetensors").read_bytes())
    bill = merge(still, tmp_path / "y", root=tmp_path)
    assert bill["total"]["kept"][0] is None and bill["total"]["interference"][1] == pytest.approx(0, abs=1e-3)
