"""From the folder of trials to comparisons with intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..data import TableData
from ..tasks import Task
from ._models import Model, models_of
from ._paired import Paired, corrected_t_interval, crossed_bootstrap, holm, noninferiority_p, two_sided_p
from ._plan import Plan
from ._run import seed_groups
from ._store import Store, Trial, chosen
from .results import Comparison, Cost, DeltaM, Outcome, Run

LEVEL = 0.05


class Findings:
    """Reads a finished study's folder and answers by arm, seed and task.

    Args:
        clusters: for a split by groups, the group number of each table row: rows of a group are not independent.
    """

    def __init__(self, plan: Plan, store: Store, tasks: Sequence[Task], clusters: np.ndarray | None = None) -> None:
        self.plan, self.store, self.tasks, self.clusters = plan, store, list(tasks), clusters
        self._trials: dict[tuple[int, str], list[Trial]] = {}

    def models(self, arm: str, seed: int) -> list[Model]:
        """The models an arm needs under a seed."""
        total = len(self.tasks)
        groups = seed_groups(self.store, seed, total) if arm == "groups" else ()
        return models_of(arm, total, groups)

    def trials(self, seed: int, model: str) -> list[Trial]:
        """All trials of a model."""
        if (seed, model) not in self._trials:
            self._trials[seed, model] = self.store.trials(seed, model)
        return self._trials[seed, model]

    def run(self, arm: str, seed: int) -> Run:
        """One arm under one seed: the chosen trial of each of its models, put together."""
        metrics: dict[str, dict[str, float | None]] = {}
        valid: dict[str, float] = {}
        settings: dict[str, dict[str, float | int | str]] = {}
        curves: dict[str, list[float]] = {}
        weights: dict[str, list[float]] = {}
        projected: dict[str, dict[str, float]] = {}
        trained: dict[str, list[float]] = {}
        cost = Cost(fit_seconds=0, tuning_seconds=0, predict_seconds=0, peak_mb=0, parameters=0, models=0)
        for model in self.models(arm, seed):
            trials = self.trials(seed, model.key)
            best = trials[chosen(trials)]
            names = [self.tasks[i].name for i in model.tasks]
            settings[", ".join(names) if len(names) < len(self.tasks) else "all"] = best.settings
            metrics |= best.test
            for i in model.tasks:
                main = best.valid[self.tasks[i].name][self.tasks[i].main_metric]
                valid[self.tasks[i].name] = float("nan") if main is None else main
            curves |= best.curves
            weights |= best.weights
            projected |= best.projected
            trained |= best.trained
            cost.fit_seconds += best.fit_seconds
            cost.tuning_seconds += sum(t.fit_seconds for t in trials)
            cost.predict_seconds += best.predict_seconds
            cost.peak_mb = max(cost.peak_mb, best.peak_mb)
            cost.parameters += best.parameters
            cost.models += 1
        return Run(arm=arm, seed=seed, metrics=metrics, valid=valid, settings=settings, curves=curves,
                   weights=weights, projected=projected, trained=trained, cost=cost)  # fmt: skip

    def objective(self, arm: str) -> float:
        """Mean over seeds and tasks of the relative improvement over the constant prediction, on validation."""
        total = 0.0
        for seed in self.plan.seeds:
            for model in self.models(arm, seed):
                trials = self.trials(seed, model.key)
                total += trials[chosen(trials)].objective * len(model.tasks)
        return total / len(self.tasks) / len(self.plan.seeds)

    def baseline(self, task: int) -> float:
        """Main metric on test of the constant prediction, mean over seeds."""
        name = self.tasks[task].name
        return float(np.mean([self.trials(s, f"separate-{task}")[0].baseline[name] for s in self.plan.seeds]))

    def values(self, arm: str, seed: int, task: int) -> tuple[np.ndarray, np.ndarray]:
        """Table rows and per-example metric of a task on test."""
        model = next(m for m in self.models(arm, seed) if task in m.tasks)
        held = self.store.values(seed, model.key, chosen(self.trials(seed, model.key)))
        return held[f"rows/{task}"], held[f"values/{task}"]

    def compare(self, arm: str, versus: str) -> list[Comparison]:
        """An arm against another on every task; empty with fewer than two seeds."""
        if len(self.plan.seeds) < 2:
            return []
        found = []
        for number, task in enumerate(self.tasks):
            pairs = []
            for seed in self.plan.seeds:
                rows, a = self.values(arm, seed, number)
                _, b = self.values(versus, seed, number)
                pairs.append(Paired(rows, a, b))
            better = "higher" if task.higher_is_better[task.main_metric] else "lower"
            found.append(crossed_bootstrap(pairs, root=task.root, better=better, clusters=self.clusters))  # type: ignore[arg-type]
        raw = [two_sided_p(e.mean, e.se, e.df) for e in found]
        adjusted = holm(raw)
        result = []
        for task, e, p, q in zip(self.tasks, found, raw, adjusted, strict=True):
            within = noninferiority_p(e.mean, e.se, self.plan.margin, e.df)
            result.append(
                Comparison(
                    arm=arm,
                    versus=versus,
                    task=task.name,
                    effect=100 * e.mean,
                    low=100 * e.low,
                    high=100 * e.high,
                    p=p,
                    p_holm=float(q),
                    p_margin=within,
                    outcome=outcome(e.mean, float(q), within),
                )
            )
        return result

    def delta_m(self, arm: str, versus: str, data: TableData) -> DeltaM | None:
        """Mean relative change over tasks, with an interval over seeds that allows for overlapping training sets."""
        if len(self.plan.seeds) < 2:
            return None
        each = []
        for seed in self.plan.seeds:
            ours, theirs = self.run(arm, seed), self.run(versus, seed)
            changes = []
            for task in self.tasks:
                a, b = ours.metrics[task.name][task.main_metric], theirs.metrics[task.name][task.main_metric]
                if a is None or b is None or b == 0:
                    continue
                sign = 1 if task.higher_is_better[task.main_metric] else -1
                changes.append(sign * (a - b) / abs(b))
            each.append(100 * float(np.mean(changes)))
        ratio = len(data.row_ids.test) / len(data.row_ids.train)
        e = corrected_t_interval(each, ratio)
        return DeltaM(arm=arm, versus=versus, higher_is_better=e.mean, lower_is_better=-e.mean, low=e.low, high=e.high)


def outcome(effect: float, p_holm: float, p_margin: float) -> Outcome:
    """``better`` (shown), else ``as good`` (shown within the margin), else ``worse`` (shown), else ``unclear``."""
    if p_holm < LEVEL and effect > 0:
        return "better"
    if p_margin < LEVEL:
        return "as good"
    return "worse" if p_holm < LEVEL and effect < 0 else "unclear"
