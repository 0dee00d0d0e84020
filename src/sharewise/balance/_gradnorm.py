"""GradNorm: weights learned so that tasks train at similar rates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..errors import BalanceError, OptionError, nearest
from ._adam import adam_step
from ._balancer import GramBalancer
from ._epoch_means import EpochMeans

_INITIAL = ("first", "epoch")
_SMALLEST = 1e-3  # a weight after its step and before renormalising; the paper does not say how to keep it positive


class GradNorm(GramBalancer):
    """Learns weights that bring each gradient's norm to the mean one, more for tasks that train slowly.

    With ``G_k = w_k |g_k|``, their mean ``G`` and the relative inverse training rates ``r_k``, which are
    ``L_k / L_k(0)`` over its mean, the weights take one step down ``sum_k |G_k - G r_k^alpha|``, ``G`` and ``r`` held
    constant, and are brought back to a sum of m. A decision uses the weights as they were before this step.

    Source: Chen, Badrinarayanan, Lee, Rabinovich, "GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep
    Multitask Networks", ICML 2018, algorithm 1. What differs:

    - ``|g_k|`` is the norm of whatever rows are taken; the paper takes those of the last shared layer. With
      ``representation=z`` they are the gradients of the last shared activation, at the cost of the heads alone.
    - Heads are trained by their own loss, unweighted, as with every method on the Gram matrix.
    - The loss of the weights is divided by ``G``, so that neither its learning rate nor Adam's memory depends on the
      scale of the losses; a weight is kept at 0.001 at least.

    Args:
        alpha: strength of the pull to equal training rates, >= 0: 0 makes norms equal, 1.5 suits tasks that differ
            much, 0.1 similar ones.
        lr: of the weights.
        optimizer: ``"adam"`` or ``"sgd"``.
        initial: ``L_k(0)``: the ``"first"`` loss a task is seen with; its mean over the first ``"epoch"``, until whose
            end the task's weight rests; or a number for each task by name (log of the number of classes for cross
            entropy). The first loss is cheap and noisy.
        tasks: see :class:`Balancer`.

    State by task name: weight, Adam's moments and count, initial loss or sums of the epoch. Raises
    :class:`OptionError` for options out of range, :class:`BalanceError` for a negative loss or a task without initial
    loss, naming the task.
    """

    def __init__(
        self,
        *,
        alpha: float = 1.5,
        lr: float = 0.025,
        optimizer: str = "adam",
        initial: str | Mapping[str, float] = "first",
        tasks: Sequence[str] | None = None,
    ) -> None:
        super().__init__(tasks=tasks)
        for option, value in (("alpha", alpha), ("lr", lr)):
            if not (math.isfinite(value) and value >= 0):
                raise OptionError(f"{option} must be a number >= 0, got {value}")
        for option, chosen, known in (("optimizer", optimizer, ("adam", "sgd")), ("initial", initial, _INITIAL)):
            if isinstance(chosen, str) and chosen not in known:
                raise OptionError(f'{option} "{chosen}" is not known; {nearest(chosen, known)}')
        self.alpha, self.lr, self.optimizer = float(alpha), float(lr), optimizer
        self.initial = initial if isinstance(initial, str) else {name: float(v) for name, v in initial.items()}
        for name, value in {} if isinstance(self.initial, str) else self.initial.items():
            if not (math.isfinite(value) and value > 0):
                raise OptionError(f'the initial loss of task "{name}" must be a positive number, got {value}')
        self.task_state.declare("weight", torch.tensor([1.0, 0.0, 0.0, 0.0]))  # and Adam's moments and count
        self.task_state.declare("initial", math.nan)
        if self.initial == "epoch":
            self.means = EpochMeans(self.task_state)

    def weights(self, gram: Tensor, losses: Tensor | None = None, *, names: Sequence[str] | None = None) -> Tensor:
        """Weights ``[m]`` (float64), positive, of sum m. Cost O(m); waits for the device."""
        known = self.check_names(len(gram), names)
        held = self.task_state.read("weight", known)[:, 0].to(gram.device)
        given = torch.ones_like(held) if losses is None else losses.detach().to(held)
        first = self._initial(known, given)
        ready = (first.isfinite() & given.isfinite() & gram.diagonal().isfinite()).tolist()
        keep = [i for i, usable in enumerate(ready) if usable]
        if len(keep) > 1:
            self._learn([known[i] for i in keep], gram.diagonal()[keep].double().sqrt(), (given / first)[keep])
        return held * (len(held) / held.sum())

    def end_epoch(self) -> None:
        """With ``initial="epoch"``: take the means of the epoch for the tasks that have no initial loss yet."""
        super().end_epoch()
        if self.initial == "epoch":
            names, means = self.means.close()
            if names:
                first = self.task_state.read("initial", names)
                self.task_state.write("initial", names, torch.where(first.isnan() & (means > 0), means, first))

    def _initial(self, names: Sequence[str], losses: Tensor) -> Tensor:
        """The tasks' initial losses ``[m]``, NaN where there is none yet."""
        for name, value in zip(names, losses.tolist(), strict=True):
            if value < 0:
                raise BalanceError(
                    f'the loss of task "{name}" is {value:g}, and gradnorm compares losses by their ratio: shift it '
                    "so that it is never negative"
                )
            if not isinstance(self.initial, str) and name not in self.initial:
                raise BalanceError(f'no initial loss for task "{name}": {nearest(name, self.initial)}')
        if not isinstance(self.initial, str):
            return losses.new_tensor([self.initial[name] for name in names])
        first = self.task_state.read("initial", names).to(losses)
        if self.initial == "epoch":
            self.means.add(names, losses)
            return first
        first = torch.where(first.isnan() & losses.isfinite() & (losses > 0), losses, first)
        self.task_state.write("initial", names, first)
        return first

    def _learn(self, names: Sequence[str], norms: Tensor, ratios: Tensor) -> None:
        """One step on the weights of the named tasks, whose sum stays as it is."""
        state = self.task_state.read("weight", names).to(norms)
        weights = state[:, 0].clone()
        mean = (weights * norms).mean()
        if not (float(mean) > 0 and float(ratios.mean()) > 0):
            return
        target = (ratios / ratios.mean()) ** self.alpha
        gradient = torch.sign(weights * norms / mean - target) * norms / mean
        if self.optimizer == "adam":
            state = adam_step(gradient, state, self.lr)
        else:
            state[:, 0] -= self.lr * gradient
        moved = state[:, 0].clamp_min(_SMALLEST)
        state[:, 0] = moved * (weights.sum() / moved.sum())
        self.task_state.write("weight", names, state)
