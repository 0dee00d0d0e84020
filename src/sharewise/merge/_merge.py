"""The door: a plan in, a folder out, all of it or nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from ..errors import MergeError
from ..files import write_text
from ._adapter_plan import adapter_folders, adapter_weights
from ._adapters import merge_adapters
from ._bill import Recorder
from ._carry import carry_over
from ._engine import BLOCK, Engine
from ._evaluate import Evaluator, before_and_after
from ._folder import new_folder
from ._layout import lay_out
from ._opened import Opened, as_plan, given_statistics, open_plan
from ._plan import Plan, Reference, make_plan
from ._reading import Job
from ._registry import all_parameters, method
from ._room import check_room, full_disk
from ._settings import check_names
from ._sources import open_source
from ._statistics import Given
from ._writer import ShardWriter, StateWriter

State = Mapping[str, Tensor] | Path | str
"""A model in memory, or where it is: a folder or a ``.safetensors`` file."""
SHARD = 5_000_000_000
"""Bytes of a shard."""


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
    plan = as_plan(plan)
    adapters = adapter_folders(plan, Path(root), allow_outside)
    if adapters is not None:
        return merge_adapters(adapters, out, weights=adapter_weights(plan), rank=plan.rank, overwrite=overwrite)
    opened = open_plan(plan, root=root, allow_outside=allow_outside, statistics=statistics)
    out = Path(out)
    with ExitStack() as closing:
        closing.callback(opened.close)
        check_room(out, opened.bytes)
        closing.enter_context(full_disk(out))
        with new_folder(out, overwrite=overwrite, inputs=opened.places) as folder:
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


def _changes(opened: Opened) -> dict[str, Any]:
    dtype = opened.plan.out_dtype or opened.plan.dtype
    return {"layers": opened.layout.layers, "dtype": dtype, "vocab_size": opened.matched.size}


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
        collected = given_statistics(plan, statistics or {})
        for source in collected.values():
            closing.callback(source.close)
        jobs: list[Job] = lay_out(plan, how, sources, collected).jobs
        writer = StateWriter({job.name: job.info for job in jobs})
        Engine(writer, threads=threads).run(jobs)
    return writer.state
