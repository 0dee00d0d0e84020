"""Training under a schedule until a budget of task gradients, or of steps, is spent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from ...balance import Balancer
from ...schedule import Gradients, Schedule, Signal, SonGoku


class Problem(Protocol):
    """Tasks that give their gradients for shared parameters, and take a step."""

    names: list[str]

    def gradients(self, names: list[str]) -> Tensor:
        """One row a task, on fresh examples."""
        ...

    def step(self, names: list[str], direction: Tensor) -> None:
        """Move the shared parameters along the direction, and what these tasks have of their own."""
        ...


@dataclass(frozen=True)
class Budget:
    """How long to train: until so many task ``gradients`` are taken, or ``steps`` made."""

    gradients: int | None = None
    steps: int | None = None

    def allows(self, step: int, spent: int) -> bool:
        """Whether a step that brings the gradients taken to ``spent`` may be made."""
        return step < self.steps if self.steps is not None else spent <= (self.gradients or 0)

    def share(self, step: int, spent: int) -> float:
        """How much of it is used up."""
        return step / self.steps if self.steps is not None else spent / (self.gradients or 1)


@dataclass
class Trained:
    """What a run came to. ``finite``: it did not diverge."""

    steps: int = 0
    gradients: int = 0
    finite: bool = True
    watched: list[float] = field(default_factory=list)


def train(
    problem: Problem,
    schedule: Schedule,
    budget: Budget,
    *,
    balancer: Balancer | None = None,
    free_probes: bool = False,
    half_time: Callable[[], None] | None = None,
    watch: Callable[[], float | None] | None = None,
) -> Trained:
    """Train ``problem`` by ``schedule``.

    A gradient that the schedule asked for is used for the step too where its task is in it, and counts once.

    Args:
        balancer: of the rows within a step; ``None``: their sum.
        free_probes: do not count what the schedule only looks at (of a control that deals groups at random).
        half_time: called once, when half of the budget is spent.
        watch: called after each new graph of :class:`sharewise.schedule.SonGoku`; numbers go to ``watched``.
    """
    run, graphs = Trained(), 0
    while True:
        if half_time is not None and budget.share(run.steps, run.gradients) >= 0.5:
            half_time()
            half_time = None
        known = schedule.probes(run.steps)
        rows = None
        if known:
            rows = problem.gradients(known)
            run.finite = bool(rows.isfinite().all())
            if not run.finite:
                return run
            schedule.observe(run.steps, Signal(gradients=Gradients(tuple(known), rows=rows)))
        active = schedule.tasks(run.steps)
        spent = run.gradients + (len(active) if free_probes else len(known))
        if rows is None or not set(active) <= set(known):
            rows, known = problem.gradients(active), active
            spent += 0 if free_probes else len(active)
        if watch is not None and isinstance(schedule, SonGoku) and len(schedule.log) > graphs:
            graphs = len(schedule.log)
            seen = watch()
            run.watched += [] if seen is None else [seen]
        if not budget.allows(run.steps, spent):
            return run
        chosen = rows[[known.index(name) for name in active]]
        run.finite = bool(chosen.isfinite().all())
        if not run.finite:
            return run
        direction = chosen.sum(0) if balancer is None else balancer.aggregate(chosen, names=active)
        problem.step(active, direction)
        run.steps, run.gradients = run.steps + 1, spent
