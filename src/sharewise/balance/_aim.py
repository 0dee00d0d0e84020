"""AIM: how much of which conflict is removed is learned."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from ..errors import OptionError
from ._adam import adam_step
from ._aim_guidance import Guidance
from ._aim_policy import annealed, combination, policy_loss, projection_weights
from ._balancer import GramBalancer
from ._checks import check_option
from ._cosines import split
from ._reducer import Reducer


class AIM(GramBalancer):
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
        numbers = (lr, guide_weight, magnitude_weight, progress_weight, look_ahead)
        if not all(math.isfinite(n) and n >= 0 for n in numbers):
            raise OptionError(f"lr, the three weights and look_ahead must be finite and not negative, got {numbers}")
        if not (math.isfinite(sharpness) and sharpness > 0 and math.isfinite(initial)):
            raise OptionError(f"sharpness must be positive and initial finite, got {sharpness} and {initial}")
        if restart is not None and restart < 1:
            raise OptionError(f"restart is {restart}, expected a number of epochs, or None for a constant rate")
        self.policy, self.sharpness, self.lr, self.restart = policy, float(sharpness), float(lr), restart
        self.loss_weights = (guide_weight, magnitude_weight, progress_weight)
        self.look_ahead, self.relative = float(look_ahead), relative
        self.register_buffer("epoch", torch.zeros((), dtype=torch.int64))
        start = torch.tensor((initial, 0.0, 0.0, 0.0), dtype=torch.float64)
        if policy == "scalar":
            self.register_buffer("scalar", start)
        else:
            self.task_state.declare("pairs", start, axes=2)

    epoch: Tensor
    scalar: Tensor

    def weights(self, gram: Tensor, losses: Tensor | None = None, *, names: Sequence[str] | None = None) -> Tensor:
        """``a`` ``[m]`` (float64) with direction ``sum_j a_j g_j``. Cost O(m^2).

        ``notes``: ``projection``, the shares ``w`` ``[m, m]``; ``projected``, where they exceed a half.
        """
        known = self.check_names(len(gram), names)
        cosines, norms = split(gram)
        share = projection_weights(cosines, self._state(known).to(gram.device)[..., 0], self.sharpness)
        self.notes = {"projected": share > 0.5, "projection": share}
        return combination(cosines, norms, share)

    def guide(
        self,
        losses: Mapping[str, Tensor],
        *,
        trained: Mapping[str, Tensor] | None = None,
        shared: Iterable[Tensor] | nn.Module | None = None,
        representation: Tensor | Sequence[Tensor] | None = None,
        mode: str = "auto",
        reducer: Reducer | None = None,
    ) -> dict[str, Tensor]:
        """One step of the policy, to be taken after each step of the model.

        Args:
            losses: task name -> loss, with its graph, on a batch held out for guidance; absent tasks left out.
            trained: the same on a batch of training examples, for the guide term's products
                ``<grad of guidance loss, g_j>`` and the step it looks along. Without it the guidance batch steps by
                itself: no further passes, but what is noise in that batch then counts as progress too.

        ``shared``, ``representation``, ``mode`` and ``reducer`` are those of :func:`sharewise.balance.backward`.

        Returns the loss of the policy before the step, ``total``, and its parts; nothing with fewer than two tasks
        whose gradient is not zero. Cost: m backward passes (2 m with ``trained``) and O(m^2).
        """
        options = {"shared": shared, "representation": representation, "mode": mode, "reducer": reducer}
        return self._descend(Guidance.measured(losses, trained, **options))

    def learn(
        self,
        gram: Tensor,
        losses: Tensor,
        *,
        names: Sequence[str] | None = None,
        trained: Tensor | None = None,
        cross: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """:meth:`guide` from matrices: ``gram`` ``[m, m]`` and ``losses`` ``[m]`` of the guidance batch.

        ``trained`` ``[m, m]`` is the Gram matrix of the training batch's gradients, ``cross`` ``[m, m]`` holds
        ``<guidance gradient i, training gradient j>``: both or neither. Raises :class:`BalanceError` for losses that
        are negative or not finite, and gradients that are not finite.
        """
        known = self.check_names(len(gram), names)
        return self._descend(Guidance.of(known, gram, losses, trained, cross))

    def _descend(self, found: Guidance | None) -> dict[str, Tensor]:
        if found is None:
            return {}
        state = self._state(self.check_names(len(found.names), found.names)).to(found.gram.device)
        with torch.enable_grad():
            tau = state[..., 0].clone().requires_grad_()
            parts = policy_loss(
                tau.expand_as(found.gram),
                found,
                sharpness=self.sharpness,
                look_ahead=self.look_ahead,
                relative=self.relative,
                weights=self.loss_weights,
            )
            (gradient,) = torch.autograd.grad(parts["total"], tau)
        moved = adam_step(gradient, state, annealed(self.lr, int(self.epoch), self.restart))
        if self.policy == "scalar":
            self.scalar.copy_(moved)
        else:
            self.task_state.write("pairs", found.names, moved)
        return {name: part.detach() for name, part in parts.items()}

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
