"""``study``: arms x seeds on one table, and a verdict."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..data import TableData, TableSpec
from ..errors import TaskError
from ._analysis import Findings
from ._models import describe, parts
from ._plan import ARMS, Plan, content_hash, parse_seeds
from ._run import Progress, run
from ._sharing import affinity, conflict
from ._store import PAGE, PICTURE, RESULTS, Store
from ._tables import SET, read, split
from ._verdict import Side, cheaper_than, decide
from .results import ColumnSummary, DataSummary, DataWarning, Recipe, StudyResult, TaskSummary

if TYPE_CHECKING:
    import polars as pl

SHARED = ("equal", "uncertainty", "pcgrad", "constant")


def make_plan(
    table: Path | str,
    targets: Sequence[str] = (),
    *,
    kinds: Mapping[str, str] | None = None,
    group: str | None = None,
    time: str | None = None,
    weight: str | None = None,
    drop: Sequence[str] = (),
    seeds: str | Sequence[int] = "0-4",
    arms: Sequence[str] = ARMS,
    **settings: float | int | bool,
) -> Plan:
    """The plan of a study; see :func:`study` for the arguments. Reads the table's bytes, writes nothing."""
    table, content, built_in = str(table), "", None
    if table.startswith(SET):
        _, built_in = read(table)
    else:
        content = content_hash(table)
    chosen = TableSpec(
        targets=tuple(targets) or (built_in.targets if built_in else ()),
        kinds={**(built_in.kinds if built_in else {}), **(kinds or {})},
        group=group or (built_in.group if built_in else None),
        time=time or (built_in.time if built_in else None),
        weight=weight or (built_in.weight if built_in else None),
        drop=(*(built_in.drop if built_in else ()), *drop),
    )
    if len(chosen.targets) < 2:
        raise TaskError("sharing takes at least two targets: name more, or train one model with `sharewise fit`")
    return Plan(
        table=table,
        content=content,
        spec=json.loads(json.dumps(asdict(chosen))),
        seeds=parse_seeds(seeds),
        arms=list(arms),
        **settings,  # type: ignore[arg-type]
    )


def study(
    table: Path | str,
    targets: Sequence[str] = (),
    *,
    out: Path | str,
    jobs: int | None = None,
    command: str = "",
    progress: Progress | None = None,
    **options: object,
) -> StudyResult:
    """Find out, on your table, whether one model should learn several targets.

    Every arm gets the same number of tuning trials a model, chosen on validation rows; what is reported was measured
    on test rows that no choice has seen. Each seed is another split. The folder gets ``results.json``, the page
    ``report.html`` and ``verdict.svg``, a small picture of the verdict; a study that was killed continues where it was
    when called again.

    Args:
        table: path of a CSV, TSV, Parquet, Arrow or JSON-lines file, or ``set:NAME`` for a built-in set.
        targets: columns to predict (a built-in set knows its own).
        out: folder of this study; made if it is not there.
        jobs: processes, one thread each; default: the cores of this machine.
        command: how to repeat it, shown on the page.
        progress: ``progress(done, total, text)``, called after each model.
        **options: ``kinds``, ``group``, ``time``, ``weight``, ``drop``, ``keep_leaks`` as in
            :func:`sharewise.fit_table`; ``seeds`` (``"0-4"``), ``trials`` (4), ``epochs`` (60), ``batch_size`` (256),
            ``patience`` (8), ``margin`` (0.01), ``valid``, ``test`` (0.2 each), ``arms`` (all;
            ``"equal@round_robin"`` is an arm with a schedule).

    Raises:
        DataError, TaskError, OptionError: before anything is written, naming what is wrong.
        RunError: the folder holds something else, or a worker died.

    Cost: about ``seeds x trials x (2 targets + 5)`` trainings of one network, divided by ``jobs``.
    """
    plan = make_plan(table, targets, **options)  # type: ignore[arg-type]
    return run_plan(plan, out, jobs=jobs, command=command, progress=progress)


def run_plan(
    plan: Plan,
    out: Path | str,
    *,
    jobs: int | None = None,
    command: str = "",
    progress: Progress | None = None,
) -> StudyResult:
    """Do a plan, or the rest of it; see :func:`study`."""
    began = time.monotonic()
    frame, _ = read(plan.table)
    data = checked_splits(plan, frame)
    store = Store(out)
    store.open(plan)
    total = len(data.schema.targets)
    run(plan, store, total, jobs or os.cpu_count() or 1, progress or (lambda done, all_, text: None))
    result = analyse(plan, store, data, frame, command, time.monotonic() - began)
    result.save(store.folder / RESULTS)
    from .report import write_picture, write_report

    write_report(result, store.folder / PAGE)
    write_picture(result, store.folder / PICTURE)
    return result


def checked_splits(plan: Plan, frame: pl.DataFrame) -> TableData:
    """The first seed's split, after making sure that every seed has one: errors come before hours of work."""
    first: TableData | None = None
    for seed in plan.seeds:
        data = split(plan, frame, seed)
        first = first or data
    assert first is not None
    return first


def analyse(
    plan: Plan, store: Store, data: TableData, frame: pl.DataFrame, command: str, seconds: float
) -> StudyResult:
    """Everything the page shows, from a finished folder."""
    tasks = data.preprocessor.tasks()
    names = [t.name for t in tasks]
    findings = Findings(plan, store, tasks, _clusters(plan, frame))
    overall = affinity(store, plan, names)
    runs = [findings.run(arm, seed) for arm in plan.arms for seed in plan.seeds]
    others = [a for a in plan.arms if a != "separate"]
    comparisons = [c for a in others for c in findings.compare(a, "separate")]
    deltas = [d for a in others if (d := findings.delta_m(a, "separate", data))]
    cost = {a: cheaper_than([r for r in runs if r.arm == a], [r for r in runs if r.arm == "separate"]) for a in others}

    def side(arm: str, groups: Sequence[Sequence[str]] = ()) -> Side:
        return Side(
            arm=arm,
            title=describe(arm, []).title,
            comparisons=[c for c in comparisons if c.arm == arm],
            delta_m=next((d for d in deltas if d.arm == arm), None),
            groups=groups,
        )

    shared = max((a for a in plan.arms if parts(a).base in SHARED), key=findings.objective)
    groups = side("groups", overall.groups) if "groups" in plan.arms else None
    verdict = decide(side(shared), groups, plan.margin, cost)
    if "trees" in plan.arms:
        recommended = verdict.arm or "separate"
        if recommended != "separate":
            comparisons += findings.compare(recommended, "trees")
        verdict.evidence.append(_trees_line(findings, recommended, describe(recommended, []).title))
    return StudyResult(
        title=plan.table.removeprefix(SET),
        data=_summary(plan, data),
        tasks=[
            TaskSummary(
                name=t.name,
                kind=t.kind,
                metric=t.main_metric,
                higher_is_better=t.higher_is_better[t.main_metric],
                labels=s.labels,
                missing=s.missing,
                classes=[str(c) for c in t.classes],
                baseline=findings.baseline(i),
            )
            for i, (t, s) in enumerate(zip(tasks, data.schema.targets, strict=True))
        ],
        arms=[describe(a, overall.groups) for a in plan.arms],
        runs=runs,
        comparisons=comparisons,
        delta_m=deltas,
        verdict=verdict,
        affinity=overall,
        conflict=conflict(store, plan, names),
        recipe=Recipe(command=command, seeds=plan.seeds, trials=plan.trials, versions=versions(), seconds=seconds),
    )


def _trees_line(findings: Findings, arm: str, title: str) -> str:
    """How boosted trees do against what is recommended: a reader may not want a network at all."""
    counts = {"better": 0, "worse": 0}
    for comparison in findings.compare("trees", arm):
        counts[comparison.outcome] = counts.get(comparison.outcome, 0) + 1
    return (
        f"Boosted trees, against {title.lower()}: shown better on {counts['better']} and worse on "
        f"{counts['worse']} of {len(findings.tasks)} tasks."
    )


def _clusters(plan: Plan, frame: pl.DataFrame) -> np.ndarray | None:
    column = plan.spec.get("group")
    if column is None:
        return None
    return np.unique(frame[column].cast(str).fill_null("").to_numpy(), return_inverse=True)[1]


def _summary(plan: Plan, data: TableData) -> DataSummary:
    group, when = plan.spec.get("group"), plan.spec.get("time")
    return DataSummary(
        name=plan.table.removeprefix(SET),
        source="built-in set" if plan.table.startswith(SET) else "file",
        rows=data.rows,
        splits=data.row_ids.sizes(),
        columns=[
            ColumnSummary(name=c.name, kind=c.kind, missing=c.missing, distinct=c.distinct)
            for c in data.schema.features
        ],
        warnings=[DataWarning(kind=w.kind, column=w.column, text=w.text) for w in data.warnings],
        split_by=f"group: {group}" if group else f"time: {when}" if when else "random rows",
    )


def versions() -> dict[str, str]:
    """What the numbers were made with."""
    found = {"python": platform.python_version()}
    for name in ("sharewise", "torch", "numpy", "polars", "scikit-learn", "optuna", "lightning-fabric"):
        found[name] = importlib.metadata.version(name)
    return found
