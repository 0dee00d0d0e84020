"""Momentum taken before the optimizer, on the gradients themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor

from ..errors import ModelError, OptionError


class GradientMomentum:
    """Replaces ``.grad`` by its bias-corrected running mean; the optimizer behind it then needs no first moment.

    Call :meth:`apply` between ``backward`` and ``optimizer.step()``, with ``AdamW(..., betas=(0.0, 0.95))``: with ``g``
    the gradient and t the step, ``m <- beta m + (1 - beta) g`` and ``.grad <- m / (1 - beta^t)``. Works with every
    balancer, and with a plain sum.

    *Not the same as Adam's own momentum.* There the second moment is that of the raw gradients; here it is that of the
    running mean, which is smaller the noisier the gradients are, so that steps come out larger: up to
    ``sqrt((1 + beta) / (1 - beta))`` times (4.4 at 0.9) for pure noise. Tune the learning rate anew; compare methods
    with the same momentum on both sides.

    ``form="lion"``: ``.grad <- sign(u) min(|p| / |u|, clip) coefficient`` for each parameter p and its ``u = m / (1 -
    beta^t)``; the ratio is 1 where either norm is 0. ``coefficient`` may be set between steps, as a schedule.

    Source: Limarenko et al., "GCond", IEEE Access 2026 (arXiv 2509.07252), the integrated momentum. Different: the mean
    is kept in float32 (there bfloat16), and a parameter without a gradient keeps its mean and its own t. A step with an
    infinite or NaN gradient is left as it is, for a loss scaler to see, and not remembered.

    Args:
        parameters: whose gradients; the order keys the state.
        beta: in [0, 1); 0 changes nothing (``form="mean"``).
        form: ``"mean"`` or ``"lion"``.
        clip: largest ratio of norms, ``coefficient``: of the step; both for ``"lion"`` alone.

    Raises :class:`OptionError` for options out of range, :class:`ModelError` for no parameters or a state of others.
    Cost: one pass over the gradients, and a copy of them in memory.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        *,
        beta: float = 0.9,
        form: Literal["mean", "lion"] = "mean",
        clip: float = 50.0,
        coefficient: float = 1e-3,
    ) -> None:
        self.parameters = list(parameters)
        if not self.parameters:
            raise ModelError("no parameters given: pass model.parameters()")
        if not 0 <= beta < 1:
            raise OptionError(f"beta must lie in [0, 1), got {beta}")
        if form not in ("mean", "lion"):
            raise OptionError(f'form must be "mean" or "lion", got "{form}"')
        if not (clip > 0 and coefficient > 0):
            raise OptionError(f"clip and coefficient must be above 0, got {clip} and {coefficient}")
        self.beta, self.form, self.clip, self.coefficient = beta, form, clip, coefficient
        self._means: list[Tensor | None] = [None] * len(self.parameters)
        self._steps = [0] * len(self.parameters)

    @torch.no_grad()
    def apply(self) -> None:
        """Put the running mean in place of every ``.grad`` that there is."""
        present = [(i, p.grad) for i, p in enumerate(self.parameters) if p.grad is not None]
        if not all(bool(gradient.isfinite().all()) for _, gradient in present):
            return
        for i, gradient in present:
            mean = self._means[i]
            if mean is None:
                wide = torch.promote_types(gradient.dtype, torch.float32)
                mean = self._means[i] = torch.zeros_like(gradient, dtype=wide)
            mean.lerp_(gradient.to(mean), 1 - self.beta)
            self._steps[i] += 1
            unbiased = mean / (1 - self.beta ** self._steps[i])
            gradient.copy_(unbiased if self.form == "mean" else self._signs(unbiased, self.parameters[i]))

    def state_dict(self) -> dict[str, Tensor]:
        """Steps and means by position, tensors only; a copy."""
        means = {f"mean.{i}": mean.clone() for i, mean in enumerate(self._means) if mean is not None}
        return {"steps": torch.tensor(self._steps), **means}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from :meth:`state_dict`, bit for bit. Raises :class:`ModelError` for another model's."""
        steps = state["steps"].tolist() if "steps" in state else []
        if len(steps) != len(self.parameters):
            raise ModelError(f"the state is of {len(steps)} parameters, here are {len(self.parameters)}")
        for i, parameter in enumerate(self.parameters):
            mean = state.get(f"mean.{i}")
            if mean is not None and mean.shape != parameter.shape:
                raise ModelError(
                    f"the state of parameter {i} has shape {list(mean.shape)}, the parameter {list(parameter.shape)}: "
                    "give the same parameters in the same order"
                )
        self._steps = steps
        self._means = [
            None if (mean := state.get(f"mean.{i}")) is None else mean.to(p.device, copy=True)
            for i, p in enumerate(self.parameters)
        ]

    def _signs(self, mean: Tensor, parameter: Tensor) -> Tensor:
        length, size = float(mean.norm()), float(parameter.norm())
        ratio = size / length if length > 0 and size > 0 else 1.0
        return mean.sign() * (min(ratio, self.clip) * self.coefficient)
