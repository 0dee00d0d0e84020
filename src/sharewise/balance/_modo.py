"""MoDo: the common descent direction by steps on the weights, from independent batches."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from ..errors import OptionError
from ._balancer import GramBalancer
from ._shares import Shares
from ._simplex import project


class MoDo(GramBalancer):
    """One projected gradient step a call on the weights of the shortest convex combination of gradients.

    ``w <- project(w - gamma (G_1 G_2^T w + rho w))`` on the simplex, and the direction is ``G_3^T w``: rows of three
    independent batches. The expectation of ``G_1 G_2^T`` is the Gram matrix of the true gradients; that of a Gram
    matrix of one batch is larger by the covariance of its noise, which pulls the weights to tasks with little noise.

    Source: Chen, Fernando, Ying, Chen, "Three-Way Trade-Off in Multi-Objective Learning: Optimization, Generalization
    and Conflict-Avoidance", NeurIPS 2023, algorithm 1 with a batch of its own for the direction. Defaults as in LibMTL.

    :meth:`weights` takes ``gram[i, j] = <g_i of batch 1, g_j of batch 2>``, which is not symmetric; given the plain
    Gram matrix of one batch this is the biased variant: slow steps to the shortest combination, with a ridge.

    Args:
        gamma: the step, in units of one over a squared gradient norm: scaling all losses by c asks for ``gamma / c^2``.
        rho: the pull to equal weights, in units of a squared gradient norm.
        tasks: see :class:`Balancer`.

    State: the weights, by task name. Raises :class:`OptionError` for options out of range.
    """

    samples = 3

    def __init__(self, *, gamma: float = 1e-3, rho: float = 0.1, tasks: Sequence[str] | None = None) -> None:
        super().__init__(tasks=tasks)
        if not (math.isfinite(gamma) and gamma > 0):
            raise OptionError(f"gamma must be a positive number, got {gamma}")
        if not (math.isfinite(rho) and rho >= 0):
            raise OptionError(f"rho must be a number >= 0, got {rho}")
        self.gamma, self.rho = float(gamma), float(rho)
        self.shares = Shares(self.task_state)

    def weights(self, gram: Tensor, losses: Tensor | None = None, *, names: Sequence[str] | None = None) -> Tensor:
        """Weights ``[m]`` (float64) on the simplex. Cost O(m^2)."""
        known = self.check_names(len(gram), names)
        weights = self.shares.read(known).to(gram.device)
        gradient = gram.double() @ weights + self.rho * weights
        weights = project(weights - self.gamma * gradient)
        self.shares.write(known, weights)
        return weights
