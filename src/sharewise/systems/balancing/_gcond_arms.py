"""The arms of the system ``gcond``: every way to make one step of K batches, on the same images."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ...balance import GCond, create
from ...optim import GradientMomentum
from ._accumulated_step import AccumulatedStep
from ._masked import MaskedAutoencoder, MaskedImages, digits, reconstruction_errors, reconstruction_losses

_CLIP, _BETA, _BETA2, _DECAY = 50.0, 0.9, 0.95, 0.05  # the paper's
_WARM, _LEAST = 2 / 15, 5e-3  # share of the steps, and last learning rate over the largest; the paper's


@dataclass(frozen=True)
class Sizes:
    """Of one scale: optimizer steps of ``batches`` batches of ``batch`` images, the network, and training images.

    ``lr``, where given, replaces the learning rates, which were tuned for the default scale.
    """

    steps: int = 100
    batches: int = 8
    batch: int = 16
    width: int = 128
    narrow: int = 32
    train: int = 1000
    estimates: int = 48
    lr: float | None = None


DEFAULT = Sizes()
SMOKE = Sizes(steps=3, batches=2, batch=8, width=32, narrow=8, train=200, estimates=4)
PAPER = Sizes(steps=4000, batches=24, batch=256, width=1024, narrow=256, train=1200, lr=2e-4)


@dataclass(frozen=True)
class Recipe:
    """What an arm is: the balancer and its options, how batches make a step, whose momentum, and the learning rate.

    ``inner``: momentum before the optimizer, which then has none. ``one``: the only loss trained on. ``step_each``: the
    optimizer steps after every batch.
    """

    lr: float
    balancer: str = "equal"
    mode: Literal["stochastic", "sequential", "each"] = "each"
    inner: bool = False
    one: str | None = None
    step_each: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


_GCOND = {"changes": 3}  # the paper's

# How learning rates were chosen: _gcond_tuning.py.
RECIPES: dict[str, Recipe] = {
    "sum": Recipe(2e-2),
    "sum-momentum": Recipe(5e-3, inner=True),
    "pcgrad": Recipe(2e-2, "pcgrad"),
    "cagrad": Recipe(2e-2, "cagrad"),
    "graddrop": Recipe(2e-2, "graddrop"),
    "gradnorm": Recipe(2e-2, "gradnorm", options={"alpha": 1.5, "lr": 2.5e-2}),
    "pcgrad-accumulated": Recipe(5e-3, "pcgrad", "sequential", inner=True),
    "pcgrad-every-batch": Recipe(5e-3, "pcgrad", step_each=True),
    "gcond": Recipe(5e-3, "gcond", "stochastic", inner=True, options=_GCOND),
    "gcond-sequential": Recipe(5e-3, "gcond", "sequential", inner=True, options=_GCOND),
    "gcond-one-batch": Recipe(5e-3, "gcond", "each", inner=True, options=_GCOND),
    "gcond-raw": Recipe(1.25e-2, "gcond", "stochastic", options=_GCOND),
}
ALONE: dict[str, Recipe] = {"l1": Recipe(1.25e-2, one="l1"), "ssim": Recipe(2e-2, one="ssim")}
LOW = 10.0  # the arms "-low" divide the learning rate of the weighted sum by this
LOW_ARMS = ("sum", "sum-momentum", "gcond")


@lru_cache(maxsize=2)
def _images(seed: int, train: int) -> tuple[MaskedImages, MaskedImages, MaskedImages]:
    return digits(seed, train)


def network(sizes: Sizes, seed: int) -> MaskedAutoencoder:
    """The untrained network of a seed: the same for all arms."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MaskedAutoencoder(16, sizes.width, sizes.narrow)


def schedule(step: int, steps: int) -> float:
    """Learning rate over its largest: a linear rise over 2/15 of the steps, then a cosine down to 1/200."""
    warm = max(1, round(_WARM * steps))
    if step < warm:
        return (step + 1) / warm
    return _LEAST + (1 - _LEAST) * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm))) / 2


class Trained:
    """A network trained after a recipe, what its steps cost, and how often the losses were found to conflict."""

    def __init__(self, recipe: Recipe, sizes: Sizes, seed: int, images: MaskedImages) -> None:
        self.model = network(sizes, seed)
        self.conflicts: list[bool] = []
        self.passes = 0
        self._train(recipe, sizes, torch.Generator().manual_seed(seed), images)

    def _train(self, recipe: Recipe, sizes: Sizes, generator: torch.Generator, images: MaskedImages) -> None:
        losses = reconstruction_losses(images)
        if recipe.one is not None:
            losses = {recipe.one: losses[recipe.one]}
        batches, steps = (1, sizes.steps * sizes.batches) if recipe.step_each else (sizes.batches, sizes.steps)
        beta = 0.0 if recipe.inner else _BETA
        optimizer = torch.optim.AdamW(self.model.parameters(), recipe.lr, betas=(beta, _BETA2), weight_decay=_DECAY)
        rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule(step, steps))
        balancer = create(recipe.balancer, tasks=list(losses), **recipe.options)
        make = AccumulatedStep(
            self.model, losses, balancer, batches=batches, mode=recipe.mode,
            momentum=GradientMomentum(self.model.parameters(), beta=_BETA) if recipe.inner else None,
        )  # fmt: skip
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            make(lambda: images.draw(sizes.batch, generator))
            nn.utils.clip_grad_norm_(self.model.parameters(), _CLIP)
            optimizer.step()
            rates.step()
            self.passes += make.passes
            if isinstance(balancer, GCond) and balancer.decision is not None:
                self.conflicts.append(bool(balancer.decision.won.any()))

    def metrics(self, images: MaskedImages) -> dict[str, float]:
        """Errors on these images; passes; and the share of decisions that met a conflict, for GCond."""
        found = reconstruction_errors(self.model, images) | {"passes": float(self.passes)}
        if self.conflicts:
            found["conflicts"] = sum(self.conflicts) / len(self.conflicts)
        return found


def recipe_of(arm: str, sizes: Sizes, lr: float | None = None) -> Recipe:
    """The recipe of an arm at these sizes, or at another learning rate."""
    if arm.endswith("-low"):
        recipe = replace(RECIPES[arm.removesuffix("-low")], lr=RECIPES["sum"].lr / LOW)
    else:
        recipe = RECIPES[arm]
    given = lr if lr is not None else sizes.lr
    return recipe if given is None else replace(recipe, lr=given)


def cosine_spread(sizes: Sizes, seed: int) -> dict[str, float]:
    """Variances of the cosine between gradients estimated from one batch each, and from K each, and their ratio.

    Early, when warm-up ends and the losses conflict most, and late, after training (``_late``); each gradient from
    batches of its own.
    """
    found: dict[str, float] = {}
    for stage, steps in (("", max(1, round(_WARM * sizes.steps))), ("_late", sizes.steps)):
        one, many = _variances(replace(sizes, steps=steps), seed)
        found |= {f"variance_one_batch{stage}": one, f"variance_k_batches{stage}": many}
        found[f"variance_ratio{stage}"] = one / many
    return found


def _variances(sizes: Sizes, seed: int) -> tuple[float, float]:
    images = _images(seed, sizes.train)[0]
    model = Trained(recipe_of("sum", sizes), sizes, seed, images).model
    generator = torch.Generator().manual_seed(seed)
    parameters = list(model.parameters())
    losses = reconstruction_losses(images)

    def gradient(name: str, size: int) -> Tensor:
        inputs, target = images.draw(size, generator)
        found = torch.autograd.grad(losses[name](model(inputs), target), parameters)
        return torch.cat([g.flatten() for g in found])

    def variance(size: int) -> float:
        pairs = [(gradient("l1", size), gradient("ssim", size)) for _ in range(sizes.estimates)]
        return float(torch.stack([torch.cosine_similarity(a, b, dim=0) for a, b in pairs]).double().var())

    return variance(sizes.batch), variance(sizes.batch * sizes.batches)


def arms(sizes: Sizes) -> dict[str, Callable[[int], dict[str, float]]]:
    """Every arm: seed in, errors on the test images out."""

    def trained(arm: str) -> Callable[[int], dict[str, float]]:
        def run(seed: int) -> dict[str, float]:
            train, _, test = _images(seed, sizes.train)
            return Trained(recipe_of(arm, sizes), sizes, seed, train).metrics(test)

        return run

    def alone(seed: int) -> dict[str, float]:
        train, _, test = _images(seed, sizes.train)
        found = {
            one: Trained(replace(recipe, lr=sizes.lr or recipe.lr), sizes, seed, train) for one, recipe in ALONE.items()
        }
        return {one: result.metrics(test)[one] for one, result in found.items()} | {
            "passes": float(sum(result.passes for result in found.values()))
        }

    low = {f"{arm}-low": trained(f"{arm}-low") for arm in LOW_ARMS}
    estimates = {"estimates": lambda seed: cosine_spread(sizes, seed)}
    return {arm: trained(arm) for arm in RECIPES} | {"single-task": alone} | low | estimates
