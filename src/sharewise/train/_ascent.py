"""What the loop does for optimizers that work with each task's gradient, or at two places."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from ..balance import Balance
from ..data import Batch
from ..errors import OptionError
from ..optim import GroupSAM, TaskOptimizer
from ._evaluate import observed_count
from ._random import random_state, set_random_state

if TYPE_CHECKING:
    from ._loop import Loop


def check_passes(optimizer: torch.optim.Optimizer) -> None:
    """Refuse an optimizer whose passes the loop cannot run."""
    if isinstance(optimizer, GroupSAM):
        raise OptionError("GroupSAM takes a pass a group, which fit does not: use SAM, or a loop of your own")


def wanted_rows(optimizer: torch.optim.Optimizer, group: Sequence[Batch], tasks: Sequence[str]) -> list[str]:
    """The tasks whose gradient rows the optimizer asks for in this step, of those with a label in its batches."""
    if not isinstance(optimizer, TaskOptimizer):
        return []
    return optimizer.rows([name for name in tasks if any(_labelled(batch, name) for batch in group)])


@contextmanager
def ascended(loop: Loop, group: Sequence[Batch]) -> Iterator[None]:
    """Within: where the optimizer wants the gradients that are balanced; elsewhere only for optimizers of two passes.

    For these, the first pass is one backward pass of the mean loss. The passes within draw the same random numbers
    and leave the model's buffers as the first one made them.
    """
    optimizer = loop.optimizer
    if not isinstance(optimizer, TaskOptimizer) or not optimizer.two_pass:
        yield
        return
    start = random_state(loop.fabric.device)
    for batch in group:
        found = loop.losses(batch.to(loop.fabric.device))
        torch.stack(list(found.values())).mean().div(len(group)).backward()
    if loop.reducer is not None:
        loop.reducer.gradients(loop.parameters())
    with optimizer.perturbed(loop.model):
        set_random_state(start, loop.fabric.device)
        yield


def take_step(optimizer: torch.optim.Optimizer, balance: Balance) -> None:
    """The optimizer's step; rows are let go of afterwards, for the next ones need their memory."""
    if not isinstance(optimizer, TaskOptimizer):
        optimizer.step()
        return
    optimizer.step(balance)
    for part in (balance, *balance.groups.values()):
        part.rows = None


def _labelled(batch: Batch, name: str) -> bool:
    return name in batch.targets and (name not in batch.observed or bool(observed_count(batch, name)))
