"""What the runs of a set say: the chosen runs, paired differences over seeds, and cost."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sharewise.study._paired import Estimate, corrected_t_interval, holm, paired_effects, two_sided_p

from .runs import SINGLE

Record = Mapping[str, Any]
EQUAL = "equal"


@dataclass(frozen=True)
class Line:
    """One arm of a set. Changes are in percent, **positive is better** (the other convention is the negative).

    ``single``, ``equal``: delta_m against single-task networks and against equal weighting, or ``None`` for the arm
    itself. ``p``: of "no difference to equal", adjusted over the set's methods (Holm). ``worst``: the task with the
    smallest mean change against single-task, and that change. ``cost`` and ``memory``: CPU time per step and the peak
    of tensors in training, 1 for equal weighting.
    """

    arm: str
    single: Estimate | None
    equal: Estimate | None
    p: float | None
    worst: tuple[str, float] | None
    cost: float
    memory: float
    failed: int
    rates: tuple[float, ...]


@dataclass(frozen=True)
class SetVerdict:
    """All lines of a set, best first, and what was measured."""

    name: str
    seeds: tuple[int, ...]
    rows: tuple[int, int, int]
    tasks: tuple[str, ...]
    lines: tuple[Line, ...]
    incomplete: tuple[str, ...]

    def better(self, adjusted: bool) -> list[str]:
        """Methods better than equal weighting, the interval excluding 0 (or Holm's p below 0.05)."""
        return self._differ(1, adjusted)

    def worse(self, adjusted: bool) -> list[str]:
        """The same for worse."""
        return self._differ(-1, adjusted)

    def methods(self) -> list[Line]:
        """The lines that are compared with equal weighting: all but it and single-task."""
        return [line for line in self.lines if line.arm not in (EQUAL, SINGLE)]

    def _differ(self, sign: int, adjusted: bool) -> list[str]:
        found = []
        for line in self.methods():
            if line.equal is not None and line.equal.mean * sign > 0:
                excluded = line.equal.low > 0 or line.equal.high < 0
                if line.p is not None and line.p < 0.05 if adjusted else excluded:
                    found.append(line.arm)
        return found


def chosen(records: Sequence[Record]) -> Record | None:
    """The run with the best objective on validation rows among those that did not fail; ``None`` if all did."""
    fine = [r for r in records if "failed" not in r and r["objective"] is not None and math.isfinite(r["objective"])]
    return min(fine, key=lambda r: r["objective"], default=None)


def judge(records: Sequence[Record], name: str) -> SetVerdict:
    """Compare all arms of one set over the seeds that every arm has runs of."""
    mine = [r for r in records if r["set"] == name]
    names = sorted({r["arm"] for r in mine})
    tasks = tuple(dict.fromkeys(r["task"] for r in mine if r["arm"] == SINGLE))
    seeds = tuple(sorted({r["seed"] for r in mine if r["arm"] == EQUAL}))
    tested = {arm: _tests(mine, arm, tasks, seeds) for arm in names}
    whole = {arm: found for arm, found in tested.items() if len(found) == len(seeds) > 1}
    rows = mine[0]["rows"]
    ratio = rows[2] / rows[0]
    lines = [_line(mine, arm, whole, tasks, seeds, ratio) for arm in whole]
    lines = _adjusted(lines)
    lines.sort(key=lambda line: -(line.single.mean if line.single else 0.0))
    return SetVerdict(name, seeds, tuple(rows), tasks, tuple(lines), tuple(a for a in names if a not in whole))


def _tests(records: Sequence[Record], arm: str, tasks: Sequence[str], seeds: Sequence[int]) -> dict[int, np.ndarray]:
    """Seed -> test metric of each task, of the run (of each task's run) that validation chose."""
    found = {}
    for seed in seeds:
        here = [r for r in records if r["arm"] == arm and r["seed"] == seed]
        if arm == SINGLE:
            picked = [chosen([r for r in here if r["task"] == t]) for t in tasks]
        else:
            picked = [chosen(here)] * len(tasks)
        if all(p is not None for p in picked):
            found[seed] = np.array([p["test"][t] for p, t in zip(picked, tasks, strict=True) if p is not None])
    return found


def _line(
    records: Sequence[Record],
    arm: str,
    whole: Mapping[str, Mapping[int, np.ndarray]],
    tasks: Sequence[str],
    seeds: Sequence[int],
    ratio: float,
) -> Line:
    def effects(versus: str) -> np.ndarray | None:
        if arm == versus or versus not in whole:
            return None
        pairs = [(whole[arm][s], whole[versus][s]) for s in seeds]
        return 100 * np.array([paired_effects(a, b) for a, b in pairs])

    alone, plain = effects(SINGLE), effects(EQUAL)
    own = [r for r in records if r["arm"] == arm]
    picked = [chosen([r for r in own if r["seed"] == s]) for s in seeds]
    equal = None if plain is None else corrected_t_interval(plain.mean(1), ratio)
    return Line(
        arm=arm,
        single=None if alone is None else corrected_t_interval(alone.mean(1), ratio),
        equal=equal,
        p=None if equal is None else two_sided_p(equal.mean, equal.se, equal.df),
        worst=None if alone is None else min(zip(tasks, alone.mean(0).tolist(), strict=True), key=lambda x: x[1]),
        cost=_cost(records, arm),
        memory=_memory(records, arm),
        failed=sum("failed" in r for r in own),
        rates=tuple(sorted({p["rate"] for p in picked if p is not None})),
    )


def _cost(records: Sequence[Record], arm: str) -> float:
    """Median over seeds of CPU seconds a step over those of equal weighting; for single-task, of all its networks."""

    def per_step(which: str, seed: int) -> float:
        here = [r for r in records if r["arm"] == which and r["seed"] == seed and r["steps"]]
        by_task: dict[str, list[float]] = {}
        for r in here:
            by_task.setdefault(r["task"], []).append(r["cpu"] / r["steps"])
        return sum(statistics.median(values) for values in by_task.values())

    seeds = sorted({r["seed"] for r in records if r["arm"] == arm})
    ratios = [per_step(arm, s) / equal for s in seeds if (equal := per_step(EQUAL, s))]
    return statistics.median(ratios) if ratios else math.nan


def _memory(records: Sequence[Record], arm: str) -> float:
    """The peak over that of equal weighting, where measured; for single-task, of its largest network."""

    def most(which: str, seed: int) -> float | None:
        found = [r["peak_mb"] for r in records if r["arm"] == which and r["seed"] == seed and "peak_mb" in r]
        return max(found, default=None)

    pairs = [(most(arm, s), most(EQUAL, s)) for s in sorted({r["seed"] for r in records})]
    ratios = [own / equal for own, equal in pairs if own is not None and equal is not None]
    return statistics.median(ratios) if ratios else math.nan


def compact(records: Sequence[Record]) -> list[dict[str, Any]]:
    """The fewest records that :func:`judge` says the same about: of each arm, seed and task the chosen run.

    It carries the median CPU time a step and the peak of memory of all that were tried; failed runs stay.
    """
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for r in records:
        groups.setdefault((r["set"], r["arm"], r["seed"], r["task"]), []).append(r)
    kept = []
    for tried in groups.values():
        best = chosen(tried)
        if best is not None:
            timed = [r for r in tried if r["steps"]]
            more: dict[str, Any] = {"steps": 1, "cpu": statistics.median(r["cpu"] / r["steps"] for r in timed)}
            if peaks := [r["peak_mb"] for r in tried if "peak_mb" in r]:
                more["peak_mb"] = max(peaks)
            kept.append(_short({**best, **more}))
        kept += [_short(r) for r in tried if "failed" in r]
    return kept


_FIELDS = ("set", "arm", "task", "seed", "rate", "rows", "objective", "test", "steps", "cpu", "peak_mb", "failed")


def _short(record: Record) -> dict[str, Any]:
    def rounded(value: Any) -> Any:
        if isinstance(value, float):
            return float(f"{value:.7g}")
        return {k: rounded(v) for k, v in value.items()} if isinstance(value, dict) else value

    return {name: rounded(record[name]) for name in _FIELDS if name in record}


def _adjusted(lines: Sequence[Line]) -> list[Line]:
    """The lines with Holm's p over the methods; single-task is a reference, not a method."""
    judged = [line for line in lines if line.p is not None and line.arm != SINGLE]
    p = dict(zip((line.arm for line in judged), holm([line.p or 0.0 for line in judged]).tolist(), strict=True))
    return [Line(**{**vars(line), "p": p.get(line.arm)}) for line in lines]
