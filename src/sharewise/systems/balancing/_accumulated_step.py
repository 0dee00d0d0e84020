"""One optimizer step's gradient from several batches: accumulated and then balanced, or balanced batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ...balance import Balancer, GCond, backward
from ...errors import ModelError, OptionError
from ...optim import GradientMomentum

Loss = Callable[[Any, Any], Tensor]
"""The model's output and the batch's target -> scalar, times the weight the loss is to have."""


class AccumulatedStep:
    """Fills ``.grad`` of all trainable parameters from ``batches`` batches, ready for ``optimizer.step()``.

    ``mode="stochastic"``: the batches are dealt out, each loss sees its own ``batches / m`` of them: one pass a batch.
    ``"sequential"``: each loss sees every batch: m passes a batch. Both add up one gradient a loss, each from a forward
    pass of its own whose graph is freed at once, so that memory is that of one backward pass and m gradients; the
    balancer decides once, on the means. ``"each"``: the common way, for comparison: the balancer decides on every batch
    by itself, and the mean of its decisions is taken.

    All gradients of a step are taken at the same weights. All trainable parameters count as shared, as in the paper.

    Args:
        model: ``model(inputs) -> output``.
        losses: task name -> loss of output and target.
        balancer: decides; a :class:`~sharewise.balance.GCond` with ``accumulate=1``, for this class accumulates.
        batches: K.
        mode: see above.
        frozen: take gradients in evaluation mode (no dropout, fixed batch statistics); modules are then as before.
        momentum: applied to ``.grad`` at the end; ``None``: the optimizer keeps its own.

    Source: Limarenko et al., "GCond", IEEE Access 2026 (arXiv 2509.07252), the estimation phase.

    Raises :class:`OptionError` for ``batches`` that cannot be dealt out evenly, an unknown mode, or a balancer that
    accumulates by itself; :class:`ModelError` for a model without trainable parameters.
    """

    def __init__(
        self,
        model: nn.Module,
        losses: Mapping[str, Loss],
        balancer: Balancer,
        *,
        batches: int = 8,
        mode: Literal["stochastic", "sequential", "each"] = "stochastic",
        frozen: bool = True,
        momentum: GradientMomentum | None = None,
    ) -> None:
        if mode not in ("stochastic", "sequential", "each"):
            raise OptionError(f'mode must be "stochastic", "sequential" or "each", got "{mode}"')
        if batches < 1 or not losses:
            raise OptionError(f"a step needs at least one batch and one loss, got {batches} and {len(losses)}")
        if mode == "stochastic" and batches % len(losses):
            raise OptionError(
                f"{batches} batches cannot be dealt out evenly to {len(losses)} losses ({', '.join(losses)}): "
                f'give a multiple of {len(losses)}, or mode="sequential"'
            )
        if isinstance(balancer, GCond) and balancer.accumulate > 1:
            raise OptionError(f"the step accumulates, so GCond must not: accumulate is {balancer.accumulate}, give 1")
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        if not self.parameters:
            raise ModelError("the model has no trainable parameters: nothing can be balanced")
        self.model, self.losses, self.balancer = model, dict(losses), balancer
        self.batches, self.mode, self.frozen, self.momentum = batches, mode, frozen, momentum

    def __call__(self, draw: Callable[[], tuple[Any, Any]]) -> dict[str, float]:
        """Add the step's gradient to ``.grad``; returns each loss's mean over its batches.

        ``draw()`` gives the next batch, inputs and target.
        """
        with _evaluating(self.model) if self.frozen else _as_it_is():
            found = self._one_by_one(draw) if self.mode == "each" else self._accumulated(draw)
        if self.momentum is not None:
            self.momentum.apply()
        return found

    @property
    def passes(self) -> int:
        """Backward passes a step takes: the cost of the modes in comparison."""
        return self.batches * (1 if self.mode == "stochastic" or self.balancer.needs == "losses" else len(self.losses))

    def _accumulated(self, draw: Callable[[], tuple[Any, Any]]) -> dict[str, float]:
        names, count = list(self.losses), len(self.losses)
        first = self.parameters[0]
        rows = torch.zeros(count, sum(p.numel() for p in self.parameters), dtype=first.dtype, device=first.device)
        means = rows.new_zeros(count)
        each = self.batches // count if self.mode == "stochastic" else self.batches
        for k in range(self.batches):
            inputs, target = draw()
            for i in [k // each] if self.mode == "stochastic" else range(count):
                loss = self.losses[names[i]](self.model(inputs), target) / each
                gradients = torch.autograd.grad(loss, self.parameters, allow_unused=True)
                for part, gradient in zip(rows[i].split(self._sizes), gradients, strict=True):
                    if gradient is not None:
                        part += gradient.flatten()
                means[i] += loss.detach()
        direction = self.balancer.aggregate(rows, means, names=names)
        for p, part in zip(self.parameters, direction.split(self._sizes), strict=True):
            p.grad = part.view_as(p) if p.grad is None else p.grad + part.view_as(p)
        return dict(zip(names, means.tolist(), strict=True))

    def _one_by_one(self, draw: Callable[[], tuple[Any, Any]]) -> dict[str, float]:
        means = dict.fromkeys(self.losses, 0.0)
        for _ in range(self.batches):
            inputs, target = draw()
            output = self.model(inputs)
            losses = {name: loss(output, target) / self.batches for name, loss in self.losses.items()}
            backward(losses, self.balancer, shared=self.parameters)
            for name, loss in losses.items():
                means[name] += float(loss.detach())
        return means

    @property
    def _sizes(self) -> list[int]:
        return [p.numel() for p in self.parameters]


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def _as_it_is() -> Iterator[None]:
    yield
