"""Every schedule, built for a few tasks, and steps that tell it something."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from sharewise.schedule import Gradients, Schedule, Signal, create

SIZES = (900, 90, 9, 300, 30, 3, 100, 10, 1)


def options(name: str, tasks: Sequence[str]) -> dict[str, Any]:
    """What a schedule needs that has no default, and short visits for the ones that wait."""
    sizes = dict(zip(tasks, SIZES, strict=False))
    half = list(tasks[: max(1, len(tasks) // 2)])
    return {
        "curriculum": {"stages": [(3, half), (None, list(tasks))]},
        "fixed_switch": {"n": 2},
        "plateau_switch": {"window": 1, "min_episodes": 1, "threshold": 0.5, "stretch": 2},
        "proportional": {"sizes": sizes},
        "son_goku": {"refresh": 4, "tau": 0.1, "shuffle": True},
        "sampled": {"proportions": {name: 1 / len(tasks) for name in tasks}},
        "square_root": {"sizes": sizes},
        "temperature": {"sizes": sizes},
    }.get(name, {})


def build(name: str, tasks: Sequence[str], **more: Any) -> Schedule:
    """A schedule by name, with what it needs."""
    return create(name, tasks=tasks, **options(name, tasks) | more)


def signal(step: int, active: Sequence[str]) -> Signal:
    """Losses, rewards and parameters that are a function of the step and the tasks in it."""
    generator = torch.Generator().manual_seed(step)
    losses = {name: torch.rand((), generator=generator) + 0.1 for name in active}
    weights = torch.randn(4, generator=generator).requires_grad_()
    return Signal(losses, {name: -float(loss) for name, loss in losses.items()}, [weights])


def walk(schedule: Schedule, first: int, last: int) -> list[list[str]]:
    """The tasks of the steps from ``first`` up to ``last``, each told to the schedule."""
    found = []
    for step in range(first, last):
        if wanted := schedule.probes(step):
            generator = torch.Generator().manual_seed(1000 + step)
            rows = [torch.randn(6, generator=generator) for _ in wanted]
            schedule.observe(step, Signal(gradients=Gradients(tuple(wanted), rows=rows)))
        found.append(schedule.tasks(step))
        schedule.observe(step, signal(step, found[-1]))
    return found
