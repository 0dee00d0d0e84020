"""The bill's page without a browser: what it says, what it leaves out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.bills import example_bill, layered
from helpers.checkpoints import family
from helpers.pages import Reader
from sharewise.merge import merge
from sharewise.merge.report import render
from sharewise.merge.report._levels import CELLS, level_tables, models_table
from sharewise.merge.report._maps import layers_figure
from sharewise.merge.report._scores import scores_table
from sharewise.page import _render

NO_NUMBER = re.compile(r"\b(nan|NaN|None|null|undefined|inf|Infinity)\b")


@pytest.fixture(autouse=True, scope="module")
def without_plotly() -> Iterator[None]:
    """The page without 5 MB of plotly.js, which these tests would only wait for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_render, "_plotly", lambda: "/* plotly.js */")
        yield


def cells(table: Any, row: int = 0) -> list[str]:
    return [cell.text for cell in table.rows[row].cells]


def test_a_merge_leaves_its_bill_as_json_and_as_a_page(tmp_path: Path) -> None:
    family(tmp_path)
    models = [{"model": "a"}, {"model": "b"}]
    plan = {"merge_method": "task_arithmetic", "base_model": "base", "models": models, "parameters": {"weight": 0.5}}
    bill = merge(plan, tmp_path / "out", root=tmp_path)
    page = (tmp_path / "out" / "merge.html").read_text(encoding="utf-8")
    assert page == render(bill) == render(json.loads((tmp_path / "out" / "merge.json").read_text()))
    text = Reader(page).text
    assert "Merge of a and b" in text and "predicted interference" in text


def test_the_page_says_who_is_near_and_who_is_far() -> None:
    bill = example_bill(["law", "code", "chess"], layered(2))
    bill["total"] |= {"interference": [0.25, 0.5, 0.75], "kept": [0.9, 0.6, 0.4]}
    text = Reader(render(bill)).text
    assert "closest to “law” (predicted interference 0.250) and farthest from “chess” (0.750)" in text
    assert cells(models_table(bill), 1)[0] == "code" and cells(models_table(bill), 1)[1] == "0.500"
    bill["total"]["interference"] = [None, 0.5, None]
    assert "Predicted interference with “code” is 0.500" in Reader(render(bill)).text


def test_numbers_of_layers_and_tensors_are_the_bills() -> None:
    bill = example_bill(["a", "b"], layered(2))
    bill["layers"][0]["interference"][1] = 0.125
    bill["layers"][0] |= {"sign_conflict": 0.5, "cosines": [[1.0, -0.25], [-0.25, 1.0]], "norm_kept": [0.75, None]}
    (_, together), (name, of_a), (_, of_b) = level_tables(bill, "layers", "layer")[0]
    assert cells(together)[3] == "50\u00a0%" and cells(together)[4:] == ["−0.250", "−0.250", "0.750"]
    assert name == "a" and cells(of_b)[2] == "0.125" and cells(of_b)[-1] == "–"
    assert float(of_a.rows[0].cells[3].sort) == bill["layers"][0]["kept"][0]
    figure = layers_figure(bill)
    assert figure is not None
    titles = [v.title for v in figure.variants]
    assert titles == ["interference", "kept", "foreign", "norm kept", "sign conflict"]
    assert figure.variants[0].traces[0]["z"][1][0] == 0.125 and figure.variants[-1].traces[0]["z"][0][0] == 50


def test_of_very_many_tensors_those_with_the_most_interference_are_listed_in_their_order() -> None:
    bill = example_bill(["a"], layered(1))
    row = bill["tensors"][0]
    many = CELLS // 2 + 100
    bill["tensors"] = [row | {"tensor": f"t{i}", "interference": [float(i % 1000)]} for i in range(many)]
    tables, left = level_tables(bill, "tensors", "tensor")
    assert left == 100 and len(tables[0][1].rows) == CELLS // 2
    values = [r.cells[2].sort for r in tables[1][1].rows]
    assert min(values) > 0 and values[:3] != sorted(values[:3], reverse=True)
    assert "100 tensors with less interference are left out" in Reader(render(bill)).text


def test_scores_are_compared_with_the_best_model() -> None:
    """0.9 before; 0.85 after: −0.05, worse. 0.5 and 0.7 before, 0.75 after: +0.05."""
    bill = example_bill(["a", "b"], layered(1))
    assert scores_table(bill) is None and "Scores before" not in render(bill)
    bill["scores"] = {"x": {"a": 0.9, "merged": 0.85}, "y": {"a": 0.5, "b": 0.7, "merged": 0.75}, "z": {"a": 1.0}}
    table = scores_table(bill)
    assert table is not None and [c.label for c in table.columns] == ["Task", "Merged", "Change", "a", "b"]
    assert cells(table, 0) == ["x", "0.8500", "▼ −0.0500", "0.9000", "–"]
    assert cells(table, 1)[2] == "▲ +0.0500" and table.rows[1].cells[4].best and not table.rows[1].cells[3].best
    assert cells(table, 2)[2] == "–"
    assert "1 of 2 tasks score lower" in Reader(render(bill)).text


@pytest.mark.parametrize("models", [["a"], ["a", "b"], [f"m{i}" for i in range(15)]])
@pytest.mark.parametrize("base", [True, False])
def test_any_number_of_models_with_and_without_a_base(models: list[str], base: bool) -> None:
    bill = example_bill(models, ["weight"] if len(models) == 1 else layered(2), base=base)
    bill["total"]["norm_kept"][0] = None
    text = Reader(render(bill)).text
    assert not NO_NUMBER.search(text)
    assert base or "There is no base" in text


def test_nothing_merged_is_said_so() -> None:
    empty = {"models": [], "total": None, "layers": [], "tensors": [], "changes": False}
    bill = {"method": "passthrough", "seconds": 0.1, "files": [], "warnings": ["nothing to do"], **empty}
    text = Reader(render(bill)).text
    assert "Nothing was merged" in text and "nothing to do" in text
