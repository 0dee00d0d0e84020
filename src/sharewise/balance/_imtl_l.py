"""IMTL-L: learned scales that bring every loss to the same size."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ._learned import LearnedScalars
from ._positive import as_weights


class IMTLL(LearnedScalars):
    """Weights each task by a learned scale: ``sum_k exp(s_k) L_k - s_k``, with ``s_k`` learned.

    At rest ``exp(s_k) L_k = 1``: every scaled loss is 1, and the weights are ``1 / L_k``. A loss that goes to 0 would
    send its weight to infinity; ``s_k`` is therefore put back within ``limits`` before each use.

    Source: Liu et al., "Towards Impartial Multi-task Learning", ICLR 2021 (its loss balance, with base e).
    Different here: the limits. The other half, IMTL-G, balances gradients.

    Args:
        tasks: the names of all tasks: the scales are parameters, and an optimizer must be given
            ``balancer.parameters()`` before the first step (without weight decay; often with a larger learning rate).
        initial: ``s_k`` at the start; 0 is weight 1.
        limits: smallest and largest ``s_k`` used.

    One parameter a task: a task absent from a step has no gradient, and no optimizer moves it. Cost O(m).
    """

    def __init__(
        self, *, tasks: Sequence[str], initial: float = 0.0, limits: tuple[float, float] = (-10.0, 10.0)
    ) -> None:
        super().__init__(tasks=tasks, initial=initial, limits=limits)

    def weights(self, losses: Tensor, *, names: Sequence[str] | None = None) -> Tensor:
        """``exp(s_k)``, with a graph to the scales."""
        known = self.check_names(len(losses), names)
        return as_weights(self.scalars_of(known).exp(), losses, known)

    def objective(self, losses: Tensor, weights: Tensor, names: Sequence[str]) -> Tensor:
        """The weighted sum minus the ``s_k`` of the tasks present."""
        return (weights * losses).sum() - self.total_of(names)
