"""A whole step with an optimizer that takes gradients at two places."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..balance import Balance, Balancer, backward
from ..balance._shared import Parameters
from ._wrapper import TaskOptimizer


@dataclass
class Step:
    """What a step came to: the balance, and each task's loss (detached) before and after the ascent.

    ``before`` and ``after`` are the same where the optimizer takes one pass.
    """

    balance: Balance
    before: dict[str, Tensor]
    after: dict[str, Tensor]


def two_pass_step(
    model: nn.Module,
    losses: Callable[[], Mapping[str, Tensor]],
    optimizer: TaskOptimizer,
    balancer: Balancer,
    *,
    shared: Parameters | Mapping[str, Parameters] | None = None,
) -> Step:
    """Zero gradients, ascend along the mean loss, balance above, step: one step of :class:`SAM` or :class:`SAGE`.

    Args:
        model: whose buffers the second pass leaves alone.
        losses: computes the losses of one batch, each time it is called with the model where it is then.
        optimizer, balancer, shared: see there, and :func:`sharewise.backward`.

    Dropout draws the same masks in both passes (on the CPU; elsewhere new ones). Cost: two calls of ``losses`` and a
    backward pass more than ``backward``; one call and no more for an optimizer of one pass.
    """
    optimizer.zero_grad()
    before: dict[str, Tensor] = {}
    start = torch.get_rng_state()
    if optimizer.two_pass:
        first = losses()
        torch.stack(list(first.values())).mean().backward()
        before = {name: loss.detach() for name, loss in first.items()}
    with optimizer.perturbed(model):
        torch.set_rng_state(start)
        second = losses()
        balance = backward(second, balancer, shared=shared, rows=optimizer.rows(list(second)))
    optimizer.step(balance)
    after = {name: loss.detach() for name, loss in second.items()}
    return Step(balance, before or after, after)
