"""Smooth Tchebycheff scalarisation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import OptionError
from ._balancer import LossBalancer
from ._epoch_means import EpochMeans
from ._positive import as_weights, positive


class STCH(LossBalancer):
    """A smooth maximum of how far each loss is from where warm-up left it: ``m mu log sum_k exp(y_k / mu)``.

    ``y_k = log(L_k / nadir_k)``, where ``nadir_k`` is the task's mean loss over the last warm-up epoch: weights
    ``m softmax(y / mu)_k / L_k``. Small ``mu`` looks at the worst task alone; large ``mu`` comes to
    :class:`ScaleInvariant`, which is also what the warm-up epochs use.

    Epochs end when :meth:`end_epoch` is called (:func:`sharewise.fit` does it). A task without a nadir, for it had no
    loss in the last warm-up epoch, counts as ``y_k = 0`` until the end of the first epoch it is seen in.

    Source: Lin et al., "Smooth Tchebycheff Scalarization for Multi-Objective Optimization", ICML 2024,
    with the warm-up, the logarithms and the factor m of the authors' code. Different here: the nadir is of the last of
    ``warmup`` epochs; there it is of one further epoch.

    Args:
        mu: smoothness, above 0.
        warmup: epochs before the nadirs are fixed, at least 1.
        tasks: see :class:`Balancer`.

    Raises :class:`BalanceError` for a loss that is not above zero, naming the task. Cost O(m); waits for the device.
    """

    def __init__(self, *, mu: float = 1.0, warmup: int = 4, tasks: Sequence[str] | None = None) -> None:
        super().__init__(tasks=tasks)
        if not (math.isfinite(mu) and mu > 0):
            raise OptionError(f"mu must be a positive number, got {mu}")
        if not isinstance(warmup, int) or warmup < 1:
            raise OptionError(f"warmup must be a whole number of at least 1 epoch, got {warmup!r}")
        self.mu, self.warmup, self.epochs = float(mu), warmup, 0
        self._epoch = EpochMeans(self.task_state)
        self.task_state.declare("nadir", math.nan)

    def weights(self, losses: Tensor, *, names: Sequence[str] | None = None) -> Tensor:
        """``1 / L_k`` in the warm-up, then ``m softmax(y / mu)_k / L_k``; the losses count for this epoch's mean."""
        known = self.check_names(len(losses), names)
        values = positive(losses, known, "STCH")
        self._epoch.add(known, losses)
        if self.epochs < self.warmup:
            return as_weights(1 / values, losses, known)
        nadirs = self.task_state.read("nadir", known).to(values)
        away = torch.where(nadirs.isnan(), 0.0, (values / nadirs).log())
        return as_weights(len(values) * torch.softmax(away / self.mu, 0) / values, losses, known)

    def end_epoch(self) -> None:
        """At the end of the warm-up, and later for tasks that have none, the epoch's means become nadirs."""
        super().end_epoch()
        self.epochs += 1
        names, means = self._epoch.close()
        if names and self.epochs >= self.warmup:
            nadirs = self.task_state.read("nadir", names)
            self.task_state.write("nadir", names, torch.where(nadirs.isnan(), means, nadirs))

    def _own_state(self) -> dict[str, Tensor]:
        return super()._own_state() | {"epochs": torch.tensor(self.epochs)}

    def _take(self, own: dict[str, Tensor]) -> None:
        super()._take(own)
        if "epochs" in own:
            self.epochs = int(own["epochs"])
