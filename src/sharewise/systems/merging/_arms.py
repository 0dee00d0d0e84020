"""The arms of ``model-merging`` and its other beds: every method on the same fine-tunes, with one budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import torch

from ...merge import (
    Ensemble,
    Range,
    Surgery,
    TwinMerging,
    WEMoE,
    adamerging,
    collect_fisher,
    collect_gram,
    regmean_plus_plus,
    search,
)
from ._ablations import plain_sum, spectral, truncated_sum, unrescaled_emr
from ._bed import Bed, State
from ._digits import SMOKE_SIZES, Sizes
from ._emoji import EmojiSizes
from ._text import TextSizes
from ._training import Recipe
from ._tuned import REACH, Chosen, Reach, States, Way, candidates, choose, judged, report, scaled, sizes
from ._ways import PUBLISHED, WAYS

Metrics = dict[str, float]
HEADS = ("head",)


@dataclass(frozen=True)
class Scale:
    """Of one scale.

    Attributes:
        bed: what is merged.
        budget: settings that a method may try.
        samples: inputs a task for methods with data.
        steps: of methods that learn.
        reach: of the size of merged task vectors.
        published: methods have the parameters of their papers, and the budget is for the size.
    """

    bed: Sizes | EmojiSizes | TextSizes = field(default_factory=Sizes)
    budget: int = 48
    samples: int = 256
    steps: int = 150
    reach: Reach = REACH
    published: bool = False

    def way(self, name: str) -> Way:
        """What a method may try."""
        return (PUBLISHED if self.published else WAYS)[name]

    def candidates(
        self, bed: Bed, name: str, statistics: Mapping[str, Any] | None = None
    ) -> Iterator[tuple[dict[str, float], States]]:
        """Every setting of a method within the budget."""
        return candidates(bed, self.way(name), statistics, self.budget, self.reach)


DEFAULT = Scale()
SMOKE = Scale(SMOKE_SIZES, budget=6, samples=16, steps=2)
PAPER = Scale(steps=1000)
EMOJI = Scale(EmojiSizes())
EMOJI_SMOKE = Scale(EmojiSizes((16, 16, 16), Recipe(1), Recipe(1), 300), budget=6, samples=16, steps=2)
EMOJI_PAPER = Scale(EmojiSizes(), steps=1000)


@lru_cache(maxsize=4)
def _statistics(scale: Scale, seed: int, kind: str) -> Mapping[str, Any] | None:
    """What methods with data look at: unlabelled training inputs of every task; of each once."""
    if not kind:
        return None
    bed = scale.bed.of(seed)
    batches = bed.inputs("train", scale.samples)
    if kind == "fisher":
        return {t: _below_encoder(collect_fisher(bed.expert(t), batches[t], samples=2, seed=seed)) for t in bed.tasks}
    return {t: collect_gram(bed.expert(t), batches[t], bias=True) for t in bed.tasks}


def _below_encoder(statistics: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in statistics.items() if name.startswith("encoder.")}


def _judge(bed: Bed, chosen: Chosen) -> Metrics:
    return report(bed, bed.accuracies(chosen.states, "test"), chosen)


def _way(name: str, scale: Scale, seed: int) -> Metrics:
    bed = scale.bed.of(seed)
    statistics = _statistics(scale, seed, scale.way(name).statistics)
    return _judge(bed, choose(bed, scale.candidates(bed, name, statistics)))


def _base(scale: Scale, seed: int) -> Metrics:
    bed = scale.bed.of(seed)
    return report(bed, bed.accuracies(bed.for_all(bed.base), "test"))


def _experts(scale: Scale, seed: int) -> Metrics:
    bed = scale.bed.of(seed)
    return report(bed, bed.best)


def _sized(bed: Bed, state: State, scale: Scale) -> Chosen:
    """The size that is best on validation data."""
    tried = (
        ({"size": size}, bed.for_all(scaled(bed.base, state, size))) for size in sizes(1, scale.budget, scale.reach)
    )
    return choose(bed, tried)


def _spectral(merge: Callable[[torch.Tensor], torch.Tensor], scale: Scale, seed: int) -> Metrics:
    bed = scale.bed.of(seed)
    return _judge(bed, _sized(bed, spectral(bed, merge), scale))


def _emr_unrescaled(scale: Scale, seed: int) -> Metrics:
    bed = scale.bed.of(seed)
    return report(bed, bed.accuracies(unrescaled_emr(bed), "test"))


def _regmean_plus_plus(scale: Scale, seed: int) -> Metrics:
    bed = scale.bed.of(seed)
    batches = bed.inputs("train", scale.samples)

    def tried() -> Iterator[tuple[dict[str, float], States]]:
        for options in scale.way("regmean").options:
            share = options["off_diagonal"]
            state = regmean_plus_plus(bed.model, bed.states, batches, off_diagonal=share, bias=True, exclude=HEADS)
            yield {"off_diagonal": share}, bed.for_all(state)

    return _judge(bed, choose(bed, tried()))


def _adamerging(density: float | None, scale: Scale, seed: int) -> Metrics:
    """Entropy on the validation inputs; their labels choose the learning rate."""
    bed = scale.bed.of(seed)
    batches = bed.inputs("validation", size=32)
    base = {**bed.base, "head.weight": next(iter(bed.tasks.values())).head}

    def tried() -> Iterator[tuple[dict[str, float], States]]:
        for rate in (1e-3, 1e-2):
            found = adamerging(
                bed.model, bed.states, base, batches, density=density, steps=scale.steps, learning_rate=rate,
                exclude=HEADS,
            )  # fmt: skip
            yield {"learning_rate": rate}, bed.for_all(found.state)

    return _judge(bed, choose(bed, tried()))


def _arithmetic(bed: Bed, scale: Scale) -> Chosen:
    return choose(bed, scale.candidates(bed, "task_arithmetic"))


def _twin(scale: Scale, seed: int) -> Metrics:
    bed = scale.bed.of(seed)
    size = _arithmetic(bed, scale).setting["size"]
    merged = TwinMerging(
        bed.model, bed.states, bed.base, at="encoder", width=bed.model.width, scale=size, rank=0.2, exclude=HEADS
    )
    merged.fit(bed.inputs("train", scale.samples, 32), steps=scale.steps)
    return judged(bed, lambda task, x: merged(x, task=task))


def _wemoe(scale: Scale, seed: int) -> Metrics:
    bed = scale.bed.of(seed)
    size = _arithmetic(bed, scale).setting["size"]
    blocks = {name: len(bed.base[f"{name}.weight"][0]) for name in bed.model.layers()}
    merged = WEMoE(bed.model, bed.states, bed.base, blocks=blocks, scale=size, exclude=HEADS)
    merged.fit(bed.inputs("validation", size=16), steps=max(1, scale.steps // 2), learning_rate=1e-3)
    return judged(bed, lambda task, x: merged(x, task=task))


def _surgery(scale: Scale, seed: int) -> Metrics:
    bed = scale.bed.of(seed)
    state = next(iter(_arithmetic(bed, scale).states.values()))
    merged = Surgery(bed.model, bed.states, state, at="encoder", width=bed.model.width, exclude=HEADS)
    merged.fit(bed.inputs("train", scale.samples, 32), steps=scale.steps)
    return judged(bed, lambda task, x: merged(x, task=task))


def _ensemble(scale: Scale, seed: int) -> Metrics:
    bed = scale.bed.of(seed)
    merged = Ensemble(bed.model, bed.states, exclude=HEADS)
    return judged(bed, lambda task, x: merged(x, task=task))


def _evolution(scale: Scale, seed: int) -> Metrics:
    """DARE and TIES with a size for each third of the depth and a density, found by CMA-ES."""
    bed = scale.bed.of(seed)
    found = search(
        "dare_ties",
        bed.experts,
        bed.base,
        evaluate=lambda state: bed.accuracies(bed.for_all(state), "validation"),
        space={"lambda": Range(*scale.reach, log=True, layers=3), "density": Range(0.1, 1.0)},
        trials=scale.budget,
        sampler="cmaes",
        seed=seed,
        threads=1,
        weight=1.0,
    )
    sizes = dict(zip(("size_first", "size_middle", "size_last"), found.parameters["lambda"], strict=True))
    setting = {**sizes, "density": found.parameters["density"]}
    return _judge(bed, Chosen(setting, found.best.value, bed.for_all(found.state)))


Arm = Callable[[Scale, int], Metrics]

ARMS: dict[str, Arm] = {
    "base": _base,
    "experts": _experts,
    **{name: partial(_way, name) for name in WAYS},
    "regmean_plus_plus": _regmean_plus_plus,
    "adamerging": partial(_adamerging, None),
    "adamerging_plus_plus": partial(_adamerging, 0.2),
    "twin": _twin,
    "wemoe": _wemoe,
    "surgery": _surgery,
    "ensemble": _ensemble,
    "evolution": _evolution,
    "tsv_not_orthogonal": partial(_spectral, truncated_sum),
    "iso_c_not_flat": partial(_spectral, plain_sum),
    "emr_not_rescaled": _emr_unrescaled,
    "regmean_plus_plus_unmerged": partial(_way, "regmean"),
}


def arms(scale: Scale, chosen: Mapping[str, Arm] = ARMS) -> dict[str, Callable[[int], Metrics]]:
    """Every arm: seed in, metrics out."""
    return {name: partial(arm, scale) for name, arm in chosen.items()}
