"""One gradient step of double deep Q-learning."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...data import Transitions
from ...errors import BalanceError


class QNetwork(Protocol):
    """Observations of one task in, action values ``[B, actions]`` out."""

    def __call__(self, observations: Tensor, task: str) -> Tensor: ...


def targets(network: QNetwork, target: QNetwork, task: str, batch: Transitions, gamma: float) -> Tensor:
    """``r + gamma Q_target(s', argmax_a Q(s', a))`` for each transition ``[B]``; the second term is 0 behind an end.

    Source: van Hasselt, Guez, Silver, "Deep Reinforcement Learning with Double Q-learning", AAAI 2016, equation 4.
    """
    with torch.no_grad():
        best = network(batch.next_observations, task).argmax(1, keepdim=True)
        following = target(batch.next_observations, task).gather(1, best).squeeze(1)
    return batch.rewards + gamma * (1 - batch.ended) * following


def update(
    network: nn.Module,
    target: nn.Module,
    optimizer: torch.optim.Optimizer,
    task: str,
    batch: Transitions,
    *,
    gamma: float,
    clamp: float,
) -> float:
    """A step on Huber's loss of one task's batch, every entry of the gradient bounded by ``clamp``; the loss.

    Raises :class:`BalanceError`, naming the task, for a loss that is NaN or infinite; nothing is changed then.
    """
    wanted = targets(network, target, task, batch, gamma)
    chosen = network(batch.observations, task).gather(1, batch.actions.unsqueeze(1)).squeeze(1)
    loss = F.smooth_l1_loss(chosen, wanted)
    value = float(loss.detach())
    if not torch.isfinite(loss):
        raise BalanceError(f'the loss of task "{task}" is {value}: the action values diverged, lower learning_rate')
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_value_(network.parameters(), clamp)
    optimizer.step()
    return value
