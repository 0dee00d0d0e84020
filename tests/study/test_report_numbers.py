"""The page's numbers, words and tables: rounding, means, intervals, what is marked as best."""

from __future__ import annotations

import math
from typing import Any

import pytest

from helpers.pages import Reader
from helpers.results import example_result
from sharewise.study.report import render
from sharewise.study.report._cost import cost_table
from sharewise.study.report._data import columns_table
from sharewise.study.report._estimate import estimate
from sharewise.study.report._metrics import delta_m_table, metrics_table
from sharewise.study.results import ColumnSummary

NAN = float("nan")


def cells(table: Any, row: int = 0) -> list[str]:
    return [cell.text for cell in table.rows[row].cells]


def test_means_and_intervals_pinned_by_hand() -> None:
    found = estimate([1.0, 2.0, 3.0])
    assert found.mean == 2.0 and found.half == pytest.approx(4.302652730 / math.sqrt(3), rel=1e-8)  # t(0.975, 2) s/√n
    partly = estimate([1.0, None, 5.0, NAN])
    assert (partly.mean, partly.count, partly.of) == (3.0, 2, 4)
    assert partly.half == pytest.approx(12.70620474 * math.sqrt(8) / math.sqrt(2), rel=1e-8)
    assert estimate([7.0]).half is None and estimate([None]).mean is None


def test_metrics_are_means_over_seeds_and_the_best_is_marked() -> None:
    result = example_result(["a", "b"], arms=("separate", "equal"), seeds=2)
    result.tasks[1].higher_is_better = True
    for run in result.runs:
        shift = 0.2 if run.arm == "equal" else 0.0
        run.metrics = {
            "a": {"rmse": 1.0 + run.seed + shift, "own": 3.0 + shift},
            "b": {"rmse": 5.0 + shift if run.seed else None},
        }
    table = metrics_table(result)
    # The arm that leads comes first: sharing, as the only one that was compared.
    assert [c.label for c in table.columns[2:4]] == ["Shared, equal weights", "Separate models"]
    assert cells(table)[:2] == ["a", "rmse ↓"]
    assert cells(table)[2:4] == ["1.7 ± 6.4", "1.5 ± 6.4"]  # t(0.975, 1) = 12.706, s = 1/√2
    assert [cell.best for cell in table.rows[0].cells] == [False, False, False, True, False]
    assert cells(table, 1)[1] == "own" and not any(cell.best for cell in table.rows[1].cells)
    assert table.rows[1].extra and not table.rows[0].extra
    assert cells(table, 2)[1:3] == ["rmse ↑", "5.200 (1 of 2 seeds)"]
    assert table.rows[2].cells[2].best


def test_delta_m_stands_in_both_conventions() -> None:
    result = example_result()
    table = delta_m_table(result)
    assert [c.label for c in table.columns[1:]] == [
        "delta_m, %, higher is better",
        "95 % interval",
        "delta_m, %, lower is better",
    ]
    sorts = [row.cells[1].sort for row in table.rows]
    assert sorts == sorted(sorts, reverse=True)
    for row in table.rows:
        assert row.cells[1].sort == -row.cells[3].sort
    assert sum("(recommended)" in cells(table, i)[0] for i in range(len(table.rows))) == 1


def test_cost_table_has_every_arm_with_its_number() -> None:
    table = cost_table(example_result())
    assert cells(table)[0] == "1 · Separate models" and cells(table)[3] == "7"
    assert len(table.rows) == 7


def test_of_very_many_columns_those_with_most_missing_are_listed() -> None:
    result = example_result()
    result.data.columns = [ColumnSummary(name=f"c{i}", kind="number", missing=i / 1000) for i in range(900)]
    table = columns_table(result)
    assert len(table.rows) == 500 and cells(table)[0] == "c899"
    assert "500 of 900 columns" in Reader(render(result)).text
