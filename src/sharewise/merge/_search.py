"""Search over the parameters of any method, by Optuna, on validation scores."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..errors import MergeError, OptionError, nearest
from ..files import read_json, write_json
from ._evaluate import Evaluator, mean_score, scores_of
from ._merge import State, merge_states
from ._needs import declare
from ._registry import method
from ._sampling import SAMPLERS, Sampler, finite, new_study
from ._statistics import Given

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class Range:
    """The values of one parameter that are searched.

    Args:
        low, high: both included.
        log: search the logarithm.
        each: one value a model, of a parameter each model has of its own (``weight``, ``density``).
        layers: so many values from the first layer to the last, evenly between them.
        whole: whole numbers only.
    """

    low: float
    high: float
    log: bool = False
    each: bool = False
    layers: int = 1
    whole: bool = False


Space = Mapping[str, Range | tuple[float, float] | Sequence[Any]]
"""Parameter -> a :class:`Range`, ``(low, high)``, or a list of the values to choose from."""


@dataclass(frozen=True)
class Trial:
    """One try: parameters as :func:`merge_states` takes them, the objective's value, and the scores it is of."""

    parameters: dict[str, Any]
    value: float
    scores: dict[str, float]


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        best: the first trial of the highest value.
        trials: all, in order.
        state: the tensors of the best.
    """

    best: Trial
    trials: list[Trial]
    state: dict[str, Tensor] = field(repr=False)

    @property
    def parameters(self) -> dict[str, Any]:
        """The best trial's, for :func:`merge_states` and plans."""
        return self.best.parameters


@declare(base="as the method", data="as the method", labels="scores")
def search(
    name: str,
    models: Mapping[str, State],
    base: State | None = None,
    *,
    evaluate: Evaluator,
    space: Space,
    trials: int = 50,
    sampler: Sampler = "tpe",
    seed: int = 0,
    start: Sequence[Mapping[str, Any]] = (),
    objective: Callable[[Mapping[str, float]], float] = mean_score,
    log: Path | str | None = None,
    statistics: Mapping[str, Given] | None = None,
    exclude: Sequence[str] = (),
    threads: int | None = None,
    **fixed: Any,
) -> Found:
    """The parameters of a method whose merge scores best: evolutionary (``cmaes``), by Parzen estimators (``tpe``) or
    by a Gaussian process (``gp``).

    Akiba et al., "Evolutionary optimization of model merging recipes" (2024, arXiv 2403.13187) search the weights and
    densities of DARE-TIES by CMA-ES; here any method's parameters, for all models or each, for all layers or a few that
    the rest are interpolated between.

    Args:
        name, models, base, statistics, exclude, threads: as of :func:`merge_states`.
        evaluate: a state dict -> score a task, higher being better. On validation data: the best of many trials is
            chosen by it, so its score is too good; report another, on data no trial has seen.
        space: what is searched, by parameter.
        trials: how many, those of ``start`` included.
        sampler: ``cmaes`` for two numbers or more and no choices; ``gp`` for few trials (0.1 s each besides the merge).
        seed: of the sampler.
        start: tried first, parameters in the form of :attr:`Trial.parameters`.
        objective: of a merge's scores, to be made large; the mean over tasks by default.
        log: a JSON file, rewritten after every trial. If it is there, its trials are taken over instead of being
            evaluated again, and the search goes on as if it had not stopped.
        fixed: parameters that are not searched.

    Raises :class:`~sharewise.errors.MergeError` for unknown parameters and for a log of another search,
    :class:`~sharewise.errors.OptionError` for ranges and samplers that cannot be. Cost: a merge and an evaluation a
    trial.
    """
    dimensions = list(_dimensions(name, tuple(models), space))
    _check(dimensions, sampler, trials, fixed, space)
    starts = [_flat(first, dimensions) for first in start]
    study = new_study(sampler, seed, starts, draws=max(len(starts) + len(dimensions) + 1, 10))
    about = {"method": name, "models": list(models), "sampler": sampler, "seed": seed, "fixed": fixed}
    about |= {"space": [asdict(d) for d in dimensions], "start": [dict(s) for s in start], "exclude": list(exclude)}
    former = _former(log, about)

    def merged(parameters: Mapping[str, Any]) -> dict[str, Tensor]:
        given = {**fixed, **parameters}
        return merge_states(name, models, base, statistics=statistics, exclude=exclude, threads=threads, **given)

    done: list[Trial] = []
    best: tuple[Trial, dict[str, Tensor]] | None = None
    for number in range(trials):
        asked = study.ask()
        chosen = _nested({d.name: d.suggest(asked) for d in dimensions}, dimensions)
        if number < len(former):
            made = _same(former[number], chosen, number, log)
        else:
            state = merged(chosen)
            scores = scores_of(evaluate, state, f"trial {number}")
            made = Trial(chosen, finite(objective(scores), f"the objective of trial {number}"), scores)
            if best is None or made.value > best[0].value:
                best = (made, state)
        study.tell(asked, made.value)
        done.append(made)
        if log is not None and number >= len(former):
            write_json(log, {"search": about, "trials": [asdict(t) for t in done]})
    winner = max(done, key=lambda t: t.value)
    return Found(winner, done, best[1] if best is not None and best[0] is winner else merged(winner.parameters))


def _same(former: Trial, chosen: Mapping[str, Any], number: int, log: Path | str | None) -> Trial:
    if former.parameters != chosen:
        raise MergeError(f'trial {number} of "{log}" is not what this search tries: choose another log')
    return former


@dataclass(frozen=True)
class _Dimension:
    """One number (or choice) Optuna suggests, and whose it is."""

    name: str
    parameter: str
    range: Range | None
    choices: list[Any] | None = None
    model: str | None = None
    layer: int | None = None

    def suggest(self, trial: optuna.Trial) -> Any:
        """Ask for a value."""
        if self.range is None:
            return trial.suggest_categorical(self.name, self.choices or [])
        if self.range.whole:
            return trial.suggest_int(self.name, int(self.range.low), int(self.range.high), log=self.range.log)
        return trial.suggest_float(self.name, self.range.low, self.range.high, log=self.range.log)


def _dimensions(name: str, models: Sequence[str], space: Space) -> Iterator[_Dimension]:
    own = {p.name: p for p in method(name).parameters}
    for parameter, given in space.items():
        if parameter not in own:
            raise MergeError(f'method "{name}" has no parameter "{parameter}"; {nearest(parameter, own)}')
        if isinstance(given, list):
            yield _Dimension(parameter, parameter, None, given)
            continue
        wanted = given if isinstance(given, Range) else _pair(parameter, given)
        kind = own[parameter]
        if not wanted.low < wanted.high or (wanted.log and wanted.low <= 0) or wanted.layers < 1:
            raise OptionError(f'the range of "{parameter}" holds nothing to search: {wanted}')
        if wanted.low < kind.low or wanted.high > kind.high:
            raise OptionError(f'the range of "{parameter}" leaves what it may be, {kind.low:g} to {kind.high:g}')
        if wanted.each and not kind.each:
            raise OptionError(f'parameter "{parameter}" is not each model\'s own: search it without each=True')
        for model in models if wanted.each else [None]:
            for layer in range(wanted.layers) if wanted.layers > 1 else [None]:
                label = parameter + (f"[{model}]" if model is not None else "")
                label += f"[{layer}]" if layer is not None else ""
                yield _Dimension(label, parameter, wanted, None, model, layer)


def _pair(parameter: str, given: Any) -> Range:
    if not isinstance(given, tuple) or len(given) != 2:
        raise OptionError(f'the space of "{parameter}" must be a Range, (low, high) or a list, found {given!r}')
    return Range(*given)


def _check(dimensions: Sequence[_Dimension], sampler: str, trials: int, fixed: Mapping[str, Any], space: Space) -> None:
    if not dimensions:
        raise OptionError("the space is empty: name at least one parameter and its range")
    if trials < 1:
        raise OptionError(f"trials must be at least 1, found {trials}")
    if sampler not in SAMPLERS:
        raise OptionError(f'sampler "{sampler}" is not known; {nearest(str(sampler), SAMPLERS)}')
    if sampler == "cmaes" and (len(dimensions) < 2 or any(d.range is None for d in dimensions)):
        raise OptionError('sampler "cmaes" searches two numbers or more and no choices: take "tpe"')
    both = sorted(set(fixed) & set(space))
    if both:
        raise OptionError(f"{', '.join(both)}: both fixed and searched")


def _nested(values: Mapping[str, Any], dimensions: Sequence[_Dimension]) -> dict[str, Any]:
    """Optuna's flat values as parameters: a number, a list over layers, or either by model."""
    found: dict[str, Any] = {}
    for d in dimensions:
        place, key = (found, d.parameter) if d.model is None else (found.setdefault(d.parameter, {}), d.model)
        if d.layer is None:
            place[key] = values[d.name]
        else:
            place.setdefault(key, []).append(values[d.name])
    return found


def _flat(parameters: Mapping[str, Any], dimensions: Sequence[_Dimension]) -> dict[str, Any]:
    """The other way; one number stands for all models and layers. Raises :class:`OptionError` for one out of range."""
    unknown = sorted(set(parameters) - {d.parameter for d in dimensions})
    if unknown:
        raise OptionError(f"start: {', '.join(unknown)} is not searched")
    found = {}
    for d in dimensions:
        if d.parameter not in parameters:
            continue
        value = parameters[d.parameter]
        value = value[d.model] if isinstance(value, Mapping) else value
        value = value[d.layer] if isinstance(value, list | tuple) and d.layer is not None else value
        inside = d.range.low <= value <= d.range.high if d.range is not None else value in (d.choices or [])
        if not inside:
            raise OptionError(f'start: {value!r} lies outside of what is searched of "{d.name}"')
        found[d.name] = value
    return found


def _former(log: Path | str | None, about: Mapping[str, Any]) -> list[Trial]:
    """The trials of a log; raises :class:`MergeError` where it is of another search, or no log."""
    if log is None or not Path(log).exists():
        return []
    try:
        content = read_json(log)
        former, trials = content["search"], [Trial(**t) for t in content["trials"]]
    except (ValueError, KeyError, TypeError):
        raise MergeError(f'"{log}" is no log of a search: choose another name') from None
    wanted = json.loads(json.dumps(about))  # as the log has it: tuples are lists there
    different = [key for key in wanted if former.get(key) != wanted[key]]
    if different:
        raise MergeError(f'"{log}" is of another search ({", ".join(different)} differ): choose another name')
    return trials
