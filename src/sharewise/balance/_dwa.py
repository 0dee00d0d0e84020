"""Dynamic weight averaging."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import OptionError
from ._balancer import LossBalancer
from ._epoch_means import EpochMeans
from ._positive import as_weights, positive


class DWA(LossBalancer):
    """More weight for tasks whose loss falls more slowly: ``w = m softmax(r / T)``, anew each epoch.

    ``r_k = mean loss of the last epoch / mean loss of the epoch before``, by task name; 1 until a task has had two
    epochs, so all weights are 1 in the first two. The weights sum to the number m of tasks in the step.

    Epochs end when :meth:`end_epoch` is called (:func:`sharewise.fit` does it). A task without a loss in an epoch
    keeps its ratio; when it comes back, it is compared with the last epoch it had.

    Source: Liu, Johns, Davison, "End-to-End Multi-Task Learning with Attention", CVPR 2019, equation 7 (``r`` is w
    there, the weight lambda).

    Args:
        temperature: ``T``, above 0; larger is more even.
        tasks: see :class:`Balancer`.

    Raises :class:`BalanceError` at the end of an epoch whose mean loss is not above zero, naming the task. Cost O(m),
    and the device is not waited for within an epoch.
    """

    def __init__(self, *, temperature: float = 2.0, tasks: Sequence[str] | None = None) -> None:
        super().__init__(tasks=tasks)
        if not (math.isfinite(temperature) and temperature > 0):
            raise OptionError(f"temperature must be a positive number, got {temperature}")
        self.temperature = float(temperature)
        self._epoch = EpochMeans(self.task_state)
        self.task_state.declare("mean", math.nan)
        self.task_state.declare("ratio", 1.0)

    def weights(self, losses: Tensor, *, names: Sequence[str] | None = None) -> Tensor:
        """``m softmax(r / T)``; the losses count for the mean of this epoch."""
        known = self.check_names(len(losses), names)
        self._epoch.add(known, losses)
        ratios = self.task_state.read("ratio", known)
        return as_weights(len(losses) * torch.softmax(ratios / self.temperature, 0), losses, known)

    def end_epoch(self) -> None:
        """New ratios for the tasks that had a loss in this epoch."""
        super().end_epoch()
        names, means = self._epoch.close()
        if not names:
            return
        means = positive(means, names, "DWA", "mean loss over the epoch")
        before = self.task_state.read("mean", names)
        ratios = torch.where(before.isnan(), self.task_state.read("ratio", names), means / before)
        self.task_state.write("ratio", names, ratios)
        self.task_state.write("mean", names, means)
