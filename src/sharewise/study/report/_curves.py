"""Training curves, one small figure a task, and the balancer's weights over the epochs."""

from __future__ import annotations

import math

from ...page import (
    FONT,
    SEQUENTIAL,
    Figure,
    Trace,
    Variant,
    axis,
    base,
    clean,
    for_plot,
    known,
    margin_for,
    number,
    shorten,
    title,
)
from ..results import StudyResult
from ._arms import arm_title, leading_arm, separate
from ._estimate import estimate

_POINTS = 200
"""A curve has at most about so many points: more cannot be seen at its size."""


def _with_curves(result: StudyResult, task: str | None = None) -> list[str]:
    """Arms that have curves (of ``task``), the leading one first."""
    has = {r.arm for r in result.runs if (any(r.curves.values()) if task is None else r.curves.get(task))}
    first = leading_arm(result)
    names = [arm.name for arm in result.arms if arm.name in has]
    return sorted(names, key=lambda name: (name != first, name == separate(result)))


def curves(result: StudyResult) -> list[tuple[str, Figure]]:
    """(task name, figure) for each task with a curve; all figures share one selector of arms."""
    arms = _with_curves(result)
    figures = []
    for i, task in enumerate(result.tasks):
        if not _with_curves(result, task.name):
            continue
        lines = levelled(result, task.name)
        variants = [Variant(arm_title(result, arm), _task_traces(result, arm, lines)) for arm in arms]
        longest, low, high = _window([line for of_arm in lines.values() for line in of_arm])
        layout = base(
            190,
            margin={"l": 58, "r": 10, "t": 8, "b": 44},
            xaxis=axis(title=title("epoch", 6), nticks=4, range=[0, longest + 1], showgrid=False, showline=True),
            yaxis=axis(nticks=5, range=[low, high]),
            hovermode="x",
        )
        words = f"Validation loss of {clean(task.name)} after each epoch."
        figures.append((clean(task.name), Figure(f"curve-{i}", "curves", words, variants, layout)))
    return figures


def _window(lines: list[list[float]]) -> tuple[int, float, float]:
    """Longest curve, lowest and highest loss worth showing.

    The first epochs fall from far above and would press everything that tells arms apart into a line; the axis
    starts a little above where the first quarter of the epochs ends, and is the same for all arms.
    """
    seen = [v for line in lines for v in line if known(v)]
    late = [v for line in lines for v in line[len(line) // 4 :] if known(v)] or seen
    if not late:
        return max(map(len, lines)), 0.0, 1.0
    low, high = min(seen), max(late)
    room = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
    return max(map(len, lines)), low - room, high + room


def levelled(result: StudyResult, task: str) -> dict[str, list[list[float]]]:
    """Arm -> one curve a seed, without what makes the seeds' splits differ in difficulty.

    A split's difficulty is the mean over arms of the lowest loss in it; every curve is moved by what its split
    differs from the mean difficulty (Cousineau 2005 does so for subjects). All arms of a seed move alike, so no
    comparison changes, and a mean does not jump where a seed stops.
    """
    runs = [run for run in result.runs if run.curves.get(task)]
    lowest: dict[int, list[float]] = {}
    for run in runs:
        lowest.setdefault(run.seed, []).append(min((v for v in run.curves[task] if known(v)), default=math.nan))
    difficulty = {seed: estimate(values).mean for seed, values in lowest.items()}
    middle = estimate(difficulty.values()).mean or 0.0
    found: dict[str, list[list[float]]] = {}
    for run in runs:
        own = difficulty[run.seed]
        shift = 0.0 if own is None else middle - own
        found.setdefault(run.arm, []).append([v + shift for v in run.curves[task]])
    return found


def _task_traces(result: StudyResult, arm: str, lines: dict[str, list[list[float]]]) -> list[Trace]:
    alone = separate(result)
    traces = []
    if alone is not None and alone != arm:
        traces += _traces(lines.get(alone, []), arm_title(result, alone), "@muted", "dash")
    return traces + _traces(lines.get(arm, []), arm_title(result, arm), "@better", "solid")


def _traces(lines: list[list[float]], name: str, color: str, dash: str) -> list[Trace]:
    """Band from the lowest to the highest seed, and the mean: dotted once fewer than all seeds train on."""
    if not lines:
        return []
    longest, all_train = max(map(len, lines)), min(map(len, lines))
    step = max(1, -(-longest // _POINTS))
    epochs = list(range(0, longest, step))
    at = [[line[e] for line in lines if e < len(line)] for e in epochs]
    mean = [estimate(values).mean for values in at]
    # A line continues from its last full epoch, so that solid and dotted parts meet.
    cut = sum(e < all_train for e in epochs)
    # A model trained for one epoch is a point, not a line.
    shown = {"type": "scatter", "mode": "lines" if len(epochs) > 1 else "markers", "x0": 1, "dx": step}
    quiet = {**shown, "line": {"width": 0, "color": color}, "hoverinfo": "skip"}
    line = {**shown, "hoverinfo": "text"}
    hover = [f"{for_plot(name, 40)}: {number(value)}" for value in mean]
    traces: list[Trace] = []
    if len(lines) > 1:
        low = [min((v for v in values if v == v), default=None) for values in at]
        high = [max((v for v in values if v == v), default=None) for values in at]
        fill = {"fill": "tonexty", "fillcolor": f"{color}-band"}
        traces += [{**quiet, "y": low}, {**quiet, "y": high, **fill}]
    traces.append({**line, "y": mean[:cut], "hovertext": hover[:cut], "line": _line(color, dash)})
    if cut < len(epochs):
        start = max(0, cut - 1)
        rest = {
            "x0": 1 + start * step,
            "y": mean[start:],
            "hovertext": hover[start:],
            "line": _line(color, "dot"),
        }
        traces.append({**line, **rest})
    return traces


def _line(color: str, dash: str) -> dict[str, object]:
    return {"color": color, "width": 2.5 if dash != "dot" else 2, "dash": dash}


def weights(result: StudyResult) -> Figure | None:
    """Weights over the epochs as a map of tasks by epochs, each epoch divided by its mean over tasks."""
    arms = [a.name for a in result.arms if any(r.weights for r in result.runs if r.arm == a.name)]
    if not arms or len(result.tasks) < 2:
        return None
    first = leading_arm(result)
    arms.sort(key=lambda name: name != first)
    tasks = [t.name for t in result.tasks]
    layout, narrow = task_map(tasks)
    variants = [Variant(arm_title(result, arm), [_map(result, arm, tasks)]) for arm in arms]
    return Figure("weights", "weights", "Weight of each task in each epoch.", variants, layout, narrow)


def task_map(tasks: list[str]) -> tuple[dict[str, object], dict[str, object]]:
    """Layout of a map of tasks by epochs, and what differs on a narrow page."""
    left = margin_for([shorten(t, 26) for t in tasks])
    marks = {"tickvals": list(range(len(tasks))), "ticktext": [for_plot(t, 26) for t in tasks]}
    layout = base(
        max(150, 34 * len(tasks) + 90),
        margin={"l": left, "r": 20, "t": 8, "b": 52},
        xaxis=axis(title=title("epoch"), showgrid=False),
        yaxis=axis(autorange="reversed", showgrid=False, **marks),
    )
    short = [shorten(t, 12) for t in tasks]
    narrow = {
        "height": max(150, 34 * len(tasks) + 90) + 80,
        "margin": {"l": margin_for(short), "r": 10, "b": 130},
        "yaxis": {"ticktext": [for_plot(t, 12) for t in tasks]},
    }
    return layout, narrow


def _map(result: StudyResult, arm: str, tasks: list[str]) -> Trace:
    runs = [r for r in result.runs if r.arm == arm and r.weights]
    length = max(len(line) for r in runs for line in r.weights.values())
    mean = [
        [estimate(r.weights[t][e] for r in runs if e < len(r.weights.get(t, []))).mean for e in range(length)]
        for t in tasks
    ]
    for e in range(length):
        average = estimate(row[e] for row in mean).mean
        for row in mean:
            weight = row[e]
            row[e] = weight / average if weight is not None and average else None
    return {
        "type": "heatmap",
        "z": mean,
        "x0": 1,
        "dx": 1,
        "colorscale": SEQUENTIAL,
        "colorbar": {
            "title": {"text": "weight", "font": {"size": FONT}},
            "tickfont": {"size": FONT},
            "thickness": 14,
            "outlinewidth": 0,
        },
        "hoverinfo": "text",
        "hovertext": [
            [f"{for_plot(t, 40)}, epoch {e + 1}: {number(w)} of the mean weight" for e, w in enumerate(row)]
            for t, row in zip(tasks, mean, strict=True)
        ],
    }
