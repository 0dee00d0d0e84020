"""The arms of the system ``madam``: sizes of steps, and excess losses on pairs of quadratics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from statistics import fmean

import torch
from torch import Tensor, nn

from ... import balance
from ...optim import MAdam, TaskOptimizer
from ._ablated import Ablated

PREFERENCES = (0.05, 0.25, 0.5, 0.75, 0.95)
NAMES = ["one", "two"]
ARMS = ("adam", "madam", "madam_past", "madam_diagonal")
BETA2 = 0.999
_RAMP = 20  # the ramp takes this part of the steps


@dataclass(frozen=True)
class Sizes:
    """Of one scale: steps of the mechanism (half of them measured), bursts, steps before and after a change."""

    steps: int = 400
    bursts: int = 20
    before: int = 200
    after: int = 100


DEFAULT = Sizes()
SMOKE = Sizes(steps=24, bursts=3, before=4, after=4)
PAPER = Sizes(steps=10_000, bursts=100, before=3000, after=1000)

RATES = (3e-3, 1e-2, 3e-2, 1e-1, 3e-1)
TRAINED = ("adam", "madam")
"""Arms that are also asked where training ends."""
BURST_RATES = dict.fromkeys(TRAINED, 1e-1)
FRONT_RATES = dict.fromkeys(TRAINED, 3e-2)


def arms(sizes: Sizes) -> dict[str, Callable[[int], dict[str, float]]]:
    """Every arm: seed in, metrics out."""
    return {name: partial(run_arm, name, sizes) for name in ARMS}


def run_arm(name: str, sizes: Sizes, seed: int) -> dict[str, float]:
    """All that an arm is tried on."""
    found = mechanism(name, sizes, seed) | {
        f"correlated_{k}": v for k, v in mechanism(name, sizes, seed, correlation=0.9, scale=1.0).items()
    }
    if name not in TRAINED:
        return found
    return found | {
        "burst_excess": bursts(name, sizes, seed, BURST_RATES[name]),
        "burst_excess_shared": bursts(name, sizes, seed, BURST_RATES["adam"]),
        "front_error": changed(name, sizes, seed, FRONT_RATES[name]),
    }


def optimizer_of(name: str, p: Tensor, lr: float, beta1: float, ramp: int) -> torch.optim.Optimizer:
    """The arm's optimizer."""
    adam = torch.optim.Adam([p], lr=lr, betas=(beta1, BETA2))
    if name == "adam":
        return adam
    if name == "madam_past":
        return Ablated(adam, "past", beta2=BETA2, eps=1e-8)
    if name == "madam_diagonal":
        return Ablated(adam, "diagonal", beta2=BETA2, eps=1e-8)
    return MAdam(adam, NAMES, ramp_steps=ramp)


def take(optimizer: torch.optim.Optimizer, p: Tensor, losses: dict[str, Tensor], weight: float) -> Tensor:
    """One step at weights ``(weight, 1 - weight)``; what it moved by."""
    optimizer.zero_grad()
    before = p.detach().clone()
    constant = balance.Constant(weights={"one": weight, "two": 1 - weight})
    if isinstance(optimizer, TaskOptimizer):
        optimizer.step(balance.backward(losses, constant, shared=[p], rows=optimizer.rows(NAMES)))
    else:
        balance.backward(losses, constant)
        optimizer.step()
    return before - p.detach()


def mechanism(
    name: str, sizes: Sizes, seed: int, *, correlation: float = 0.0, scale: float = 10.0, width: int = 200
) -> dict[str, float]:
    """Weights drawn anew each step, Gaussian gradients of sizes 1 and ``scale``: the mean size of steps by weight.

    ``size_ratio``: largest over smallest of the five; ``cosine``: between balanced gradient and step.
    """
    generator = torch.Generator().manual_seed(seed)
    p = nn.Parameter(torch.zeros(width))
    optimizer = optimizer_of(name, p, 1.0, 0.0, 0)
    found: dict[float, list[float]] = {weight: [] for weight in PREFERENCES}
    cosines = []
    for step in range(sizes.steps):
        weight = PREFERENCES[int(torch.randint(5, (), generator=generator))]
        rows = torch.randn(2, width, generator=generator)
        rows[1] = scale * (correlation * rows[0] + (1 - correlation**2) ** 0.5 * rows[1])
        moved = take(optimizer, p, {"one": (p * rows[0]).sum(), "two": (p * rows[1]).sum()}, weight)
        if step >= sizes.steps // 2:
            found[weight].append(float(moved.square().mean().sqrt()))
            cosines.append(float(torch.cosine_similarity(weight * rows[0] + (1 - weight) * rows[1], moved, dim=0)))
    means = {weight: fmean(values) for weight, values in found.items() if values}
    named = {f"size_{round(100 * weight):02d}": means.get(weight, 0.0) for weight in PREFERENCES}
    return {"size_ratio": max(means.values()) / min(means.values()), "cosine": fmean(cosines), **named}


@dataclass(frozen=True)
class Pair:
    """Two quadratics ``(x - a_i)^T H_i (x - a_i) / 2`` with diagonal H_i and noisy gradients."""

    curvatures: Tensor
    places: Tensor

    @classmethod
    def draw(cls, seed: int, width: int = 50) -> Pair:
        """Curvatures log-uniform in [1e-3, 1e2], in another order for each objective; places +1 and -1."""
        generator = torch.Generator().manual_seed(1000 + seed)
        values = 10 ** (5 * torch.rand(width, generator=generator) - 3)
        orders = [torch.randperm(width, generator=generator) for _ in range(2)]
        return cls(torch.stack([values[o] for o in orders]), torch.stack([torch.ones(width), -torch.ones(width)]))

    def losses(self, p: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Losses whose gradients carry noise of half their length."""
        exact = self.curvatures * (p.detach() - self.places)
        noise = torch.randn(exact.shape, generator=generator)
        rows = exact + 0.5 * exact.norm(dim=1, keepdim=True) * noise / exact.shape[1] ** 0.5
        return {name: (p * row).sum() for name, row in zip(NAMES, rows, strict=True)}

    def best(self, weight: float) -> Tensor:
        """The point of the front at weights ``(weight, 1 - weight)``."""
        weights = torch.tensor([[weight], [1 - weight]])
        return (weights * self.curvatures * self.places).sum(0) / (weights * self.curvatures).sum(0)

    def excess(self, p: Tensor, weight: float) -> float:
        """The weighted loss above the best one, over the best one."""
        weights = torch.tensor([weight, 1 - weight])

        def value(x: Tensor) -> float:
            return float((weights * (self.curvatures * (x - self.places) ** 2).sum(1) / 2).sum())

        least = value(self.best(weight))
        return (value(p.detach()) - least) / least


def bursts(name: str, sizes: Sizes, seed: int, lr: float, length: int = 20) -> float:
    """Weights (0.9, 0.1) and (0.1, 0.9) by turns, 20 steps each: mean excess at the end of each later burst."""
    pair, generator = Pair.draw(seed), torch.Generator().manual_seed(seed)
    p = nn.Parameter(torch.zeros(50))
    optimizer = optimizer_of(name, p, lr, 0.9, sizes.bursts * length // _RAMP)
    found = []
    for weight in _by_turns(sizes.bursts):
        for _ in range(length):
            take(optimizer, p, pair.losses(p, generator), weight)
        found.append(pair.excess(p, weight))
    return fmean(found[len(found) // 3 :])


def changed(name: str, sizes: Sizes, seed: int, lr: float) -> float:
    """Weight 1/2 for long, then each of five: root mean square distance to the front's points, averaged."""
    errors = []
    for weight in PREFERENCES:
        pair, generator = Pair.draw(seed), torch.Generator().manual_seed(seed)
        p = nn.Parameter(torch.zeros(50))
        optimizer = optimizer_of(name, p, lr, 0.9, (sizes.before + sizes.after) // _RAMP)
        for step in range(sizes.before + sizes.after):
            take(optimizer, p, pair.losses(p, generator), 0.5 if step < sizes.before else weight)
        errors.append(float((p.detach() - pair.best(weight)).square().mean().sqrt()))
    return fmean(errors)


def _by_turns(count: int) -> Iterator[float]:
    for i in range(count):
        yield 0.9 if i % 2 == 0 else 0.1
