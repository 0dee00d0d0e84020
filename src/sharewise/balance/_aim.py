"""AIM: how much of which conflict is removed is learned."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import OptionError
from ._aim_descent import Descent
from ._aim_policy import combination, projection_weights
from ._checks import check_option
from ._cosines import split
from ._guidance import Guidance
from ._guided import GuidedBalancer


class AIM(GuidedBalancer):
    """Projects every gradient softly away from the others, by thresholds learned on held-out batches.

    Task i loses the share ``w_ij = sigmoid(k (tau_ij - cos(g_i, g_j)))`` of its part along task j, all against the
    original rows; the m results are summed. At ``tau = 0`` this is a soft, parallel PCGrad; towards -1 a plain sum;
    towards +1 agreement is removed too. The thresholds ``tau`` move only in :meth:`guide`, which takes a batch the
    model is *not* trained on and descends ``l_g guide + l_m magnitude + l_p progress``: the held-out losses after a
    step along the balanced direction, the length the direction has lost, and its progress on the tasks with the
    largest losses. Rows are constants for the policy, and the parameters of the model get nothing from it.

    Source: Minot, Schneider, "AIM: Adaptive Intervention for Deep Multi-task Learning of Molecular Properties",
    arXiv 2509.25955, 2025, equations 1 to 6. Different here: written on the Gram matrix; zero rows are left out
    instead of clamped; the guide term looks one step ahead (as printed it does not depend on ``tau``; with
    ``look_ahead=0`` it is that constant).

    Args:
        policy: ``matrix``, a threshold for each ordered pair of tasks, or ``scalar``, one for all.
        sharpness: ``k``.
        initial: ``tau`` at the start, and of pairs not met before.
        lr: of the policy's own Adam; 0 freezes ``tau``.
        restart: epochs after which the learning rate, annealed along a cosine down to 1e-6, starts again; ``None``
            keeps it constant. Epochs are counted by :meth:`end_epoch`.
        guide_weight: ``l_g``.
        magnitude_weight: ``l_m``.
        progress_weight: ``l_p``.
        look_ahead: the step of the guide term; the model's learning rate.
        relative: measure the lost length as a share, so that ``l_m`` does not depend on the size of gradients.
        tasks: see :class:`Balancer`.

    State: ``tau`` with Adam's moments by pair of names (or one for all), and the epoch.
    """

    def __init__(
        self,
        *,
        policy: str = "matrix",
        sharpness: float = 10.0,
        initial: float = 0.0,
        lr: float = 1e-3,
        restart: int | None = 20,
        guide_weight: float = 1.0,
        magnitude_weight: float = 0.01,
        progress_weight: float = 0.08,
        look_ahead: float = 1e-3,
        relative: bool = False,
        tasks: Sequence[str] | None = None,
    ) -> None:
        super().__init__(tasks=tasks)
        check_option("policy", policy, ("matrix", "scalar"))
        if not math.isfinite(initial):
            raise OptionError(f"initial must be finite, got {initial}")
        weights = (guide_weight, magnitude_weight, progress_weight)
        self.policy = policy
        self.descent = Descent(float(sharpness), float(lr), restart, weights, float(look_ahead), relative)
        self.register_buffer("epoch", torch.zeros((), dtype=torch.int64))
        start = torch.tensor((initial, 0.0, 0.0, 0.0), dtype=torch.float64)
        if policy == "scalar":
            self.register_buffer("scalar", start)
        else:
            self.task_state.declare("pairs", start, axes=2)

    epoch: Tensor
    scalar: Tensor

    @property
    def learns(self) -> bool:
        """Unless the policy's learning rate is 0."""
        return self.descent.lr > 0

    def weights(self, gram: Tensor, losses: Tensor | None = None, *, names: Sequence[str] | None = None) -> Tensor:
        """``a`` ``[m]`` (float64) with direction ``sum_j a_j g_j``. Cost O(m^2).

        ``notes``: ``projection``, the shares ``w`` ``[m, m]``; ``projected``, where they exceed a half.
        """
        known = self.check_names(len(gram), names)
        cosines, norms = split(gram)
        share = projection_weights(cosines, self._state(known).to(gram.device)[..., 0], self.descent.sharpness)
        self.notes = {"projected": share > 0.5, "projection": share}
        return combination(cosines, norms, share)

    def descend(self, found: Guidance) -> dict[str, Tensor]:
        """A step of the thresholds; see :meth:`GuidedBalancer.guide`. Cost O(m^2)."""
        state = self._state(self.check_names(len(found.names), found.names)).to(found.gram.device)
        moved, parts = self.descent.step(state, found, int(self.epoch))
        if self.policy == "scalar":
            self.scalar.copy_(moved)
        else:
            self.task_state.write("pairs", found.names, moved)
        return parts

    def thresholds(self, names: Sequence[str]) -> Tensor:
        """``tau`` of these tasks ``[m, m]`` (float64), for a heat map: cut to [-1.5, 1.5], beyond which nothing
        changes any more; the diagonal, which is not used, is NaN."""
        tau = self._state(names)[..., 0].expand(len(names), len(names)).clamp(-1.5, 1.5).clone()
        return tau.fill_diagonal_(math.nan)

    def end_epoch(self) -> None:
        """Anneal the policy's learning rate."""
        super().end_epoch()
        self.epoch += 1

    def _state(self, names: Sequence[str]) -> Tensor:
        return self.scalar if self.policy == "scalar" else self.task_state.read("pairs", names)
