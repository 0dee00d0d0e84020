"""The door: a plan in, a folder out, all of it or nothing."""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from ..errors import MergeError
from ..files import write_text
from ._adapter_plan import adapter_folders, adapter_weights
from ._adapters import AdaptedSource, merge_adapters, open_adapter
from ._bill import Recorder
from ._carry import carry_over
from ._engine import BLOCK, Engine, Job
from ._evaluate import Evaluator, before_and_after
from ._folder import new_folder
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
from ._writer import ShardWriter, StateWriter

State = Mapping[str, Tensor] | Path | str
"""A model in memory, or where it is: a folder or a ``.safetensors`` file."""
SHARD = 5_000_000_000
"""Bytes of a shard."""
_SLACK = 50_000_000
"""Room left on the disk beyond what is written, bytes."""


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
    plan = _plan(plan)
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
        collected = _statistics(plan, {**files, **(statistics or {})})
        for source in collected.values():
            closing.callback(source.close)
        layout = lay_out(plan, how, matched.models, collected)
        closing.pop_all()
    if plan.chat_template is not None:
        warnings.append("chat_template is not set: the output has that of its tokenizer")
    return Opened(plan, how, models, layout, [*warnings, *layout.notes], matched, tuple(collected.values()))


def _plan(plan: Plan | Mapping[str, Any] | Path | str) -> Plan:
    if isinstance(plan, Plan):
        return plan
    return make_plan(plan) if isinstance(plan, Mapping) else load_plan(plan)


def _statistics(plan: Plan, given: Mapping[str, Given]) -> dict[Reference, Source]:
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


def merge(
    plan: Plan | Mapping[str, Any] | Path | str,
    out: Path | str,
    *,
    root: Path | str = ".",
    allow_outside: bool = False,
    statistics: Mapping[str, Given] | None = None,
    evaluate: Evaluator | None = None,
    shard_bytes: int = SHARD,
    threads: int | None = None,
    block: int = BLOCK,
    overwrite: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
) -> dict[str, Any]:
    """Merge checkpoints as ``plan`` says into the folder ``out``, which appears whole or not at all; returns the bill.

    Args:
        plan: a :class:`Plan`, its content, or the path of a YAML file (mergekit's too).
        out: a folder that does not exist yet.
        root: the folder relative paths in the plan start from; they may not leave it unless ``allow_outside``.
        statistics: of models by the name they have in the plan, for methods that take them; go before the plan's files.
        evaluate: a state dict -> score a task (higher is better), on validation data; the bill then has ``scores``, by
            task and model, ``merged`` among them.
        shard_bytes: the most a file of weights holds.
        threads: tensors worked on at once; by default the cores, at most four.
        block: entries read at once; changes speed and memory, never the result.
        overwrite: replace ``out`` if it is a former merge.
        progress: called with bytes written, bytes in all and a tensor's name.

    Raises :class:`~sharewise.errors.MergeError` for wrong input and for too little room on the disk (known before
    anything is computed, unless others fill it meanwhile), :class:`OSError` where the disk fails. Memory does not
    depend on the size of the models, but for methods that need whole tensors.
    """
    from .report import write_bill

    began = time.perf_counter()
    plan = _plan(plan)
    adapters = adapter_folders(plan, Path(root), allow_outside)
    if adapters is not None:
        return merge_adapters(adapters, out, weights=adapter_weights(plan), rank=plan.rank, overwrite=overwrite)
    opened = open_plan(plan, root=root, allow_outside=allow_outside, statistics=statistics)
    out = Path(out)
    with ExitStack() as closing:
        closing.callback(opened.close)
        _check_room(out, opened)
        closing.enter_context(_full_disk(out))
        with new_folder(out, overwrite=overwrite) as folder:
            writer = ShardWriter(folder, opened.tensors, shard_bytes)
            closing.callback(writer.close)
            recorder = Recorder()
            engine = Engine(writer, threads=threads, block=block, observer=recorder, progress=progress)
            engine.run(opened.layout.jobs)
            files = writer.finish()
            tokenizer = opened.matched.tokenizer
            if tokenizer is not None:
                files += carry_over(tokenizer.folder, {}, folder, {})
            files += carry_over(opened.origin.folder, opened.origin.config, folder, _changes(opened))
            opened.matched.finish(folder)
            result = {
                "method": opened.plan.merge_method,
                "seconds": time.perf_counter() - began,
                "files": files,
                "warnings": opened.warnings,
                "decisions": engine.decisions,
                **recorder.bill(),
            }
            if evaluate is not None:
                result["scores"] = _scores(evaluate, opened, folder)
            write_text(folder / "merge.yaml", opened.plan.to_yaml())
            write_bill(result, folder)
    return result


def _scores(evaluate: Evaluator, opened: Opened, folder: Path) -> dict[str, dict[str, float]]:
    inputs = {i.model.name: opened.models[i.model] for i in opened.plan.inputs()}
    merged = open_source(folder)
    try:
        return before_and_after(evaluate, inputs, merged)
    finally:
        merged.close()


@contextmanager
def _full_disk(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise MergeError(f'the disk of "{out}" is full; nothing was left there: make room and start again') from error


def _changes(opened: Opened) -> dict[str, Any]:
    dtype = opened.plan.out_dtype or opened.plan.dtype
    return {"layers": opened.layout.layers, "dtype": dtype, "vocab_size": opened.matched.size}


def _check_room(out: Path, opened: Opened) -> None:
    place = out.absolute().parent
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < opened.bytes + _SLACK:
        raise MergeError(
            f'the merged model needs {opened.bytes / 1e9:.2f} GB, "{place}" has {free / 1e9:.2f} GB free: make room, '
            "choose another disk, or set out_dtype: bfloat16"
        )


def merge_states(
    name: str,
    models: Mapping[str, State],
    base: State | None = None,
    *,
    statistics: Mapping[str, Given] | None = None,
    exclude: Sequence[str] = (),
    missing: Literal["refuse", "keep"] = "refuse",
    threads: int | None = None,
    **parameters: Any,
) -> dict[str, Tensor]:
    """Merge state dicts in memory: ``merge_states("ties", {"a": a.state_dict(), "b": b.state_dict()}, base)``.

    Args:
        name: a method of :func:`available`.
        models: state dicts by name; or where one is, a folder or ``.safetensors`` file, which is read as it is needed.
        base: what all were fine-tuned from, for the methods that need it.
        statistics: what :func:`collect_gram` or :func:`collect_fisher` found (or a file of it), by model.
        exclude: tensors the result is to lack (each task's head): names, modules (``"heads"``), or patterns with ``*``.
        missing: ``keep`` carries tensors over that one model lacks.
        threads: tensors worked on at once.
        parameters: the method's; one value, or for those each model has of its own also ``{model: value}``.

    Returns new tensors in the models' dtypes. Raises :class:`~sharewise.errors.MergeError` as :func:`merge` does.
    """
    how = method(name)
    own: dict[str, dict[str, Any]] = {m: {} for m in models}
    shared: dict[str, Any] = {}
    for key, value in parameters.items():
        if isinstance(value, Mapping):
            for model, one in value.items():
                if model not in own:
                    raise MergeError(f'"{key}" is given for "{model}", which is none of the models {", ".join(own)}')
                own[model][key] = one
        else:
            shared[key] = value
    content: dict[str, Any] = {
        "merge_method": name,
        "models": [{"model": {"path": m}, "parameters": own[m]} for m in models],
        "parameters": shared,
        "exclude": list(exclude),
        "missing": missing,
    }
    origin = "base" if "base" not in models else "the base"
    if base is not None:
        content["base_model"] = {"path": origin}
    plan = make_plan(content)
    check_names(how, plan.all_parameters(), all_parameters())
    with ExitStack() as closing:
        sources = {}
        for m, state in {**models, **({origin: base} if base is not None else {})}.items():
            sources[Reference(path=m)] = open_source(state, m)
            closing.callback(sources[Reference(path=m)].close)
        collected = _statistics(plan, statistics or {})
        for source in collected.values():
            closing.callback(source.close)
        jobs: list[Job] = lay_out(plan, how, sources, collected).jobs
        writer = StateWriter({job.name: job.info for job in jobs})
        Engine(writer, threads=threads).run(jobs)
    return writer.state
