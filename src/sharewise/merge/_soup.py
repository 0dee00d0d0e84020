"""Greedy soup: the average of those models that do not make it worse."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from ..errors import MergeError
from ._evaluate import Evaluator, Scores, mean_score, scores_of, state_of
from ._merge import State, merge_states
from ._needs import declare


@dataclass(frozen=True)
class Soup:
    """What :func:`greedy_soup` found.

    Attributes:
        state: the averaged tensors.
        members: the models in it, in the order they were added.
        scores: its score by task.
        tried: for every model in the order of trying: its name, its own value, and the value of the soup with it.
    """

    state: dict[str, Tensor]
    members: list[str]
    scores: Scores
    tried: list[tuple[str, float, float]]


@declare(labels="scores")
def greedy_soup(
    models: Mapping[str, State],
    evaluate: Evaluator,
    *,
    objective: Callable[[Mapping[str, float]], float] = mean_score,
    exclude: Sequence[str] = (),
) -> Soup:
    """Models in the order of their validation value, best first; each is averaged in if the value does not drop.

    Wortsman et al., "Model soups" (ICML 2022, arXiv 2203.05482, recipe 1). The result is never worse than the best
    model on the data of ``evaluate``, which must be validation data.

    Args:
        models: state dicts by name, of one architecture, or where they are; one by one in memory then.
        evaluate: a state dict -> score a task, higher being better.
        objective: what decides, of a model's scores; the mean over tasks by default.
        exclude: tensors the soup is to lack, names, modules or patterns.

    Cost: two evaluations a model. Raises :class:`~sharewise.errors.MergeError` as :func:`merge_states` does.
    """
    if not models:
        raise MergeError("there is no model to make a soup of")
    own = {name: scores_of(evaluate, state_of(state, name), f'model "{name}"') for name, state in models.items()}
    order = sorted(models, key=lambda name: -objective(own[name]))
    members: list[str] = []
    state: dict[str, Tensor] = {}
    scores: Scores = {}
    tried = []
    for name in order:
        wider = merge_states("linear", {m: models[m] for m in [*members, name]}, exclude=exclude, weight=1.0)
        found = own[name] if not members and not exclude else scores_of(evaluate, wider, f'the soup with "{name}"')
        tried.append((name, objective(own[name]), objective(found)))
        if not members or objective(found) >= objective(scores):
            members, state, scores = [*members, name], wider, found
    return Soup(state, members, scores, tried)
