"""Double deep Q-learning: the target by hand, the bound on the gradient, what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sharewise.data import Transitions
from sharewise.errors import BalanceError
from sharewise.train.deepq._update import targets, update


class Table(nn.Module):
    """Action values that are looked up by the observation."""

    def __init__(self, values) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.tensor(values))

    def forward(self, observations, task):
        return self.values[observations[:, 0].long()]


BATCH = Transitions(
    torch.tensor([[0.0], [0.0]]),
    torch.tensor([1, 0]),
    torch.tensor([0.5, 2.0]),
    torch.tensor([[1.0], [1.0]]),
    torch.tensor([0.0, 1.0]),
)


def test_the_target_by_hand() -> None:
    network, target = Table([[0.0, 0.0], [1.0, 3.0]]), Table([[0.0, 0.0], [7.0, 4.0]])
    # The network's best action is 1, worth 4 to the target network: 0.5 + 0.9 * 4; nothing follows an end.
    assert targets(network, target, "a", BATCH, 0.9).tolist() == pytest.approx([4.1, 2.0])


def test_a_step_follows_hubers_gradient_within_its_bound() -> None:
    network, target = Table([[0.0, 0.0], [1.0, 3.0]]), Table([[0.0, 0.0], [7.0, 4.0]])
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    # Errors -4.1 and -2: Huber's loss is 3.6 and 1.5, its slope -1 each, halved by the mean.
    assert update(network, target, optimizer, "a", BATCH, gamma=0.9, clamp=1.0) == pytest.approx(2.55)
    torch.testing.assert_close(network.values.data[0], torch.tensor([0.5, 0.5]))
    update(network, target, optimizer, "a", BATCH, gamma=0.9, clamp=0.125)
    torch.testing.assert_close(network.values.data[0], torch.tensor([0.625, 0.625]))
    assert network.values.data[1].tolist() == [1.0, 3.0]  # targets are constants


def test_a_loss_that_is_no_number_names_its_task_and_changes_nothing() -> None:
    network, target = Table([[0.0, 0.0], [1.0, 3.0]]), Table([[0.0, 0.0], [float("inf"), float("inf")]])
    before = network.values.detach().clone()
    with pytest.raises(BalanceError, match='the loss of task "short" is nan'):
        update(network, target, torch.optim.SGD(network.parameters(), lr=1.0), "short", BATCH, gamma=0.9, clamp=1.0)
    assert torch.equal(network.values, before)
