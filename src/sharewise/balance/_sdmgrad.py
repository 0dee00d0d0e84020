"""SDMGrad: a common descent direction near the mean gradient, from independent batches."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import OptionError
from ._balancer import GramBalancer
from ._shares import Shares
from ._simplex import project


class SDMGrad(GramBalancer):
    """The shortest ``G^T (w + pull / m)``, w on the simplex, approached by projected SGD at each step.

    With ``A = G_1 G_2^T``, rows of two independent batches, divided by the square of the mean of ``sqrt(A_kk)``::

        velocity <- momentum velocity + A (w + pull / m);   w <- project(w - lr velocity)        ``steps`` times

    The direction is ``G_3^T (w + pull / m) / (1 + pull)``, of a third batch. ``pull`` = 0 is the common descent
    direction, a large one the mean gradient.

    Source: Xiao, Ban, Ji, "Direction-oriented Multi-objective Learning: Simple and Provable Stochastic Algorithms",
    NeurIPS 2023, algorithm 1, with normalisation and momentum of the authors' code. What differs: ``lr``, see below;
    the scale has no constant added, so that it works for gradients of any size; and w is left as it is where no
    diagonal entry is positive (which two batches of noise can bring about).

    :meth:`weights` takes ``gram[i, j] = <g_i of batch 1, g_j of batch 2>``, which is not symmetric; given the plain
    Gram matrix of one batch this is the biased variant.

    Args:
        pull: how strongly the direction is drawn to the mean gradient (lambda in the paper), >= 0.
        lr: of the inner steps. The authors' 10 does not settle: the direction's squared length comes out 2 to 50 times
            the minimum, more with more tasks. At 1 it comes within a thousandth in 20 steps on random gradients.
        momentum: of the inner steps, in [0, 1).
        steps: inner steps a call; w goes on from where the last call left it.
        tasks: see :class:`Balancer`.

    State: w, by task name. Raises :class:`OptionError` for options out of range.
    """

    samples = 3

    def __init__(
        self,
        *,
        pull: float = 0.3,
        lr: float = 1.0,
        momentum: float = 0.5,
        steps: int = 20,
        tasks: Sequence[str] | None = None,
    ) -> None:
        super().__init__(tasks=tasks)
        if not (math.isfinite(pull) and pull >= 0):
            raise OptionError(f"pull must be a number >= 0, got {pull}")
        if not (math.isfinite(lr) and lr > 0):
            raise OptionError(f"lr must be a positive number, got {lr}")
        if not 0 <= momentum < 1:
            raise OptionError(f"momentum must be at least 0 and below 1, got {momentum}")
        if steps < 1:
            raise OptionError(f"steps must be at least 1, got {steps}")
        self.pull, self.lr, self.momentum, self.steps = float(pull), float(lr), float(momentum), int(steps)
        self.shares = Shares(self.task_state)

    def weights(self, gram: Tensor, losses: Tensor | None = None, *, names: Sequence[str] | None = None) -> Tensor:
        """Weights ``[m]`` (float64) on the simplex. Cost O(m^2) an inner step."""
        known = self.check_names(len(gram), names)
        w, mean = self.shares.read(known).to(gram.device), self.pull / len(gram)
        scale = gram.diagonal().double().clamp_min(0).sqrt().mean()
        products = torch.where(scale > 0, gram.double() / scale.square(), 0.0)
        velocity = torch.zeros_like(w)
        for _ in range(self.steps):
            velocity = torch.add(products @ (w + mean), velocity, alpha=self.momentum)
            w = project(torch.add(w, velocity, alpha=-self.lr))
        self.shares.write(known, w)
        return (w + mean) / (1 + self.pull)
