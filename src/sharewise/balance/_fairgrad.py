"""FairGrad: alpha-fair shares of the improvement."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import OptionError
from ._balancer import GramBalancer
from ._cosines import positive_definite, split
from ._newton import fair

# Weights reach (norm ratio * m) ** -alpha: beyond this they could leave the range of float64.
_LARGEST = 32.0


class FairGrad(GramBalancer):
    """Weights with ``M w = w^(-1/alpha)``: the direction whose first-order improvements are alpha-fair.

    With ``d = sum_k w_k g_k``, task k's improvement ``<g_k, d>`` is ``w_k^(-1/alpha)``, positive for every task: no
    conflict, and the smaller a task's improvement the larger its weight. alpha = 1 is Nash-MTL (:class:`NashMTL`);
    towards 0 the direction is that of the sum, towards infinity that of the largest smallest improvement, ``mgda``.

    Solved to a relative residual of 1e-11 by Newton's method (:mod:`sharewise.balance._newton`) on the cosines with
    1e-12 added to their diagonal, not by bounded least squares as in the authors' code; safe for any norms. Near a
    Pareto-stationary point, where the exact weights are unbounded, the residual is at most that 1e-12 times the weight
    of the unit row.

    Source: Ban and Ji, "Fair Resource Allocation in Multi-Task Learning", ICML 2024, equation 4.

    Args:
        alpha: in (0, 32]. The length of ``d`` grows with all rows as their length to the power of
            (1 - alpha) / (1 + alpha): for alpha > 1 it *falls* as gradients grow.
        tasks: see :class:`Balancer`.

    A zero row has no share; its weight is 0.
    """

    def __init__(self, *, alpha: float = 2.0, tasks: Sequence[str] | None = None) -> None:
        super().__init__(tasks=tasks)
        if not 0 < alpha <= _LARGEST:
            raise OptionError(
                f'alpha must be above 0 and at most {_LARGEST:g}, got {alpha}; its limits are "equal" and "mgda"'
            )
        self.alpha = alpha

    def weights(self, gram: Tensor, losses: Tensor | None = None, *, names: Sequence[str] | None = None) -> Tensor:
        """Weights ``[m]`` (float64), positive. Cost O(m^3) a Newton step, some ten of them."""
        self.check_names(len(gram), names)
        return fair_weights(gram, 1 / self.alpha)


def fair_weights(gram: Tensor, power: float) -> Tensor:
    """``w`` with ``gram w = w^-power``; 0 for zero rows.

    With norms n and ``w = n^(-2 / (1 + power)) v`` the equation is ``A v = b v^-power`` for a matrix A with diagonal
    ``b = n^(2 (power - 1) / (power + 1))``: v = 1 solves it for orthogonal rows, and nothing leaves float64's range.
    """
    cosines, norms = split(gram)
    present = norms > 0
    safe = torch.where(present, norms, 1.0)
    lengths = safe ** ((power - 1) / (power + 1))
    lengths = lengths / lengths.amax()
    v = fair(positive_definite(cosines) * lengths * lengths[:, None], lengths.square(), power)
    return torch.where(present, v * safe ** (-2 / (1 + power)), 0.0)
