"""A made-up but coherent result of a study, for tests that must not wait for a real one."""

from __future__ import annotations

import math
import random
from statistics import fmean, stdev

from sharewise.study.results import (
    Affinity,
    Answer,
    Arm,
    ColumnSummary,
    Comparison,
    Conflict,
    Cost,
    DataSummary,
    DataWarning,
    DeltaM,
    Recipe,
    Run,
    StudyResult,
    TaskSummary,
    Verdict,
)

NAMES = ("visits", "nvisits", "ovisits", "novisits", "emergency", "hospital", "health")
HOSTILE = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(2)>",
    "\"quoted\" & 'single'",
    "{{7*7}} {% raw %} %{x}",
    "<b>bold</b> &lt;i&gt; ${name}",
)
"""Names that break out of pages, templates and plots which do not escape them."""

# arm -> (title, kind, mean effect in % against separate models, fit seconds, parameters)
_ARMS: dict[str, tuple[str, str, float, float, int]] = {
    "separate": ("Separate models", "separate", 0.0, 58.0, 412_000),
    "equal": ("Shared, equal weights", "shared", 0.5, 9.4, 71_400),
    "uncertainty": ("Shared, uncertainty weighting", "shared", 1.3, 9.9, 71_407),
    "pcgrad": ("Shared, PCGrad", "shared", 0.9, 21.5, 71_400),
    "constant": ("Shared, best constant weights", "shared", 0.7, 9.6, 71_400),
    "groups": ("Shared in groups", "groups", 1.0, 19.0, 131_800),
    "trees": ("Boosted trees, one per target", "trees", -3.2, 6.1, 38_200),
}


def example_result(
    names: tuple[str, ...] | list[str] = NAMES,
    *,
    arms: tuple[str, ...] = tuple(_ARMS),
    seeds: int = 5,
    epochs: int = 24,
    answer: Answer = "share: as good and cheaper",
    recommended: str | None = "uncertainty",
    audit: bool = True,
    title: str = "NMES1988: seven targets",
    random_seed: int = 3,
) -> StudyResult:
    """A result with ``names`` as tasks: the same arguments give the same result.

    ``audit=False`` leaves out affinity and conflict, as a study of separate models and trees does.
    """
    draw = random.Random(random_seed)
    tasks = [_task(name, i) for i, name in enumerate(names)]
    skill = {(a, t.name): _ARMS[a][2] + draw.gauss(0, 0.8) * (a != "separate") for a in arms for t in tasks}
    runs = [_run(a, s, tasks, skill, epochs, draw) for a in arms for s in range(seeds)]
    comparisons = [c for a in arms if a != "separate" for c in _compare(a, tasks, runs)]
    means = [_delta_m(a, comparisons) for a in arms if a != "separate"]
    order = list(names)
    return StudyResult(
        title=title,
        data=_data(order),
        tasks=tasks,
        arms=[_arm(a, order) for a in arms],
        runs=runs,
        comparisons=comparisons,
        delta_m=means,
        verdict=_verdict(answer, recommended if recommended in arms else None, means),
        affinity=_affinity(order, draw) if audit else None,
        conflict=_conflict(order, epochs, draw) if audit and len(order) > 1 else None,
        recipe=Recipe(
            command="sharewise study people.csv --targets " + ",".join(order) + " --seeds 5",
            seeds=list(range(seeds)),
            trials=8,
            versions={"sharewise": "0.1.0", "torch": "2.13.0", "python": "3.11.7"},
            seconds=164.2,
        ),
    )


def _task(name: str, i: int) -> TaskSummary:
    binary = i % 7 == 6
    return TaskSummary(
        name=name,
        kind="binary" if binary else "regression",
        metric="log_loss" if binary else "rmse",
        higher_is_better=False,
        labels=4406 - 137 * (i % 5),
        missing=round(137 * (i % 5) / 4406, 4),
        classes=["no", "yes"] if binary else [],
        baseline=0.69 if binary else 2.4 + i % 4,
    )


def _arm(name: str, order: list[str]) -> Arm:
    title, kind, *_ = _ARMS[name]
    half = (len(order) + 1) // 2
    groups = [g for g in (order[:half], order[half:]) if g] if kind == "groups" else []
    text = {
        "separate": "One network for each target; nothing is shared.",
        "shared": "One trunk for all targets, one small head for each.",
        "groups": "One shared network for each group of targets.",
        "trees": "Gradient-boosted trees for each target, the usual choice for tables.",
    }[kind]
    return Arm(name=name, title=title, kind=kind, text=text, groups=groups)  # type: ignore[arg-type]


def _run(
    arm: str,
    seed: int,
    tasks: list[TaskSummary],
    skill: dict[tuple[str, str], float],
    epochs: int,
    draw: random.Random,
) -> Run:
    _, kind, _, seconds, parameters = _ARMS[arm]
    metrics: dict[str, dict[str, float | None]] = {}
    curves: dict[str, list[float]] = {}
    for i, task in enumerate(tasks):
        hard = (0.55 if task.kind == "binary" else 2.0 + i % 4) * (1 + 0.02 * math.sin(seed + i))
        value = hard * (1 - skill[arm, task.name] / 100 + draw.gauss(0, 0.006))
        if task.kind == "binary":
            metrics[task.name] = {"log_loss": value, "auroc": 0.78 + draw.gauss(0, 0.01), "accuracy": 0.81}
        else:
            metrics[task.name] = {"rmse": value, "mae": value * 0.7, "r2": 0.2 + draw.gauss(0, 0.01)}
        length = epochs + (seed * 3 + i) % 5
        fall = [value * (0.2 + math.exp(-e / 2.5) + 0.004 * max(0, e - 9)) for e in range(length)]
        curves[task.name] = [x + draw.gauss(0, 0.01) * value for x in fall]
    shared = kind in ("shared", "groups")
    weights = {t.name: [1 + 0.05 * i * math.tanh(e / 8) for e in range(epochs)] for i, t in enumerate(tasks)}
    scale = len(tasks) / 7
    return Run(
        arm=arm,
        seed=seed,
        metrics=metrics,
        valid={t.name: float(metrics[t.name][t.metric] or 0) for t in tasks},
        cost=Cost(
            fit_seconds=seconds * (1 + 0.05 * seed) * (1 if shared else scale),
            tuning_seconds=seconds * 8,
            predict_seconds=0.004 * (1 if shared else len(tasks)),
            peak_mb=58.0 + seed,
            parameters=parameters,
            models=2 if kind == "groups" else 1 if shared else len(tasks),
        ),
        settings={"all" if shared else t.name: {"width": 128, "learning_rate": 0.0021} for t in tasks},
        curves={} if kind == "trees" else curves,
        weights=weights if arm in ("uncertainty", "pcgrad") else {},
        projected=_projected(tasks, draw) if arm == "pcgrad" else {},
    )


def _projected(tasks: list[TaskSummary], draw: random.Random) -> dict[str, dict[str, float]]:
    names = [t.name for t in tasks]
    return {a: {b: 0.07 * (i % 7) + draw.uniform(0, 0.2) for b in names if b != a} for i, a in enumerate(names)}


def _compare(arm: str, tasks: list[TaskSummary], runs: list[Run]) -> list[Comparison]:
    """Paired over seeds, with a rough normal interval: near enough to a real study's to be drawn."""
    found = []
    by = {(r.arm, r.seed): r.metrics for r in runs}
    seeds = sorted({r.seed for r in runs})
    for task in tasks:
        pairs = [(by[arm, s][task.name][task.metric], by["separate", s][task.name][task.metric]) for s in seeds]
        effects = [100 * (b - a) / b for a, b in pairs if a is not None and b is not None]
        effect, half = (
            fmean(effects),
            2 * stdev(effects) / math.sqrt(len(effects)) if len(effects) > 1 else 9.0,
        )
        low, high = effect - half, effect + half
        outcome = "better" if low > 0 else "as good" if low > -1 else "worse" if high < 0 else "unclear"
        p = min(1.0, math.erfc(abs(effect) / max(half / 2, 1e-9) / math.sqrt(2)))
        found.append(
            Comparison(
                arm=arm, versus="separate", task=task.name, effect=effect, low=low, high=high,
                p=p, p_holm=min(1.0, p * len(tasks)), p_margin=p / 2, outcome=outcome,
            )
        )  # fmt: skip
    return found


def _delta_m(arm: str, comparisons: list[Comparison]) -> DeltaM:
    mine = [c for c in comparisons if c.arm == arm]
    mean = fmean(c.effect for c in mine)
    half = fmean(c.high - c.effect for c in mine) / math.sqrt(len(mine))
    return DeltaM(
        arm=arm,
        versus="separate",
        higher_is_better=mean,
        lower_is_better=-mean,
        low=mean - half,
        high=mean + half,
    )


def _affinity(order: list[str], draw: random.Random) -> Affinity:
    m, half = len(order), (len(order) + 1) // 2

    def one(i: int, j: int) -> float:
        return 0.35 if i == j else draw.gauss(0.05 if (i < half) == (j < half) else -0.03, 0.04)

    mean = [[one(i, j) for j in range(m)] for i in range(m)]
    return Affinity(
        tasks=order,
        mean=mean,
        low=[[x - 0.04 for x in row] for row in mean],
        high=[[x + 0.04 for x in row] for row in mean],
        groups=[g for g in (order[:half], order[half:]) if g],
    )


def _conflict(order: list[str], epochs: int, draw: random.Random) -> Conflict:
    pairs = [(a, b) for i, a in enumerate(order) for b in order[i + 1 :]]
    start = [draw.uniform(-0.35, 0.5) for _ in pairs]
    cosine = [[x * math.exp(-e / 30) + draw.gauss(0, 0.05) for e in range(epochs)] for x in start]
    return Conflict(
        pairs=pairs,
        epochs=list(range(1, epochs + 1)),
        cosine=cosine,
        conflict_rate=[sum(x < 0 for x in row) / len(row) for row in cosine],
    )


def _data(order: list[str]) -> DataSummary:
    columns = ["age", "income", "school", "married", "employed", "insurance", "medicaid", "chronic", "region"]
    kinds = ["number", "number", "number", "boolean", "boolean", "boolean", "boolean", "number", "category"]
    warnings: list[tuple[str, str, str]] = [
        ("tiny task", order[-1], "Only 63 rows of the test part have this label: its intervals are wide."),
        (
            "leak",
            "chronic",
            f'predicts the target "{order[0]}" almost perfectly; it may not be known beforehand.',
        ),
        (
            "drift",
            "age",
            "Its mean differs by 0.4 standard deviations between the training and the test rows.",
        ),
    ]
    return DataSummary(
        name="NMES1988",
        source="people.csv",
        rows=4406,
        splits={"train": 2644, "valid": 881, "test": 881},
        columns=[
            ColumnSummary(name=c, kind=k, missing=0.031 * (i % 3), distinct=None if k == "number" else 2 + i)
            for i, (c, k) in enumerate(zip(columns, kinds, strict=True))
        ],
        warnings=[DataWarning(kind=k, column=c, text=t) for k, c, t in warnings],  # type: ignore[arg-type]
    )


_SENTENCES: dict[Answer, str] = {
    "share": "One shared model predicts most targets better than separate ones do.",
    "share: as good and cheaper": "One shared model is as good as separate ones on every target, and cheaper.",
    "share in these groups": "Sharing helps within the groups below and hurts across them.",
    "do not share": "Every way to share that was tried hurts at least one target by more than the margin.",
    "too little data to say": "The intervals are too wide to tell a gain from a loss on most targets.",
}


def _verdict(answer: Answer, arm: str | None, means: list[DeltaM]) -> Verdict:
    mean = next((d for d in means if d.arm == arm), None)
    found = f"{mean.higher_is_better:+.2f} % (95 % interval {mean.low:+.2f} to {mean.high:+.2f})" if mean else ""
    return Verdict(
        answer=answer,
        arm=arm,
        sentence=_SENTENCES[answer],
        evidence=[
            *([f"The mean change over the targets is {found}."] if mean else []),
            "All strategies had the same 8 tuning trials on the same splits.",
        ],
        margin=1.0,
        cheaper={"fit": 5.9, "store": 5.8, "serve": 6.7} if arm else {},
    )
