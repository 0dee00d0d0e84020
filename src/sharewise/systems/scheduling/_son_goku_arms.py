"""The arms of ``son-goku``: one budget and one search of step sizes for all."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ...balance import Balancer, create
from ...schedule import AllTasks, Gradients, Schedule, Signal, SonGoku
from .._registry import Arm, Scale
from ._budget import Budget, train
from ._digits import DigitTasks
from ._groups import NOISE, GroupedTasks, edge_accuracy

NEVER = 10**9


@dataclass(frozen=True)
class Sizes:
    """``gradients``: budget of the simulator. ``rates``: step sizes tried by every arm, for SGD and for Adam."""

    gradients: int = 1800
    batch: int = 128
    rates: tuple[float, ...] = (0.025, 0.05, 0.1, 0.2)
    refresh: int = 16
    tau: float = 0.15
    probes: int = 20
    digit_gradients: int = 600
    digit_rates: tuple[float, ...] = (3e-3, 1e-2)
    digit_tau: float = 0.05


SIZES: Mapping[Scale, Sizes] = {
    "smoke": Sizes(gradients=270, rates=(0.05,), probes=6, digit_gradients=60, digit_rates=(3e-3,)),
    "default": Sizes(),
    "paper": Sizes(gradients=18_000, digit_gradients=15_000, digit_rates=(3e-4, 1e-3, 3e-3, 1e-2)),
}


@dataclass(frozen=True)
class Plan:
    """An arm: joint training or SON-GOKU with some options, and a balancer within the group."""

    colours: bool = True
    balancer: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    free_probes: bool = False
    more: bool = False
    """Whether the arm is also run for an equal number of steps, and through a change."""

    def schedule(self, names: list[str], sizes: Sizes, tau: float, seed: int) -> Schedule:
        """The arm's schedule; the tasks' gradients of every step count, as in the paper, where nothing else is said."""
        if not self.colours:
            return AllTasks(names)
        usual = {"refresh": sizes.refresh, "tau": tau, "tau_start": tau, "follow": True, "seed": seed}
        return SonGoku(names, **usual | dict(self.options))

    def balance(self) -> Balancer | None:
        """A new balancer for the group, or ``None`` for the sum."""
        return None if self.balancer is None else create(self.balancer)


PLANS = {
    "joint": Plan(colours=False, more=True),
    "pcgrad": Plan(colours=False, balancer="pcgrad"),
    "random_groups": Plan(options={"shuffle": True}, free_probes=True, more=True),
    "son_goku": Plan(more=True),
    "son_goku_pcgrad": Plan(balancer="pcgrad"),
    "no_memory": Plan(options={"beta": 0.0, "follow": False}),
    "probes_only": Plan(options={"follow": False}),
    "static": Plan(options={"refresh": NEVER, "follow": False}, more=True),
    "signed": Plan(options={"rule": "signed"}),
    "knn": Plan(options={"rule": "knn", "neighbours": 4}),
    "quantile": Plan(options={"rule": "quantile", "density": 0.2}),
}


def arms(scale: Scale) -> dict[str, Arm]:
    """Every plan as an arm."""
    return {name: partial(run, plan, SIZES[scale]) for name, plan in PLANS.items()}


def run(plan: Plan, sizes: Sizes, seed: int) -> dict[str, float]:
    """All metrics of an arm under one seed.

    ``error`` and ``digits_error`` are at an equal number of task gradients, ``step_error`` at an equal number of
    steps, ``changed_error`` with a change of relations and target at half time; each at the step size that was best on
    validation rows. ``edges``: share of pairs told rightly, mean over the graphs while the error is above the noise.
    """
    found = {}
    error, edges = _simulated(plan, sizes, seed, Budget(gradients=sizes.gradients))
    found["error"] = error
    if plan.colours:
        found["edges"] = edges
        found["noisy_edges"] = noisy_edges(plan, sizes, seed)
    if plan.more:
        found["step_error"] = _simulated(plan, sizes, seed, Budget(steps=sizes.gradients // 9))[0]
        found["changed_error"] = _simulated(plan, sizes, seed, Budget(gradients=sizes.gradients), change=True)[0]
    return found | _digits(plan, sizes, seed)


def _simulated(plan: Plan, sizes: Sizes, seed: int, budget: Budget, change: bool = False) -> tuple[float, float]:
    """Excess error and edge accuracy at the step size that is best on validation rows."""
    tried = []
    for rate in sizes.rates:
        problem = GroupedTasks(seed, batch=sizes.batch, rate=rate)
        schedule = plan.schedule(problem.names, sizes, sizes.tau, seed)
        done = train(
            problem,
            schedule,
            budget,
            balancer=plan.balance(),
            free_probes=plan.free_probes,
            half_time=problem.change if change else None,
            watch=_watcher(problem, schedule),
        )
        valid = problem.validation() if done.finite else math.inf
        edges = sum(done.watched) / len(done.watched) if done.watched else 0.0
        tried.append((valid if math.isfinite(valid) else math.inf, problem.excess(), edges))
    return min(tried)[1:]


def _watcher(problem: GroupedTasks, schedule: Schedule) -> Callable[[], float | None]:
    def watch() -> float | None:
        assert isinstance(schedule, SonGoku)
        large = problem.excess() > NOISE**2
        return edge_accuracy(schedule.edges, problem.true_edges()) if large else None

    return watch


def noisy_edges(plan: Plan, sizes: Sizes, seed: int) -> float:
    """Edge accuracy after some probes of 16 examples a task, at the weights training starts from."""
    problem = GroupedTasks(seed, batch=16, rate=0.0)
    schedule = plan.schedule(problem.names, sizes, sizes.tau, seed)
    assert isinstance(schedule, SonGoku)
    for probe in range(sizes.probes):
        step = probe * schedule.refresh
        rows = problem.gradients(problem.names)
        schedule.observe(step, Signal(gradients=Gradients(tuple(problem.names), rows=rows)))
    return edge_accuracy(schedule.edges, problem.true_edges())


def _digits(plan: Plan, sizes: Sizes, seed: int) -> dict[str, float]:
    """Test error of the digits at the step size that is best on validation rows."""
    tried = []
    for rate in sizes.digit_rates:
        problem = DigitTasks(seed, batch=sizes.batch, rate=rate)
        schedule = plan.schedule(problem.names, sizes, sizes.digit_tau, seed)
        done = train(
            problem,
            schedule,
            Budget(gradients=sizes.digit_gradients),
            balancer=plan.balance(),
            free_probes=plan.free_probes,
        )
        colours = 1.0
        if isinstance(schedule, SonGoku):
            colours = sum(entry.colours for entry in schedule.log) / len(schedule.log)
        tried.append((problem.error("valid"), rate, problem.error("test"), colours, done.steps))
    _, _, error, colours, steps = min(tried)
    return {"digits_error": error, "digits_colours": colours, "digits_steps": float(steps)}
