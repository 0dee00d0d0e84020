"""Means over seeds with their intervals, straight from the runs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from ..results import StudyResult


@dataclass(frozen=True)
class Estimate:
    """A mean over ``count`` of ``of`` seeds and the half width of its 95 % interval."""

    mean: float | None
    half: float | None
    count: int
    of: int


def estimate(values: Iterable[float | None]) -> Estimate:
    """Mean and Student-t interval of the values that are finite.

    The half width is ``t(0.975, n - 1) * s / sqrt(n)``; one value has no interval, none has no mean.
    """
    every = list(values)
    seen = [v for v in every if v is not None and math.isfinite(v)]
    n = len(seen)
    if n == 0:
        return Estimate(None, None, 0, len(every))
    mean = math.fsum(seen) / n
    if n == 1:
        return Estimate(mean, None, 1, len(every))
    from scipy.special import stdtrit

    spread = math.sqrt(math.fsum((v - mean) ** 2 for v in seen) / (n - 1))
    return Estimate(mean, float(stdtrit(n - 1, 0.975)) * spread / math.sqrt(n), n, len(every))


def metric_values(result: StudyResult, arm: str, task: str, metric: str) -> list[float | None]:
    """One value a seed, ``None`` where the run has none."""
    return [run.metrics.get(task, {}).get(metric) for run in result.runs if run.arm == arm]


def cost_mean(result: StudyResult, arm: str, field: str) -> float | None:
    """Mean over seeds of one field of :class:`~sharewise.study.results.Cost`."""
    return estimate(getattr(run.cost, field) for run in result.runs if run.arm == arm).mean
