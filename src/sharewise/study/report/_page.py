"""The page itself: every section's data handed to one template, styles and scripts inlined."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from ...files import write_text
from ..results import StudyResult
from . import _text
from ._affinity import affinity_figure, affinity_table
from ._arms import arm_title, pairs, separate
from ._conflict import MOST as MOST_PAIRS
from ._conflict import conflict_figure, conflict_sentence, conflict_table
from ._cost import cost_figure, cost_table
from ._curves import curves, weights
from ._data import MOST as MOST_COLUMNS
from ._data import columns_table, splits, targets_table
from ._embed import embed
from ._figures import Figure
from ._forest import forest, forest_tables
from ._metrics import delta_m_table, metrics_table
from ._projected import projected_figure, projected_tables
from ._theme import KIND_WORDS, OUTCOMES
from ._verdict import facts

_HERE = Path(__file__).parent


def write_report(result: StudyResult, path: Path | str) -> None:
    """Write :func:`render`'s page under ``path``, atomically; raises :class:`OSError` where that fails."""
    write_text(path, render(result))


def render(result: StudyResult) -> str:
    """The study as one HTML page that needs no network: styles, scripts, plotly.js and data are all inside.

    About 5 MB, nearly all of it plotly.js. Every string of the result is escaped; the page's
    Content-Security-Policy allows no request and runs no script but the page's own two, by their hash.
    """
    figures = _figures(result)
    scripts = [_plotly(), _asset("page.js")]
    return environment().get_template("page.html.j2").render(
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
        css=Markup(_asset("page.css")),
        scripts=[Markup(s) for s in scripts],
        hashes=" ".join(_hash(s) for s in scripts),
        data=embed(_figure_data(figures)),
    )  # fmt: skip


def _figures(result: StudyResult) -> dict[str, Any]:
    """Section -> figure, without those there is no data for; ``curves`` is a list of (task, figure)."""
    single: dict[str, Figure | None] = {
        "forest": forest(result),
        "weights": weights(result),
        "conflict": conflict_figure(result.conflict),
        "projected": projected_figure(result),
        "affinity": affinity_figure(result.affinity),
        "cost": cost_figure(result),
    }
    found: dict[str, Any] = {name: figure for name, figure in single.items() if figure is not None}
    lines = curves(result)
    return {**found, "curves": lines} if lines else found


def _figure_data(figures: dict[str, Any]) -> dict[str, Any]:
    flat = [f for name, f in figures.items() if name != "curves"] + [f for _, f in figures.get("curves", [])]
    return {figure.id: figure.data() for figure in flat}


def _tables(result: StudyResult) -> dict[str, Any]:
    tables: dict[str, Any] = {
        "forest": forest_tables(result),
        "metrics": metrics_table(result),
        "delta_m": delta_m_table(result),
        "cost": cost_table(result),
        "targets": targets_table(result),
        "columns": columns_table(result),
        "projected": projected_tables(result),
    }
    if result.conflict is not None:
        tables["conflict"] = conflict_table(result.conflict)
    if result.affinity is not None:
        tables["affinity"] = affinity_table(result.affinity)
    return tables


@cache
def environment() -> jinja2.Environment:
    """Templates of this package: everything is escaped, a name that is not there is an error."""
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown = ("clean", "count", "duration", "interval", "number", "percent", "prose", "share", "signed", "times")
    env.filters.update({name: getattr(_text, name) for name in shown})
    return env


@cache
def _asset(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


@cache
def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    # A script element's text ends at the first of these; plotly.js 4.1 has neither.
    source: str = get_plotlyjs()
    return source.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _hash(script: str) -> str:
    """The script's source expression for ``script-src`` (CSP level 3, section 2.3.1)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
