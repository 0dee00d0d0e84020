"""Training stacked nets: masked loss, per-net learning-rate plateau, per-net best epoch on validation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ...errors import DataError
from ._dynamic import Days, Forecast

Forecaster = Callable[[Days], Forecast]


def masked_mse(output: Tensor, target: Tensor, observed: Tensor) -> Tensor:
    """Mean squared error over observed days, for each net: ``[G, T, B]`` three times to ``[G]``.

    Unobserved days have no influence on value or gradient, whatever stands in their target. A net without
    any observed day has loss 0.
    """
    error = torch.where(observed > 0, output - target, 0.0).square()
    return error.sum((1, 2)) / (observed > 0).sum((1, 2)).clamp(min=1)


@dataclass
class Plateau:
    """``ReduceLROnPlateau`` (mode "min", relative threshold) for ``G`` nets at once.

    ``step(losses [G])`` returns each net's learning-rate factor ``[G]``. Same decisions as torch's
    scheduler run for each net by itself.
    """

    nets: int
    factor: float = 0.95
    patience: int = 10
    cooldown: int = 10
    threshold: float = 1e-6
    scale: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.scale = torch.ones(self.nets, dtype=torch.float64)
        self._best = torch.full((self.nets,), float("inf"), dtype=torch.float64)
        self._bad = torch.zeros(self.nets, dtype=torch.long)
        self._cooling = torch.zeros(self.nets, dtype=torch.long)

    def step(self, losses: Tensor) -> Tensor:
        """Take note of an epoch's losses ``[G]``; returns the factors ``[G]``."""
        losses = losses.detach().double().cpu()
        better = losses < self._best * (1 - self.threshold)
        self._best = torch.where(better, losses, self._best)
        self._bad = torch.where(better, 0, self._bad + 1)
        cooling = self._cooling > 0
        self._cooling = torch.where(cooling, self._cooling - 1, 0)
        self._bad = torch.where(cooling, 0, self._bad)
        reduce = self._bad > self.patience
        self.scale = torch.where(reduce, self.scale * self.factor, self.scale)
        self._cooling = torch.where(reduce, self.cooldown, self._cooling)
        self._bad = torch.where(reduce, 0, self._bad)
        return self.scale


@dataclass(frozen=True)
class History:
    """Mean loss of every epoch, ``[epochs, G]``, and the epoch each net was kept from."""

    train: Tensor
    validation: Tensor
    kept: Tensor


def train(
    model: nn.Module,
    days: Days,
    validation: Days | None,
    *,
    seeds: list[int],
    epochs: int,
    batches: int,
    lr: float,
    lr_factor: float = 0.95,
    physics_weight: float = 0.0,
    clip: float | None = None,
) -> History:
    """Fit stacked nets with Adam; every net is trained exactly as it would be alone.

    Args:
        model: maps :class:`Days` to a :class:`Forecast`; every parameter's first dimension is the net.
        days: training seasons.
        validation: after every epoch each net keeps its weights if its own loss here is its lowest so far.
            ``None``: the last epoch's weights stay.
        seeds: one for each net, for the order of its seasons.
        epochs: passes over the seasons.
        batches: steps in an epoch; a net's seasons are divided among them.
        lr: Adam's learning rate; ``lr_factor`` is the plateau's (patience 10, cooldown 10).
        physics_weight: p of ``(1 - p) loss + p mean((output - stock output)^2)``, over all days, where
            ``days.stock`` is given.
        clip: largest gradient norm of a net, or ``None``.

    Raises:
        DataError: if a loss is not finite; names the epoch.
    """
    nets, n_seasons = days.cultivar.shape
    parameters = list(model.parameters())
    optimizer = torch.optim.Adam(parameters, lr=lr)
    plateau = Plateau(nets, factor=lr_factor)
    order = [torch.Generator().manual_seed(int(s)) for s in seeds]
    best = _Best(parameters, nets)
    scale = plateau.scale
    losses, checks = [], []
    for epoch in range(epochs):
        total = torch.zeros(nets)
        shuffled = torch.stack([torch.randperm(n_seasons, generator=g) for g in order])
        for rows in shuffled.chunk(batches, 1):
            optimizer.zero_grad(set_to_none=True)
            loss = _loss(model, take(days, rows), physics_weight)
            loss.sum().backward()
            if clip is not None:
                _clip(parameters, clip)
            _step(optimizer, parameters, scale)
            total = total + loss.detach() * rows.shape[1] / n_seasons
        if not torch.isfinite(total).all():
            raise DataError(f"crop-hybrid: the training loss is not finite in epoch {epoch + 1}; lower lr")
        losses.append(total)
        checks.append(total if validation is None else evaluate(model, validation))
        scale = plateau.step(checks[-1])
        if validation is not None:
            best.note(epoch, checks[-1])
    if validation is None:
        kept = torch.full((nets,), epochs - 1)
    else:
        kept = best.restore()
    return History(torch.stack(losses), torch.stack(checks), kept)


class _Best:
    """The weights of every net at its own best epoch."""

    def __init__(self, parameters: list[nn.Parameter], nets: int) -> None:
        self.parameters = parameters
        self.weights = [p.detach().clone() for p in parameters]
        self.lowest = torch.full((nets,), float("inf"), dtype=torch.float64)
        self.epoch = torch.zeros(nets, dtype=torch.long)

    def note(self, epoch: int, losses: Tensor) -> None:
        """Keep the weights of the nets whose loss ``[G]`` is their lowest so far."""
        better = losses.double() < self.lowest
        self.lowest = torch.where(better, losses.double(), self.lowest)
        self.epoch = torch.where(better, epoch, self.epoch)
        for kept, p in zip(self.weights, self.parameters, strict=True):
            kept[better] = p.detach()[better]

    def restore(self) -> Tensor:
        """Put the kept weights back; returns each net's epoch ``[G]``."""
        with torch.no_grad():
            for kept, p in zip(self.weights, self.parameters, strict=True):
                p.copy_(kept)
        return self.epoch


def evaluate(model: Forecaster, days: Days) -> Tensor:
    """Masked loss of each net, ``[G]``, without a graph."""
    with torch.no_grad():
        return masked_mse(model(days).output, days.target, days.observed)


def take(days: Days, rows: Tensor) -> Days:
    """Seasons ``rows [G, b]`` of each net."""
    nets = torch.arange(len(rows)).unsqueeze(1)

    def pick(x: Tensor) -> Tensor:
        return x.transpose(1, 2)[nets, rows].transpose(1, 2)

    return Days(
        pick(days.features), pick(days.temperature), pick(days.day_length),
        days.cultivar[nets, rows], pick(days.target), pick(days.observed),
        None if days.stock is None else pick(days.stock),
    )  # fmt: skip


def _loss(model: nn.Module, batch: Days, physics_weight: float) -> Tensor:
    output = model(batch).output
    loss = masked_mse(output, batch.target, batch.observed)
    if not physics_weight or batch.stock is None:
        return loss
    return (1 - physics_weight) * loss + physics_weight * (output - batch.stock).square().mean((1, 2))


def _clip(parameters: list[nn.Parameter], largest: float) -> None:
    grads = [p.grad for p in parameters if p.grad is not None]
    norm = torch.stack([g.flatten(1).square().sum(1) for g in grads]).sum(0).sqrt()
    factor = (largest / norm.clamp(min=1e-12)).clamp(max=1)
    for g in grads:
        g.mul_(factor.view(-1, *[1] * (g.ndim - 1)))


def _step(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], scale: Tensor) -> None:
    """One step with each net's own learning rate: Adam's moments do not depend on the weights, so the step
    may be shortened afterwards."""
    if bool((scale == 1).all()):
        optimizer.step()
        return
    before = [p.detach().clone() for p in parameters]
    optimizer.step()
    with torch.no_grad():
        for p, old in zip(parameters, before, strict=True):
            p.copy_(torch.lerp(old, p, scale.to(p).view(-1, *[1] * (p.ndim - 1))))
