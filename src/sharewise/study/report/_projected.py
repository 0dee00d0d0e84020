"""Projection: whose gradient lost its part along whose, for balancers that resolve conflicts so."""

from __future__ import annotations

from ...page import (
    FONT,
    LOSING,
    NUMBERS,
    Column,
    Figure,
    Row,
    Table,
    Trace,
    Variant,
    clean,
    colorbar,
    for_plot,
    known,
    label,
    layouts,
    plus_minus,
    share,
    value,
)
from ..results import StudyResult
from ._arms import arm_title, leading_arm
from ._estimate import Estimate, estimate

_ON_A_PHONE = 7
"""Up to so many tasks the cells of a phone have room for their numbers."""


def _arms(result: StudyResult) -> list[str]:
    """Arms whose balancer notes projections, the leading one first."""
    has = {run.arm for run in result.runs if any(known(v) for row in run.projected.values() for v in row.values())}
    first = leading_arm(result)
    return sorted((arm.name for arm in result.arms if arm.name in has), key=lambda name: name != first)


def _share(result: StudyResult, arm: str, task: str, other: str) -> Estimate:
    """Share of the recorded steps over the seeds in which the two met."""
    return estimate(r.projected.get(task, {}).get(other) for r in result.runs if r.arm == arm)


def projected_figure(result: StudyResult) -> Figure | None:
    """Tasks by tasks; ``None`` where no arm projects."""
    names = [t.name for t in result.tasks]
    variants = []
    for arm in _arms(result):
        z = [[None if a == b else _share(result, arm, a, b).mean for b in names] for a in names]
        variants.append(Variant(arm_title(result, arm), [_map(names, z)]))
    if not variants:
        return None
    layout, narrow = layouts(names, "This task's gradient lost its part …", "… along this task's")
    words = "How often each task's gradient lost its part along each other task's. The numbers follow below."
    return Figure("projected", "projected", words, variants, layout, narrow)


def _map(names: list[str], z: list[list[float | None]]) -> Trace:
    percent = [[None if v is None else 100 * v for v in row] for row in z]
    most = max((v for row in percent for v in row if v is not None), default=0.0) or 1.0
    hover = [[_hover(a, b, v) for b, v in zip(names, row, strict=True)] for a, row in zip(names, z, strict=True)]
    numbers = [["" if v is None else f"{v:.0f}" for v in row] for row in percent]
    return {
        "type": "heatmap",
        "z": percent,
        "zmin": 0,
        "zmax": most,
        "colorscale": LOSING,
        "colorbar": colorbar("steps", " %"),
        "xgap": 2,
        "ygap": 2,
        "text": numbers if len(names) <= NUMBERS else None,
        "texttemplate": "%{text}" if len(names) <= NUMBERS else "",
        "textfont": {"size": FONT, "color": "@ink"},
        "hoverinfo": "text",
        "hovertext": hover,
        "narrow": {} if len(names) <= _ON_A_PHONE else {"texttemplate": "", "xgap": 1, "ygap": 1},
    }


def _hover(task: str, other: str, found: float | None) -> str:
    a, b = for_plot(task, 40), for_plot(other, 40)
    if task == other:
        return f"{a}: no gradient is projected on itself"
    return f"{a} lost its part along {b}<br>in {share(found)} of the steps"


def projected_tables(result: StudyResult) -> list[Table]:
    """Every ordered pair, the most often projected first; a table for each variant of the figure."""
    return [_table(result, arm, i) for i, arm in enumerate(_arms(result))]


def _table(result: StudyResult, arm: str, number: int) -> Table:
    columns = [
        Column("The gradient of", numeric=False),
        Column("lost its part along", numeric=False),
        Column("In so many steps, %", note="mean over seeds ± half of the 95 % interval"),
    ]
    names = [t.name for t in result.tasks]
    found = [(a, b, _share(result, arm, a, b)) for a in names for b in names if a != b]
    rows = []
    for a, b, e in sorted(found, key=lambda f: -1.0 if f[2].mean is None else f[2].mean, reverse=True):
        mean, half = (None if v is None else 100 * v for v in (e.mean, e.half))
        rows.append(Row([label(clean(a)), label(clean(b)), value(mean, plus_minus(mean, half))]))
    return Table(f"projected-{number}", f"Who was projected: {arm_title(result, arm)}", columns, rows)
