"""One method of merging, tuned on validation data: what it tries, and what it chose."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from ...merge import merge_states
from ._bed import Bed, State

BUDGET = 48
"""Settings every method may try on validation data."""
Reach = tuple[float, float]
"""Between which the size of a merged task vector is searched."""
REACH: Reach = (0.1, 8.0)

States = dict[str, Mapping[str, Tensor]]
"""Parameters to use for each task."""


@dataclass(frozen=True)
class Way:
    """How one arm merges.

    Attributes:
        method: of ``sw.merge``.
        options: parameters tried one by one.
        sized: whether the size of the merged task vector is searched; where the method says it, it is not.
        own: one output a task: the task must be known when the model is used.
        statistics: ``gram`` or ``fisher``, if the method takes any.
    """

    method: str
    options: tuple[Mapping[str, Any], ...] = field(default=({},))
    sized: bool = True
    own: bool = False
    statistics: str = ""


@dataclass(frozen=True)
class Chosen:
    """A setting, its score on validation data, and the parameters it gives for each task."""

    setting: dict[str, float]
    validation: float
    states: States


def scaled(base: Mapping[str, Tensor], state: Mapping[str, Tensor], size: float) -> State:
    """``base + size (state - base)``."""
    return {name: base[name] + size * (value - base[name]) for name, value in state.items()}


def sizes(options: int, budget: int = BUDGET, reach: Reach = REACH) -> list[float]:
    """The sizes tried with each of so many options: evenly on a logarithmic scale."""
    return [float(x) for x in np.geomspace(*reach, max(1, budget // options))]


def mean(accuracies: Mapping[str, float]) -> float:
    """Over tasks."""
    return float(np.mean(list(accuracies.values())))


def merged(bed: Bed, way: Way, options: Mapping[str, Any], statistics: Mapping[str, Any] | None) -> States:
    """The method's output for every task, at size 1."""
    arguments: dict[str, Any] = {"statistics": statistics, "threads": 1, **options}
    if way.own:
        return {t: merge_states(way.method, bed.experts, bed.base, task=t, **arguments) for t in bed.tasks}
    state = merge_states(way.method, bed.experts, bed.base, **arguments)
    return bed.for_all(state)


def candidates(
    bed: Bed, way: Way, statistics: Mapping[str, Any] | None = None, budget: int = BUDGET, reach: Reach = REACH
) -> Iterator[tuple[dict[str, float], States]]:
    """Every setting within the budget and what it gives."""
    varied = [name for name in way.options[0] if len({options[name] for options in way.options}) > 1]
    for options in way.options:
        states = merged(bed, way, options, statistics)
        setting = {name: float(options[name]) for name in varied}
        if not way.sized:
            yield setting, states
            continue
        for size in sizes(len(way.options), budget, reach):
            made = {id(state): scaled(bed.base, state, size) for state in states.values()}  # most are the same object
            yield setting | {"size": size}, {task: made[id(state)] for task, state in states.items()}


def choose(bed: Bed, tried: Iterator[tuple[dict[str, float], States]], count: int | None = None) -> Chosen:
    """The setting with the highest mean accuracy on (the first ``count``) validation data; the first of equals."""
    best: Chosen | None = None
    for setting, states in tried:
        score = mean(bed.accuracies(states, "validation", count))
        if best is None or score > best.validation:
            best = Chosen(setting, score, states)
    assert best is not None
    return best


def report(bed: Bed, accuracies: Mapping[str, float], chosen: Chosen | None = None) -> dict[str, float]:
    """Mean accuracy, in shares of the experts', the worst task's loss against its expert, and what was chosen."""
    experts = bed.best
    found = {
        "accuracy": mean(accuracies),
        "normalised": float(np.mean([accuracies[t] / experts[t] for t in experts])),
        "worst_drop": max(experts[t] - accuracies[t] for t in experts),
    }
    if chosen is not None:
        found |= {"validation": chosen.validation, **chosen.setting}
    return found


Predict = Callable[[str, Tensor], Tensor]
"""A task and inputs -> logits."""


def judged(bed: Bed, predict: Predict) -> dict[str, float]:
    """:func:`report` of something that is not a state dict."""
    return report(bed, {t: bed.accuracy(t, lambda x, t=t: predict(t, x), "test") for t in bed.tasks})  # type: ignore[misc]
