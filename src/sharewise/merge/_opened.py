"""A plan checked against its models: they are open, its jobs are laid out, and nothing but headers was read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import MergeError
from ._adapter_plan import adapter_folders
from ._adapters import AdaptedSource, open_adapter
from ._layout import Layout, lay_out
from ._method import Method
from ._paths import locate
from ._plan import Plan, Reference, load_plan, make_plan
from ._registry import all_parameters, method
from ._settings import check_names
from ._sources import Source, open_source
from ._statistics import Given, open_statistics
from ._tensorfile import TensorInfo
from ._tokenizers import Matched, match


@dataclass(frozen=True)
class Opened:
    """A checked plan with its models open and its jobs laid out."""

    plan: Plan
    method: Method
    models: Mapping[Reference, Source]
    layout: Layout
    warnings: list[str]
    matched: Matched
    """Whose tokenizer the output has, and the models with their rows where it has them."""
    statistics: tuple[Source, ...] = ()
    places: tuple[Path, ...] = ()
    """Every folder and file that is read."""

    def close(self) -> None:
        """Close all files."""
        for source in (*self.models.values(), *self.statistics):
            source.close()

    @property
    def tensors(self) -> dict[str, TensorInfo]:
        """The output's tensors, in the order they are written."""
        return {job.name: job.info for job in self.layout.jobs}

    @property
    def bytes(self) -> int:
        """The room the output's tensors take."""
        return sum(job.info.bytes for job in self.layout.jobs)

    @property
    def origin(self) -> Source:
        """The model whose config and tokenizer the output gets: the base, or the first."""
        base = self.plan.base_model
        return self.models[base if base is not None else self.plan.references()[0]]


def open_plan(
    plan: Plan | Mapping[str, Any] | Path | str,
    *,
    root: Path | str = ".",
    allow_outside: bool = False,
    statistics: Mapping[str, Given] | None = None,
) -> Opened:
    """Check a plan against its models, reading nothing but their headers; arguments as of :func:`merge`.

    Raises :class:`~sharewise.errors.MergeError` for everything that can be known to fail before it starts.
    """
    plan = as_plan(plan)
    if adapter_folders(plan, Path(root), allow_outside) is not None:
        raise MergeError("a plan of adapters alone is not foretold, as it takes seconds: merge it")
    how = method(plan.merge_method)
    warnings = check_names(how, plan.all_parameters(), all_parameters())
    with ExitStack() as closing:
        models = {}
        for reference in plan.references():
            models[reference] = _open(reference, Path(root), allow_outside)
            closing.callback(models[reference].close)
        matched = match(plan, models)
        files = {i.model.name: locate(i.statistics, Path(root), allow_outside) for i in plan.inputs() if i.statistics}
        written = {w for reference in models for w in (reference.path, reference.adapter) if w}
        places = [*(locate(w, Path(root), allow_outside) for w in written), *files.values()]
        collected = given_statistics(plan, {**files, **(statistics or {})})
        for source in collected.values():
            closing.callback(source.close)
        layout = lay_out(plan, how, matched.models, collected)
        closing.pop_all()
    warnings += _repeated(plan)
    if plan.chat_template is not None:
        warnings.append("chat_template is not set: the output has that of its tokenizer")
    warnings += layout.notes
    return Opened(plan, how, models, layout, warnings, matched, tuple(collected.values()), tuple(places))


def _repeated(plan: Plan) -> list[str]:
    """Warnings for models that stand twice where each is to stand once."""
    counts = [Counter(i.model.name for i in part.models or []) for part in plan.parts().values()]
    often = {name: n for count in counts for name, n in count.items() if n > 1}
    return [f'model "{name}" is named {n} times and counts as that many' for name, n in often.items()]


def as_plan(plan: Plan | Mapping[str, Any] | Path | str) -> Plan:
    """A plan, from its content or file if that is what is given."""
    if isinstance(plan, Plan):
        return plan
    return make_plan(plan) if isinstance(plan, Mapping) else load_plan(plan)


def given_statistics(plan: Plan, given: Mapping[str, Given]) -> dict[Reference, Source]:
    """Statistics by model, open; raises :class:`MergeError` for a name that is none of the models."""
    models = {i.model.name: i.model for i in plan.inputs()}
    for name in given:
        if name not in models:
            raise MergeError(f'statistics are given for "{name}", which is none of the models {", ".join(models)}')
    return {models[name]: open_statistics(one, name) for name, one in given.items()}


def _open(reference: Reference, root: Path, allow_outside: bool) -> Source:
    source = open_source(locate(reference.path, root, allow_outside), reference.path)
    if reference.adapter is None:
        return source
    return AdaptedSource(reference.name, source, open_adapter(locate(reference.adapter, root, allow_outside)))
