"""Who trained when: for strategies with a schedule, the share of each epoch's steps that each task trained in."""

from __future__ import annotations

from statistics import fmean

from ...page import (
    SEQUENTIAL,
    Column,
    Figure,
    Row,
    Table,
    Trace,
    Variant,
    clean,
    colorbar,
    for_plot,
    label,
    plus_minus,
    share,
    value,
)
from ..results import StudyResult
from ._arms import arm_title, leading_arm
from ._curves import task_map
from ._estimate import Estimate, estimate


def _arms(result: StudyResult) -> list[str]:
    """Arms with a schedule, the leading one first."""
    has = {run.arm for run in result.runs if any(run.trained.values())}
    first = leading_arm(result)
    return sorted((arm.name for arm in result.arms if arm.name in has), key=lambda name: name != first)


def turns_figure(result: StudyResult) -> Figure | None:
    """Tasks by epochs; ``None`` where every strategy trains all tasks in every step."""
    names = [t.name for t in result.tasks]
    variants = [Variant(arm_title(result, arm), [_map(result, arm, names)]) for arm in _arms(result)]
    if not variants:
        return None
    layout, narrow = task_map(names)
    words = "In how many of each epoch's steps each task trained. The numbers follow below."
    return Figure("turns", "turns", words, variants, layout, narrow)


def _map(result: StudyResult, arm: str, names: list[str]) -> Trace:
    runs = [r for r in result.runs if r.arm == arm and r.trained]
    length = max(len(line) for r in runs for line in r.trained.values())
    z = [[_share(result, arm, name, epoch).mean for epoch in range(length)] for name in names]
    hover = [
        [f"{for_plot(t, 40)}, epoch {e + 1}:<br>in {share(v)} of the steps" for e, v in enumerate(row)]
        for t, row in zip(names, z, strict=True)
    ]
    return {
        "type": "heatmap",
        "z": [[None if v is None else 100 * v for v in row] for row in z],
        "zmin": 0,
        "zmax": 100,
        "x0": 1,
        "dx": 1,
        "colorscale": SEQUENTIAL,
        "colorbar": colorbar("steps", " %"),
        "hoverinfo": "text",
        "hovertext": hover,
    }


def _share(result: StudyResult, arm: str, task: str, epoch: int | None = None) -> Estimate:
    """Over seeds, the share of an epoch's steps; of all epochs where none is named."""
    lines = [line for r in result.runs if r.arm == arm and (line := r.trained.get(task))]
    if epoch is None:
        return estimate(fmean(line) for line in lines)
    return estimate(line[epoch] for line in lines if epoch < len(line))


def turns_tables(result: StudyResult) -> list[Table]:
    """Every task's share of all steps; a table for each variant of the figure."""
    columns = [
        Column("Task", numeric=False),
        Column("Trained in so many steps, %", note="mean over seeds ± half of the 95 % interval"),
    ]
    tables = []
    for number, arm in enumerate(_arms(result)):
        rows = []
        for task in result.tasks:
            e = _share(result, arm, task.name)
            mean, half = (None if v is None else 100 * v for v in (e.mean, e.half))
            rows.append(Row([label(clean(task.name)), value(mean, plus_minus(mean, half))]))
        tables.append(Table(f"turns-{number}", f"Who trained when: {arm_title(result, arm)}", columns, rows))
    return tables
