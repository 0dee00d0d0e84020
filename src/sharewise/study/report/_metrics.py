"""The metrics of every task under every arm, and the mean change in both conventions."""

from __future__ import annotations

from ...page import Cell, Column, Row, Table, clean, interval, known, label, plus_minus, signed, value
from ..results import DeltaM, StudyResult, TaskSummary
from ._arms import arm_title, leading_arm, separate
from ._estimate import Estimate, estimate, metric_values

_UP = {"r2", "auroc", "accuracy", "spearman", "mean_iou"}
_DOWN = {"rmse", "mae", "log_loss", "loss"}


def _direction(task: TaskSummary, metric: str) -> bool | None:
    """Whether a higher value is better; ``None`` for a user's own metric that is not the main one."""
    if metric == task.metric:
        return task.higher_is_better
    return True if metric in _UP else False if metric in _DOWN else None


def metric_names(result: StudyResult, task: TaskSummary) -> list[str]:
    """The task's metrics, the main one first."""
    seen = [m for run in result.runs for m in run.metrics.get(task.name, {})]
    return list(dict.fromkeys([task.metric, *seen]))


def metrics_table(result: StudyResult) -> Table:
    """Tasks by arms: mean and 95 % interval over seeds on test; the best mean of a row is marked."""
    first = leading_arm(result)
    arms = sorted((a.name for a in result.arms), key=lambda name: name != first)
    columns = [Column("Task", numeric=False), Column("Metric", numeric=False)]
    columns += [Column(arm_title(result, arm)) for arm in arms]
    columns.append(Column("Without features", note="always predicting the mean or the class shares"))
    rows = []
    for task in result.tasks:
        for metric in metric_names(result, task):
            main = metric == task.metric
            found = [estimate(metric_values(result, arm, task.name, metric)) for arm in arms]
            up = _direction(task, metric)
            arrow = {True: " ↑", False: " ↓", None: ""}[up]
            baseline = task.baseline if main else None
            cells = [label(clean(task.name)), label(clean(metric) + arrow)]
            cells += [_cell(e, best) for e, best in zip(found, _best(found, up), strict=True)]
            rows.append(Row([*cells, value(baseline, plus_minus(baseline, None))], extra=not main))
    return Table("metrics", "Metrics on test rows, by task and strategy", columns, rows)


def _best(found: list[Estimate], up: bool | None) -> list[bool]:
    means = [e.mean for e in found if e.mean is not None]
    if up is None or len(means) < 2 or max(means) == min(means):
        return [False] * len(found)
    top = max(means) if up else min(means)
    return [e.mean == top for e in found]


def _cell(e: Estimate, best: bool) -> Cell:
    if e.mean is None:
        return value(None, "")
    partly = "" if e.count == e.of else f" ({e.count} of {e.of} seeds)"
    return value(e.mean, plus_minus(e.mean, e.half) + partly, best=best)


def _name(result: StudyResult, d: DeltaM) -> str:
    against = "" if d.versus == separate(result) else f" against {arm_title(result, d.versus).lower()}"
    chosen = " (recommended)" if d.arm == result.verdict.arm and not against else ""
    return arm_title(result, d.arm) + against + chosen


def delta_m_table(result: StudyResult) -> Table:
    """The mean change of each arm against separate models, once in each of the two sign conventions."""
    columns = [
        Column("Strategy", numeric=False),
        Column("delta_m, %, higher is better", note="Maninis et al. 2019; Vandenhende et al. 2021"),
        Column("95 % interval", note="of the column before"),
        Column("delta_m, %, lower is better", note="Navon et al. 2022; Liu et al. 2021, 2023"),
    ]
    ordered = sorted(result.delta_m, key=lambda d: -d.higher_is_better if known(d.higher_is_better) else float("inf"))
    rows = [
        Row(
            [
                label(_name(result, d)),
                value(d.higher_is_better, signed(d.higher_is_better)),
                value(d.low, interval(d.low, d.high)),
                value(d.lower_is_better, signed(d.lower_is_better)),
            ]
        )
        for d in ordered
    ]
    return Table("delta-m", "Mean relative change over the tasks against separate models", columns, rows)
