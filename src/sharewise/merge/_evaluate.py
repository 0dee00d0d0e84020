"""Scores of merged models, from the user's own evaluator."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..errors import MergeError
from ._sources import Source, open_source

Scores = dict[str, float]
"""Task -> score; higher is better."""
MERGED = "merged"
"""What the merged model is called among the scores of a bill."""
Evaluator = Callable[[Mapping[str, Tensor]], Mapping[str, float]]
"""A state dict -> its score for every task, higher being better, on validation data."""


class SourceState(Mapping[str, Tensor]):
    """A model's tensors, each read when it is asked for."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def __getitem__(self, name: str) -> Tensor:
        """Read one tensor."""
        if name not in self._source.tensors:
            raise KeyError(name)
        return self._source.whole(name)

    def __iter__(self) -> Iterator[str]:
        """The tensors' names."""
        return iter(self._source.tensors)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._source.tensors)


def evaluator(model: nn.Module, score: Callable[[nn.Module], Mapping[str, float]]) -> Evaluator:
    """An evaluator from a function of a module: ``evaluator(model, lambda m: {"code": accuracy(m, code)})``.

    The state dict's tensors are put into a copy of ``model``, which is in evaluation mode; what it lacks (heads that
    were excluded) is as ``model`` has it. Raises :class:`~sharewise.errors.MergeError`, when called, for tensors the
    model does not have.
    """
    work = copy.deepcopy(model).eval()
    origin = copy.deepcopy(model.state_dict())

    def evaluate(state: Mapping[str, Tensor]) -> Mapping[str, float]:
        unknown = sorted(set(state) - set(origin))
        if unknown:
            raise MergeError(f"the model to be evaluated has no tensor {', '.join(unknown[:5])}")
        work.load_state_dict({**origin, **state})
        return score(work)

    return evaluate


def state_of(model: Mapping[str, Tensor] | Path | str, name: str) -> Mapping[str, Tensor]:
    """A state dict as it is, or one that reads a folder or file."""
    return model if isinstance(model, Mapping) else SourceState(open_source(model, name))


def scores_of(evaluate: Evaluator, state: Mapping[str, Tensor], whose: str) -> Scores:
    """What an evaluator says; raises :class:`MergeError` for what is no score of a task."""
    found: Any = evaluate(state)
    if not isinstance(found, Mapping) or not found:
        raise MergeError(f"the evaluator must return a score a task, found {found!r:.60} for {whose}")
    scores = {}
    for task, value in found.items():
        try:
            scores[str(task)] = float(value)
        except (TypeError, ValueError):
            raise MergeError(f'the score of task "{task}" is {value!r:.60} for {whose}, not a number') from None
        if not math.isfinite(scores[str(task)]):
            raise MergeError(f'the score of task "{task}" is {value} for {whose}: it must be finite')
    return scores


def mean_score(scores: Mapping[str, float]) -> float:
    """The mean over tasks: what is optimized unless something else is given."""
    return sum(scores.values()) / len(scores)


def before_and_after(evaluate: Evaluator, models: Mapping[str, Source], merged: Source) -> dict[str, Scores]:
    """For the bill: task -> the score of each model and, last, of the one called ``merged``."""
    if MERGED in models:
        raise MergeError(f'a model is called "{MERGED}", as the result is among the scores: give it another name')
    found: dict[str, Scores] = {}
    for name, source in [*models.items(), (MERGED, merged)]:
        for task, score in scores_of(evaluate, SourceState(source), f'model "{name}"').items():
            found.setdefault(task, {})[name] = score
    return found
