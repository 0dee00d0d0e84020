"""The arms of ``sage`` and ``sage-speakers``: leave one domain out, and scores of quadratic problems."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ... import balance
from ...optim import SAGE, alignment, top_curvature, two_pass_step
from ._domains import Domain, Split, digit_domains, speaker_domains


@dataclass(frozen=True)
class Recipe:
    """An arm: radius, noise, how the ascent goes, how domains are balanced, how many times the steps."""

    rho: float = 0.0
    sigma: float = 0.0
    ascent: str = "polar"
    balancer: str = "mean"
    steps: int = 1


RECIPES: dict[str, Recipe] = {
    "erm": Recipe(),
    "erm_long": Recipe(steps=2),
    "sam": Recipe(rho=0.1, ascent="gradient"),
    "polar": Recipe(rho=0.1),
    "noise": Recipe(sigma=0.1),
    "sage": Recipe(rho=0.1, sigma=0.1),
    "cagrad": Recipe(balancer="cagrad"),
    "sage_cagrad": Recipe(rho=0.1, sigma=0.1, balancer="cagrad"),
}
SCORES = ("curvature_score", "alignment_score", "sum_score")


@dataclass(frozen=True)
class Sizes:
    """Of one scale. ``tuned``: arm -> (rho, sigma, learning rate)."""

    steps: int = 150
    batch: int = 32
    every: int = 15
    tuned: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    arms: tuple[str, ...] = tuple(RECIPES)


ONE_MEAN = ("erm", "erm_long", "sam", "polar", "noise", "sage")
"""Arms that average the domains."""
TUNED: dict[str, tuple[float, float, float]] = {
    "erm": (0.0, 0.0, 4e-3),
    "erm_long": (0.0, 0.0, 4e-3),
    "sam": (0.05, 0.0, 8e-3),
    "polar": (0.05, 0.0, 4e-3),
    "noise": (0.0, 0.1, 4e-3),
    "sage": (0.05, 0.1, 4e-3),
    "cagrad": (0.0, 0.0, 4e-3),
    "sage_cagrad": (0.05, 0.1, 8e-3),
}
TUNED_SPEAKERS: dict[str, tuple[float, float, float]] = {
    "erm": (0.0, 0.0, 8e-3),
    "erm_long": (0.0, 0.0, 8e-3),
    "sam": (0.05, 0.0, 8e-3),
    "polar": (0.05, 0.0, 4e-3),
    "noise": (0.0, 0.1, 4e-3),
    "sage": (0.05, 0.1, 8e-3),
}
DIGITS = Sizes(tuned=TUNED)
SMOKE = Sizes(steps=4, every=2, tuned=TUNED)
PAPER_DIGITS = Sizes(steps=1500, every=50, tuned=TUNED)
SPEAKERS = Sizes(tuned=TUNED_SPEAKERS, arms=ONE_MEAN)
SMOKE_SPEAKERS = Sizes(steps=4, every=2, tuned=TUNED_SPEAKERS, arms=ONE_MEAN)
PAPER_SPEAKERS = Sizes(steps=5000, every=300, tuned=TUNED_SPEAKERS, arms=ONE_MEAN)


def digit_arms(sizes: Sizes) -> dict[str, Callable[[int], dict[str, float]]]:
    """On digits; and scores, one an arm, on quadratics."""
    made: dict[str, Callable[[int], dict[str, float]]] = {name: partial(run_digits, name, sizes) for name in sizes.arms}
    return made | {name: partial(rank_pairs, name) for name in SCORES}


def speaker_arms(sizes: Sizes) -> dict[str, Callable[[int], dict[str, float]]]:
    """On spoken digits: seed s leaves speaker s (modulo six) out."""
    return {name: partial(run_speakers, name, sizes) for name in sizes.arms}


def run_digits(name: str, sizes: Sizes, seed: int) -> dict[str, float]:
    """The domain where the background misleads is held out."""
    return train(name, Split.of(list(digit_domains(seed)), 3, seed), sizes, seed)


def run_speakers(name: str, sizes: Sizes, seed: int) -> dict[str, float]:
    """One speaker is held out."""
    domains = list(speaker_domains())
    return train(name, Split.of(domains, seed % len(domains), seed), sizes, seed)


def train(name: str, split: Split, sizes: Sizes, seed: int) -> dict[str, float]:
    """Train an arm on the training domains, a batch of each a step; judge by the domain held out.

    ``accuracy``: of the checkpoint with the best accuracy on the validation parts of the training domains;
    ``oracle``: best accuracy of any checkpoint on the held-out domain itself, which nobody could choose by;
    ``valid``: what the choice was made by.
    """
    recipe = RECIPES[name]
    rho, sigma, lr = sizes.tuned.get(name, (recipe.rho, recipe.sigma, 1e-3))
    torch.manual_seed(seed)
    width = split.train[0].inputs.shape[1]
    model = nn.Sequential(nn.Linear(width, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))
    options: dict[str, Any] = {"rho": rho, "sigma": sigma, "ascent": recipe.ascent, "seed": seed}
    optimizer = SAGE(torch.optim.Adam(model.parameters(), lr=lr), **options)
    names = [domain.name for domain in split.train]
    mean = balance.Constant(weights=dict.fromkeys(names, 1 / len(names)))
    balancer = mean if recipe.balancer == "mean" else balance.create(recipe.balancer)
    generator = torch.Generator().manual_seed(seed)
    checks = []
    for step in range(1, recipe.steps * sizes.steps + 1):
        batch = [d.rows(torch.randint(len(d), (sizes.batch,), generator=generator)) for d in split.train]
        losses = partial(_losses, model, batch)
        two_pass_step(model, losses, optimizer, balancer, shared=model)
        if step % sizes.every == 0:
            valid = sum(accuracy(model, d) for d in split.valid) / len(split.valid)
            checks.append((valid, accuracy(model, split.held_out)))
    best = max(checks, key=lambda pair: pair[0])  # the first of equals
    return {"accuracy": best[1], "oracle": max(held for _, held in checks), "valid": best[0]}


def _losses(model: nn.Module, batch: list[Domain]) -> dict[str, Tensor]:
    raw = model(torch.cat([d.inputs for d in batch])).split([len(d) for d in batch])
    return {d.name: nn.functional.cross_entropy(r, d.labels) for d, r in zip(batch, raw, strict=True)}


@torch.no_grad()
def accuracy(model: nn.Module, domain: Domain) -> float:
    """Part of the examples that are named rightly."""
    return float((model(domain.inputs).argmax(1) == domain.labels).float().mean())


@dataclass(frozen=True)
class Quadratics:
    """``L_i = (x - mu_i)^T H (x - mu_i) / 2``, H diagonal ``[d]``, at the x that minimises their mean."""

    curvatures: Tensor
    places: Tensor

    def risk(self, deviations: Tensor, drift: float = 0.1) -> float:
        """Expected loss of a new mu of the same law at x, x itself off by ``drift`` in each entry (closed form)."""
        spread = (self.curvatures * deviations**2).sum()
        return float((spread * (1 + 1 / len(self.places)) + drift**2 * self.curvatures.sum()) / 2)

    def scores(self) -> dict[str, float]:
        """The curvature of the mean loss, ``tr(H^-1 Sigma_g)``, and their sum (curvature times the drift's square)."""
        p = nn.Parameter(self.places.mean(0))
        losses = {str(i): (self.curvatures * (p - mu) ** 2).sum() / 2 for i, mu in enumerate(self.places)}
        mean = torch.stack(list(losses.values())).mean()
        flat = float(top_curvature(mean, [p], iterations=60)) * 0.1**2
        aligned = float(alignment(losses, [p]))
        return {"curvature_score": flat, "alignment_score": aligned, "sum_score": flat + aligned}


def rank_pairs(score: str, seed: int) -> dict[str, float]:
    """Two pairs of problems: the same curvature with alignment 100 times apart, and the converse.

    ``right``: part of the pairs that the score puts in the order of their risks; scores within a factor of 1.5 of each
    other (1.01 for the sum) name no order.
    """
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randn(20, 10, generator=generator, dtype=torch.float64)
    h = torch.ones(10, dtype=torch.float64)
    steep = torch.cat([100 * h[:5], h[:5]])
    flat_spread, steep_spread = (torch.zeros(10, dtype=torch.float64) for _ in range(2))
    flat_spread[5:], steep_spread[:5] = 0.5, 0.5
    right = 0
    pairs = (
        ((steep, flat_spread), (steep, steep_spread)),  # same H; spread along flat or steep directions
        ((0.01 * steep, 10 * flat_spread), (100 * 0.01 * steep, flat_spread)),  # same spread of losses; H 100 times
    )
    for first, second in pairs:
        problems = [(Quadratics(c, draws * s), s) for c, s in (first, second)]
        risks = [problem.risk(s) for problem, s in problems]
        found = [problem.scores()[score] for problem, _ in problems]
        tie = 1.01 if score == "sum_score" else 1.5
        told = max(found) > tie * min(found)
        right += told and (found[0] < found[1]) == (risks[0] < risks[1])
    return {"right": right / 2}
