"""MGDA: the shortest vector in the convex hull of the gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from ..errors import BalanceError, OptionError, nearest
from ._balancer import GramBalancer
from ._cosines import positive_definite, split
from ._nonnegative import minimise

Normalisation = Literal["none", "l2", "loss", "loss+"]


class MGDA(GramBalancer):
    """The convex combination of the gradients that is shortest: ``min_w |sum_k w_k g_k|``, w >= 0, sum w = 1.

    It has the same inner product ``|d|^2`` with every gradient it uses and no smaller one with the others, so no loss
    rises to first order, and it is zero exactly at Pareto-stationary points.

    The weights are found exactly, by an active set method on the cosines (:mod:`sharewise.balance._nonnegative`), not
    by Frank-Wolfe steps. Stationarity ``<d, g_k> >= |d|^2`` (with equality where ``w_k > 0``) holds to about 1e-12 of
    ``|d| |g_k|``, and near Pareto-stationary points to 1e-12 of the shortest row's length times ``|g_k|``.

    Source: Désidéri, "Multiple-gradient descent algorithm (MGDA) for multiobjective optimization", C. R. Math. 350,
    2012; Sener and Koltun, "Multi-Task Learning as Multi-Objective Optimization", NeurIPS 2018, equation 3, whose code
    has the normalisations. There the weights found for normalised gradients multiply the gradients as they are, and
    the direction can conflict with some; here ``d`` is the shortest combination of the normalised rows, scaled so that
    the weights of the rows as they are sum to one. It conflicts with none, whatever the normalisation.

    Args:
        normalisation: what each gradient is divided by before the search: ``"none"``; ``"l2"``, its norm; ``"loss"``,
            the task's loss; ``"loss+"``, both.
        tasks: see :class:`Balancer`.

    A zero row is a Pareto-stationary point: it gets all the weight and the direction is zero.
    """

    def __init__(self, *, normalisation: Normalisation = "none", tasks: Sequence[str] | None = None) -> None:
        super().__init__(tasks=tasks)
        known = get_args(Normalisation)
        if normalisation not in known:
            raise OptionError(f'normalisation "{normalisation}" is not known; {nearest(str(normalisation), known)}')
        self.normalisation = normalisation

    def weights(self, gram: Tensor, losses: Tensor | None = None, *, names: Sequence[str] | None = None) -> Tensor:
        """Weights ``[m]`` (float64), non-negative with sum one; losses of ones if not given. Cost O(m^3).

        Raises :class:`BalanceError` for a loss that is not positive where the normalisation divides by it.
        """
        known = self.check_names(len(gram), names)
        cosines, norms = split(gram)
        zero = norms == 0
        if bool(zero.any()):
            return zero / zero.sum(dtype=torch.float64)
        # Shortest with sum one is, but for scale, min y C y + (sum y_k / n_k - 1)^2 over y = w n >= 0: bounded
        # even where the convex hull holds zero.
        inverse = 1 / self._lengths(norms, losses, known)
        inverse = inverse / inverse.amax()
        matrix = positive_definite(cosines).addr_(inverse, inverse)
        weights = minimise(matrix, -inverse[None])[0] * (norms.amin() / norms)
        return weights / weights.sum()

    def _lengths(self, norms: Tensor, losses: Tensor | None, names: Sequence[str]) -> Tensor:
        """Norms of the normalised rows."""
        lengths = torch.ones_like(norms) if self.normalisation in ("l2", "loss+") else norms
        if losses is None or self.normalisation in ("none", "l2"):
            return lengths
        for name, loss in zip(names, losses.tolist(), strict=True):
            if not loss > 0:
                raise BalanceError(
                    f'normalisation "{self.normalisation}" divides by the loss, but that of task "{name}" is {loss}: '
                    'add a constant that makes it positive, or choose "none" or "l2"'
                )
        return lengths / losses.detach().to(lengths)
