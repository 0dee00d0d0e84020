"""Equal weighting."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ._balancer import LossBalancer


class Equal(LossBalancer):
    """The plain sum of the losses: every weight is 1 ("unitary scalarisation").

    A strong baseline once learning rate and regularisation are tuned (Kurin et al., "In Defense of the Unitary
    Scalarization for Deep Multi-Task Learning", NeurIPS 2022). The sum, not the mean: heads learn at the speed they
    would have alone, and the shared gradient grows with the number of tasks present.
    """

    def __init__(self, *, tasks: Sequence[str] | None = None) -> None:
        super().__init__(tasks=tasks)

    def weights(self, losses: Tensor, *, names: Sequence[str] | None = None) -> Tensor:
        """Ones ``[m]``."""
        self.check_names(len(losses), names)
        return losses.new_ones(len(losses))
