"""The arms of the system ``bmm``: ways to use an anchor; the metrics say which anchor."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial

import torch
from torch import Tensor

from ...merge import BayesianMerge, bayesian_search, collect_gram, merge_states, regmean_plus_plus
from ...merge._posterior import task_vector_gram
from ._ablations import shuffled
from ._bed import Bed, Part, State
from ._digits import SMOKE_SIZES, Sizes
from ._tuned import candidates, choose, mean
from ._ways import WAYS

ANCHORS = ("task_arithmetic", "tsv", "wudi", "iso_c")
TOLD = ("task_arithmetic", "tsv")
"""Anchors of the ablations."""
OFF_DIAGONAL = 0.9
SHARES = (0.25, 0.75)
"""Of measured Gram matrices in the hybrid."""
RANGE = (-3.0, 3.0)
"""Of the logarithm to base 10 of the precision."""


@dataclass(frozen=True)
class Scale:
    """Of one scale: the bed, samples of each task for Gram matrices, trials of every search, and posterior draws."""

    bed: Sizes = field(default_factory=Sizes)
    samples: int = 128
    trials: int = 40
    draws: int = 20


DEFAULT = Scale()
SMOKE = Scale(SMOKE_SIZES, 32, 3, 2)
PAPER = Scale(samples=256, trials=100)


class Run:
    """What all arms of one seed share: the bed, the anchors, the Gram matrices."""

    def __init__(self, scale: Scale, seed: int) -> None:
        self.scale, self.seed, self.bed = scale, seed, scale.bed.of(seed)
        batches = self.bed.inputs("train", scale.samples)
        self.grams = {t: collect_gram(self.bed.expert(t), batches[t], bias=True) for t in self.bed.tasks}
        self.anchors: dict[str, State] = {}
        for name in ANCHORS:
            chosen = choose(self.bed, candidates(self.bed, WAYS[name], budget=scale.trials))
            self.anchors[name] = dict(next(iter(chosen.states.values())))

    def accuracy(self, state: Mapping[str, Tensor], part: Part = "test", count: int | None = None) -> float:
        """Mean over tasks."""
        return mean(self.bed.accuracies(self.bed.for_all(state), part, count))

    def measured(self, anchor: State) -> BayesianMerge:
        """From the Gram matrices."""
        return BayesianMerge(self.bed.experts, anchor, self.grams, base=self.bed.base, off_diagonal=OFF_DIAGONAL)

    def guessed(self, anchor: State, share: float = 0.0, off_diagonal: float = 1.0) -> BayesianMerge:
        """From task vectors, and a share of the Gram matrices."""
        return BayesianMerge.from_task_vectors(
            self.bed.experts, anchor, self.bed.base, grams=self.grams if share else None, share=share, bias=True,
            off_diagonal=off_diagonal,
        )  # fmt: skip

    def search(self, merge: BayesianMerge, *, shared: bool = False, count: int | None = None) -> State:
        """The posterior mean at the precisions found on validation data, from the anchor and from RegMean on."""
        names = ["all"] if shared else merge.tensors

        def state(setting: Mapping[str, float]) -> State:
            return merge.merged({t: 10 ** setting["all" if shared else t] for t in merge.tensors})

        found = bayesian_search(
            lambda setting: self.accuracy(state(setting), "validation", count),
            dict.fromkeys(names, RANGE),
            starts=[dict.fromkeys(names, end) for end in reversed(RANGE)],
            trials=self.scale.trials,
            seed=self.seed,
        )
        return state(found.best.setting)


@lru_cache(maxsize=1)
def run_of(scale: Scale, seed: int) -> Run:
    """The run of a seed, kept for all its arms."""
    return Run(scale, seed)


def _anchor(run: Run) -> dict[str, float]:
    return {name: run.accuracy(state) for name, state in run.anchors.items()}


def _alike(run: Run, state: Mapping[str, Tensor]) -> dict[str, float]:
    """The same number beside every anchor, for something that has none."""
    return dict.fromkeys(ANCHORS, run.accuracy(state))


def _regmean(run: Run) -> dict[str, float]:
    return _alike(run, _regmean_state(run))


def _regmean_state(run: Run) -> State:
    return merge_states(
        "regmean", run.bed.experts, run.bed.base, statistics=run.grams, off_diagonal=OFF_DIAGONAL, threads=1
    )


def _regmean_plus_plus(run: Run) -> dict[str, float]:
    bed, batches = run.bed, run.bed.inputs("train", run.scale.samples)
    state = regmean_plus_plus(bed.model, bed.states, batches, off_diagonal=OFF_DIAGONAL, bias=True, exclude=["head"])
    return _alike(run, state)


def _better(run: Run) -> dict[str, float]:
    """The better of anchor and RegMean, in hindsight on test data: harder to beat than a choice on validation data."""
    regmean = run.accuracy(_regmean_state(run))
    return {name: max(found, regmean) for name, found in _anchor(run).items()}


def _searched(run: Run, *, shared: bool = False) -> dict[str, float]:
    found = {n: run.accuracy(run.search(run.measured(a), shared=shared)) for n, a in run.anchors.items()}
    return found | {"mean": sum(found[name] for name in TOLD) / len(TOLD)}


def _few_labels(run: Run) -> dict[str, float]:
    return {name: run.accuracy(run.search(run.measured(run.anchors[name]), count=32)) for name in TOLD}


def _free(run: Run, *, shared: bool = False) -> dict[str, float]:
    return {name: run.accuracy(run.search(run.guessed(run.anchors[name]), shared=shared)) for name in TOLD}


def _free_untuned(run: Run) -> dict[str, float]:
    return {name: run.accuracy(run.guessed(a).merged(1.0)) for name, a in run.anchors.items()}


def _hybrid(run: Run) -> dict[str, float]:
    """The share of measured Gram matrices, from few examples, chosen on validation data too."""
    found = {}
    for name in TOLD:
        tried = [run.search(run.guessed(run.anchors[name], share, OFF_DIAGONAL)) for share in SHARES]
        scores = [run.accuracy(state, "validation") for state in tried]
        found[name] = run.accuracy(tried[scores.index(max(scores))])
    return found


def _prior(run: Run, prior: Callable[[State], State]) -> dict[str, float]:
    return {name: run.accuracy(run.search(run.measured(prior(run.anchors[name])))) for name in TOLD}


def _base_prior(run: Run) -> dict[str, float]:
    return _prior(run, lambda anchor: run.bed.base)


def _shuffled_prior(run: Run) -> dict[str, float]:
    generator = torch.Generator().manual_seed(run.seed)
    return _prior(run, lambda anchor: shuffled(run.bed, anchor, generator))


def _draws(run: Run) -> dict[str, float]:
    """Predictions averaged over draws from the posterior at one precision, beside those of its mean."""
    found: dict[str, float] = {}
    for name in TOLD:
        merge = run.measured(run.anchors[name])
        generator = torch.Generator().manual_seed(run.seed)
        states = [merge.sample(1.0, rows=run.scale.samples, generator=generator) for _ in range(run.scale.draws)]
        for suffix, several in (("", states), ("_mean", [merge.merged(1.0)])):
            right, surprise = _averaged(run.bed, several)
            found |= {f"{name}{suffix}": right, f"{name}{suffix}_nll": surprise}
    return found


def _averaged(bed: Bed, states: Sequence[State]) -> tuple[float, float]:
    """Accuracy and negative log-likelihood (nats) of averaged probabilities, means over tasks."""
    right, surprise = [], []
    for task, one in bed.tasks.items():
        test = one.parts["test"]
        with torch.no_grad():
            chances = torch.stack([bed.logits(task, s, test.inputs).softmax(1) for s in states]).mean(0)
        right.append(float((chances.argmax(1) == test.labels).double().mean()))
        surprise.append(float(-chances.gather(1, test.labels.unsqueeze(1)).clamp(min=1e-12).log().mean()))
    return sum(right) / len(right), sum(surprise) / len(surprise)


def _limits(run: Run) -> dict[str, float]:
    """How far the two limits are from RegMean (on the inputs: where none lies, RegMean has the average and the
    posterior mean the anchor) and from the anchor, and how like the measured Gram matrices the guessed ones are."""
    merge, anchor, regmean = run.measured(run.anchors["tsv"]), run.anchors["tsv"], _regmean_state(run)
    none, all_of_it = merge.merged(0.0), merge.merged(math.inf)
    return {
        "to_regmean": max(_apart(run, tensor, none, regmean) for tensor in merge.tensors),
        "to_anchor": max(float((all_of_it[name] - anchor[name]).abs().max()) for name in anchor),
        "alike": _alike_grams(run),
    }


def _apart(run: Run, tensor: str, state: State, other: State) -> float:
    """Root mean square difference of a layer's outputs on all tasks' inputs, over that of the outputs."""
    total = torch.stack([grams[tensor] for grams in run.grams.values()]).sum(0)
    one, two = (torch.cat([s[tensor], s[_bias_of(tensor)].unsqueeze(1)], 1).double() for s in (state, other))
    return math.sqrt(float(((one - two) @ total * (one - two)).sum()) / float((two @ total * two).sum()))


def _bias_of(tensor: str) -> str:
    return f"{tensor.removesuffix('weight')}bias"


def _alike_grams(run: Run) -> float:
    """Mean correlation, over tasks and layers, of entries off the diagonals of guessed and measured Gram matrices."""
    found = []
    for task, expert in run.bed.experts.items():
        for tensor, gram in run.grams[task].items():
            if tensor not in expert:
                continue
            columns = expert[tensor].shape[1]
            guess = task_vector_gram(expert[tensor] - run.bed.base[tensor])
            above = torch.triu_indices(columns, columns, 1)
            pair = torch.stack([g[:columns, :columns][above[0], above[1]] for g in (guess, gram)])
            found.append(float(torch.corrcoef(pair)[0, 1]))
    return sum(found) / len(found)


ARMS: dict[str, Callable[[Run], dict[str, float]]] = {
    "anchor": _anchor,
    "regmean": _regmean,
    "regmean_plus_plus": _regmean_plus_plus,
    "better_of_both": _better,
    "shared": partial(_searched, shared=True),
    "module": _searched,
    "module_few_labels": _few_labels,
    "free": _free,
    "free_shared": partial(_free, shared=True),
    "free_untuned": _free_untuned,
    "hybrid": _hybrid,
    "base_prior": _base_prior,
    "shuffled_prior": _shuffled_prior,
    "draws": _draws,
    "limits": _limits,
}


def arms(scale: Scale) -> dict[str, Callable[[int], dict[str, float]]]:
    """Every arm: seed in, accuracies on test data out."""

    def run(arm: Callable[[Run], dict[str, float]], seed: int) -> dict[str, float]:
        return arm(run_of(scale, seed))

    return {name: partial(run, arm) for name, arm in ARMS.items()}
