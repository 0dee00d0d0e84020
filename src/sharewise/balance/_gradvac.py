"""GradVac: bring gradients to the cosines they usually have."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import OptionError
from ._balancer import GramBalancer
from ._cosines import split

_VANISHED = 1e-12  # squared length, of a unit row, below which what is left of it is rounding and has no angle
_SMALLEST_SINE = 1e-8


class GradVac(GramBalancer):
    """Turns each task's gradient towards those it has come to agree with, then sums.

    Each ordered pair of tasks has a target cosine ``phi*_ij``, 0 at first. For each task i, with ``v = g_i``: for the
    other tasks j in turn, with ``phi = cos(v, g_j)``, if ``phi < phi*_ij`` then ``v <- v + a g_j`` with the a that
    makes the cosine ``phi*_ij``::

        a = |v| (phi* sqrt(1 - phi^2) - phi sqrt(1 - phi*^2)) / (|g_j| sqrt(1 - phi*^2))

    and in any case ``phi*_ij <- (1 - beta) phi*_ij + beta phi``. The direction is the sum of the m results. With
    targets of 0 this is :class:`PCGrad`.

    Every ``v`` is a combination of rows, so all is computed on m coefficients per task and the Gram matrix, for all
    tasks at once: m - 1 steps of O(m^2) each, on unit rows, so that norms of any size are safe.

    Source: Wang, Tsvetkov, Firat, Cao, "Gradient Vaccine: Investigating and Improving Multi-task Optimization in
    Massively Multilingual Models", ICLR 2021, algorithm 1, for the whole model. What differs:

    - No correction makes ``v`` longer than ``longest`` times ``g_i``. In the formula ``a`` grows without bound as
      ``phi*`` nears 1 (two tasks that were one for a while), and grows from pair to pair. Up to a target of
      ``sqrt(1 - longest^-2)``, 0.995 by default, one correction is never cut short.
    - A pair without an angle, because of a zero row or a ``v`` of which nothing is left, is left alone, target and all.

    ``notes["projected"]`` is bool ``[m, m]``: task i's gradient was turned towards task j's.

    Args:
        beta: share of the newest cosine in a target, in [0, 1]; 0.01 remembers about a hundred steps.
        longest: the bound above, at least 1; ``math.inf`` for none.
        shuffle: whether each task meets the others in an order drawn anew each step, or in the order of the losses.
        seed: of the generator that draws the orders.
        tasks: see :class:`Balancer`.

    State: the targets, by pair of task names. Raises :class:`OptionError` for options out of range.
    """

    generator: torch.Generator

    def __init__(
        self,
        *,
        beta: float = 0.01,
        longest: float = 10.0,
        shuffle: bool = True,
        seed: int = 0,
        tasks: Sequence[str] | None = None,
    ) -> None:
        super().__init__(tasks=tasks, seed=seed)
        if not 0 <= beta <= 1:
            raise OptionError(f"beta must be between 0 and 1, got {beta}")
        if not longest >= 1:
            raise OptionError(f"longest must be at least 1, got {longest}")
        self.beta, self.longest, self.shuffle = float(beta), float(longest), bool(shuffle)
        self.task_state.declare("target", axes=2)

    def weights(self, gram: Tensor, losses: Tensor | None = None, *, names: Sequence[str] | None = None) -> Tensor:
        """Weights ``[m]`` (float64), all >= 1 while no target is negative. Cost O(m^3), in m - 1 vectorised steps."""
        known = self.check_names(len(gram), names)
        cosines, norms = split(gram)
        order = self._order(len(gram)).to(gram.device)
        targets = self.task_state.read("target", known).to(gram.device)
        taken, met, lengths = vaccinate(cosines, targets.gather(1, order).T, order, self.longest)
        angled = (lengths > _VANISHED) & ((norms > 0) & norms.isfinite())[order.T] & met.isfinite()
        met = (met / lengths.sqrt()).clamp(-1, 1).T.where(angled.T, targets.gather(1, order))
        moved = targets.gather(1, order).lerp(met, self.beta)
        self.task_state.write("target", known, targets.scatter(1, order, moved))
        coefficients = torch.zeros_like(cosines).scatter_(1, order, taken.T)
        self.notes = {"projected": coefficients > 0}
        # On a zero row the others take nothing, and it keeps its own weight of 1.
        return 1 + torch.where(norms > 0, norms @ coefficients / norms, 0.0)

    def _order(self, count: int) -> Tensor:
        """The others in the order each task meets them: ``[m, m - 1]``."""
        if self.shuffle:
            draws = torch.rand(count, count, generator=self.generator)
        else:
            draws = torch.linspace(0, 1, count).expand(count, count).clone()
        return draws.fill_diagonal_(2.0).argsort(dim=1)[:, : count - 1]


def vaccinate(cosines: Tensor, targets: Tensor, order: Tensor, longest: float) -> tuple[Tensor, Tensor, Tensor]:
    """What each unit row takes of the others, in the order it meets them.

    Args:
        cosines: ``[m, m]``.
        targets: target cosines ``[m - 1, m]``, of column i with the task it meets in that step.
        order: ``[m, m - 1]``, the tasks that i meets.
        longest: no column grows longer than this.

    Returns what was taken ``[m - 1, m]`` (coefficients on unit rows, >= 0), the inner products of the rows with the
    unit row met just before that, and their squared lengths then.
    """
    count, turns = len(order), order.shape[1]
    # Everything is laid out by turn, so that a step reads and writes whole rows.
    # between[s, t, i] = <u_j, u_k>, j and k the tasks that i meets at turns s and t.
    between = cosines[order].gather(2, order[:, None].expand(-1, turns, -1)).permute(1, 2, 0).contiguous()
    products = cosines.gather(1, order).T.contiguous()  # products[t, i] = <v_i, unit row met at turn t>
    tangents = targets / (1 - targets.square()).clamp_min(_SMALLEST_SINE**2).sqrt()
    tangents = tangents.where(between.diagonal().T > 0, 0.0)  # nothing is taken of a zero row
    lengths = cosines.new_empty(turns + 1, count)
    lengths[0] = cosines.diagonal()
    taken = torch.empty_like(products)
    steps = zip(products, between, tangents, taken, lengths[:-1], lengths[1:], strict=True)
    for turn, (product, beside, tangent, amount, squared, after) in enumerate(steps, 1):
        # a = tan(target) |v| sqrt(1 - phi^2) - |v| phi; it is positive exactly where phi is below the target.
        across = torch.addcmul(squared, product, product, value=-1).clamp_min_(0).sqrt_()
        torch.mul(across, tangent, out=amount).sub_(product)
        # |v + a u| <= |v| + a
        torch.minimum(amount, longest - squared.sqrt(), out=amount).clamp_min_(0)
        torch.addcmul(squared, amount, torch.add(amount, product, alpha=2), out=after).clamp_min_(0)
        products[turn:].addcmul_(beside[turn:], amount)
    return taken, products, lengths[:-1]
