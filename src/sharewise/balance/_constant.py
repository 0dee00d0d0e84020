"""Constant weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor

from ..errors import BalanceError, OptionError, nearest
from ._balancer import LossBalancer


class Constant(LossBalancer):
    """Weights chosen by hand (linear scalarisation): ``sum_k w_k L_k``.

    Args:
        weights: task name -> weight, finite and not negative. A task missing here is refused when it appears.
        tasks: see :class:`Balancer`; if given, each must have a weight.

    A tuned grid of constant weights is the yardstick for adaptive methods (Xin et al., "Do Current Multi-Task
    Optimization Methods in Deep Learning Even Help?", NeurIPS 2022).
    """

    def __init__(self, *, weights: Mapping[str, float], tasks: Sequence[str] | None = None) -> None:
        super().__init__(tasks=tasks)
        self._weights = {name: float(weight) for name, weight in weights.items()}
        for name, weight in self._weights.items():
            if not (math.isfinite(weight) and weight >= 0):
                raise OptionError(f'the weight of task "{name}" must be a finite number >= 0, got {weight}')
        for name in tasks or ():
            self._weight(name, OptionError)

    def _weight(self, name: str, error: type[BalanceError] | type[OptionError] = BalanceError) -> float:
        if name not in self._weights:
            raise error(f'no constant weight for task "{name}": {nearest(name, self._weights)}')
        return self._weights[name]

    def weights(self, losses: Tensor, *, names: Sequence[str] | None = None) -> Tensor:
        """The chosen weights ``[m]``."""
        return losses.new_tensor([self._weight(name) for name in self.check_names(len(losses), names)])
