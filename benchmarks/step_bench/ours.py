"""A full training step with ``sw.backward``."""

from __future__ import annotations

from collections.abc import Sequence

import torch

import sharewise as sw
from backward_modes import Problem
from sharewise.balance import Balancer, create

from .worker import Make, Step

ELSEWHERE = {"aim", "gcond", "owo_fmtl", "rotograd", "scale_invariant"}
"""Methods that neither peer has."""


def balancer_for(name: str, tasks: Sequence[str]) -> Balancer:
    """The method with its defaults; ``constant`` has weights of 1."""
    return create(name, tasks=tasks, **({"weights": dict.fromkeys(tasks, 1.0)} if name == "constant" else {}))


def ours(name: str, mode: str) -> Make:
    """Forward pass, losses, balanced ``.grad``; FAMO's second look and three batches where the method wants them."""

    def make(problem: Problem) -> Step:
        balancer = balancer_for(name, [str(i) for i in range(len(problem.heads))])

        def step() -> None:
            problem.clear()
            if mode == "representation":
                z = problem.trunk(problem.x)
                sw.backward(problem.losses(z), balancer, representation=z)
                return
            losses = [problem.losses() for _ in range(balancer.samples)]
            where = {} if balancer.needs == "losses" else {"shared": problem.trunk, "mode": mode}
            sw.backward(losses if len(losses) > 1 else losses[0], balancer, **where)
            if balancer.looks_again:
                with torch.no_grad():
                    balancer.look_again(problem.losses())

        return step

    return make
