"""The page itself: every section's data handed to one template, styles and scripts inlined."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...files import write_text
from ...page import Figure
from ...page import render as render_page
from ..results import StudyResult
from ._affinity import affinity_figure, affinity_table
from ._arms import arm_title, pairs, separate
from ._conflict import MOST as MOST_PAIRS
from ._conflict import conflict_figure, conflict_sentence, conflict_table
from ._cost import cost_figure, cost_table
from ._curves import curves, weights
from ._data import MOST as MOST_COLUMNS
from ._data import columns_table, splits, targets_table
from ._forest import forest, forest_tables
from ._metrics import delta_m_table, metrics_table
from ._projected import projected_figure, projected_tables
from ._theme import KIND_WORDS, OUTCOMES
from ._turns import turns_figure, turns_tables
from ._verdict import facts

_HERE = Path(__file__).parent


def write_report(result: StudyResult, path: Path | str) -> None:
    """Write :func:`render`'s page under ``path``, atomically; raises :class:`OSError` where that fails."""
    write_text(path, render(result))


def render(result: StudyResult) -> str:
    """The study as one HTML page that needs no network (see :func:`sharewise.page.render`)."""
    figures = _figures(result)
    return render_page(
        _HERE,
        "report.html.j2",
        _flat(figures),
        result=result,
        verdict=facts(result),
        pairs=[(arm_title(result, a), arm_title(result, b)) for a, b in pairs(result)],
        alone=separate(result),
        title_of=lambda name: arm_title(result, name),
        outcomes=OUTCOMES,
        kind_words=KIND_WORDS,
        splits=splits(result),
        most_pairs=MOST_PAIRS,
        most_columns=MOST_COLUMNS,
        figures=figures,
        tables=_tables(result),
        conflict_sentence=conflict_sentence(result.conflict),
    )


def _figures(result: StudyResult) -> dict[str, Any]:
    """Section -> figure, without those there is no data for; ``curves`` is a list of (task, figure)."""
    single: dict[str, Figure | None] = {
        "forest": forest(result),
        "weights": weights(result),
        "turns": turns_figure(result),
        "conflict": conflict_figure(result.conflict),
        "projected": projected_figure(result),
        "affinity": affinity_figure(result.affinity),
        "cost": cost_figure(result),
    }
    found: dict[str, Any] = {name: figure for name, figure in single.items() if figure is not None}
    lines = curves(result)
    return {**found, "curves": lines} if lines else found


def _flat(figures: dict[str, Any]) -> list[Figure]:
    return [f for name, f in figures.items() if name != "curves"] + [f for _, f in figures.get("curves", [])]


def _tables(result: StudyResult) -> dict[str, Any]:
    tables: dict[str, Any] = {
        "forest": forest_tables(result),
        "metrics": metrics_table(result),
        "delta_m": delta_m_table(result),
        "cost": cost_table(result),
        "targets": targets_table(result),
        "columns": columns_table(result),
        "projected": projected_tables(result),
        "turns": turns_tables(result),
    }
    if result.conflict is not None:
        tables["conflict"] = conflict_table(result.conflict)
    if result.affinity is not None:
        tables["affinity"] = affinity_table(result.affinity)
    return tables
