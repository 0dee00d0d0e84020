"""The outer search of a merge: settings proposed by a Gaussian process, judged on validation data, all of it logged."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..errors import MergeError
from ._sampling import finite, new_study

Setting = Mapping[str, float]


@dataclass(frozen=True)
class Tried:
    """One setting and how it did (higher is better)."""

    setting: dict[str, float]
    score: float


@dataclass(frozen=True)
class Outcome:
    """What a search over any score found: the best trial (the first of equals), and every trial in order."""

    best: Tried
    trials: tuple[Tried, ...]


def bayesian_search(
    score: Callable[[Setting], float],
    space: Mapping[str, tuple[float, float]],
    *,
    starts: Sequence[Setting] = (),
    trials: int = 60,
    seed: int = 0,
) -> Outcome:
    """Maximize any ``score`` over a box with Optuna's Gaussian process (Matérn 5/2, log expected improvement).

    :func:`search` does so for the parameters of a method, and keeps a log; this is for what is merged in another way.

    Args:
        score: of a setting, for instance mean accuracy over tasks on validation data; deterministic.
        space: lowest and highest value by name; give scales (``lambda``) as logarithms.
        starts: settings tried first: the result is at least as good on ``score`` as each of them.
        trials: in all, ``starts`` included.
        seed: of the proposals; the same seed proposes the same settings.

    Raises :class:`~sharewise.errors.MergeError` for an empty space, starts outside of it, fewer trials than starts, and
    a score that is not finite (named with its setting). Cost: about 0.1 s a trial besides ``score``.
    """
    _check(space, starts, trials)
    study = new_study("gp", seed, starts, draws=max(len(starts) + len(space) + 1, min(10, trials)))
    log: list[Tried] = []
    for _ in range(trials):
        asked = study.ask()
        setting = {name: asked.suggest_float(name, low, high) for name, (low, high) in space.items()}
        log.append(Tried(setting, finite(score(setting), f"the score of {setting}")))
        study.tell(asked, log[-1].score)
    return Outcome(max(log, key=lambda t: t.score), tuple(log))


def _check(space: Mapping[str, tuple[float, float]], starts: Sequence[Setting], trials: int) -> None:
    if not space:
        raise MergeError("there is nothing to search: give at least one name with its lowest and highest value")
    for name, (low, high) in space.items():
        if not low < high:
            raise MergeError(f'the range of "{name}" is {low:g} to {high:g}: the first must be the lower')
    for start in starts:
        wrong = [n for n, (low, high) in space.items() if not low <= start.get(n, math.nan) <= high]
        if wrong or set(start) - set(space):
            name = wrong[0] if wrong else sorted(set(start) - set(space))[0]
            raise MergeError(f'the start {dict(start)} does not lie in the space: see "{name}"')
    if trials < max(1, len(starts)):
        raise MergeError(f"{trials} trials are fewer than the {len(starts)} starts: give at least as many")
