"""From a plan and open models to jobs: which tensors of which models make each tensor of the output."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import torch

from ..errors import MergeError, nearest
from ._layers import Place, comes_first, place_of, stacks
from ._method import Method
from ._misfits import SHOWN, missing, shapes, wrong_number
from ._modules import Within, split
from ._plan import Input, Parameters, Plan, Reference, Slice
from ._reading import Job, Part
from ._settings import Asker
from ._sources import Source
from ._tensorfile import TensorInfo


@dataclass(frozen=True)
class Layout:
    """The jobs, and what is said about tensors that could not be merged as asked."""

    jobs: list[Job]
    layers: int | None = None
    """How many layers a plan of slices makes."""
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Out:
    """One tensor of the output: what it is called in each source of its slice, and its relative depth."""

    name: str
    inputs: tuple[str, ...]
    base: str
    slice: _Slice
    t: float
    depth: tuple[int, int]


@dataclass(frozen=True)
class _Slice:
    """A slice whose sources are open: the models to merge, the base, and who asks for parameters."""

    sources: tuple[Source, ...]
    inputs: tuple[Input, ...]
    base: Source | None
    parameters: Parameters
    base_model: Reference | None
    statistics: tuple[Source | None, ...]


def lay_out(
    plan: Plan, method: Method, models: Mapping[Reference, Source], statistics: Mapping[Reference, Source] | None = None
) -> Layout:
    """The jobs of a plan, module by module where it has several; see :func:`_lay_out` for what is refused."""
    if not plan.modules:
        return _lay_out(plan, method, models, statistics)
    jobs: list[Job] = []
    notes: list[str] = []
    layers = None
    parts = plan.parts()
    for module, names in split(parts, models.values()).items():
        own = {r: Within(s, {n: i for n, i in s.tensors.items() if n in names}) for r, s in models.items()}
        found = _lay_out(parts[module], method, own, statistics)
        jobs, notes, layers = [*jobs, *found.jobs], [*notes, *found.notes], layers or found.layers
    return Layout(jobs, layers, notes)


def _lay_out(
    plan: Plan, method: Method, models: Mapping[Reference, Source], statistics: Mapping[Reference, Source] | None = None
) -> Layout:
    """The jobs of a plan.

    Args:
        plan: checked.
        method: the one it names.
        models: every model it names, open.
        statistics: what running a model has told of it, by model.

    Raises :class:`MergeError` for numbers of models the method does not take, tensors that are missing or differ in
    shape (named), layers that are not there, and parameters that are missing or wrong.
    """
    slices = [_open(part, plan, method, models, statistics or {}) for part in _slices(plan)]
    outs = list(_whole(slices[0]) if plan.slices is None else _sliced(slices, plan.slices))
    outs = _without(outs, plan.exclude)
    notes: list[str] = []
    jobs = [job for out in outs for job in _job(out, plan, method, notes)]
    _note_kept(notes, outs, plan)
    layers = sum(s.sources[0].layer_range[1] - s.sources[0].layer_range[0] for s in plan.slices or []) or None
    return Layout(jobs, layers, notes)


def _slices(plan: Plan) -> Sequence[tuple[Sequence[Input], Reference | None, Parameters]]:
    if plan.models is not None:
        return [(plan.models, plan.base_model, {})]
    parts: list[Slice] = plan.slices or []
    return [(p.sources, p.base_model or plan.base_model, p.parameters) for p in parts]


def _open(
    part: tuple[Sequence[Input], Reference | None, Parameters],
    plan: Plan,
    method: Method,
    models: Mapping[Reference, Source],
    statistics: Mapping[Reference, Source],
) -> _Slice:
    inputs, base, parameters = part
    if method.base == "required" and base is None:
        raise MergeError(f'method "{method.name}" merges changes made to a base model: name it as base_model')
    if method.base == "first" and base is not None:
        own = [i for i in inputs if i.model == base] or [Input(model=base)]
        inputs = [*own, *(i for i in inputs if i.model != base)]
    elif method.base in ("required", "optional") and base is not None:
        inputs = [i for i in inputs if i.model != base]
    if not method.least <= len(inputs) <= method.most:
        raise wrong_number(method, len(inputs), base is not None)
    subtracted = models[base] if base is not None and method.base in ("required", "optional") else None
    collected = tuple(statistics.get(i.model) for i in inputs)
    return _Slice(tuple(models[i.model] for i in inputs), tuple(inputs), subtracted, parameters, base, collected)


def _whole(part: _Slice) -> Iterator[_Out]:
    """All tensors of whole models."""
    names = dict.fromkeys(n for s in (*([part.base] if part.base else []), *part.sources) for n in s.tensors)
    layers = stacks(names)
    for name in names:
        place = place_of(name)
        own = layers[place.prefix] if place else [0]
        index = own.index(place.layer) if place else -1
        t = 0.0 if place is None else index / (len(own) - 1) if len(own) > 1 else 1.0
        depth = (index, len(own)) if place else (-1, max(map(len, layers.values()), default=1))
        yield _Out(name, (name,) * len(part.sources), name, part, t, depth)


def _sliced(slices: Sequence[_Slice], parts: Sequence[Slice]) -> Iterator[_Out]:
    """Layers put together anew; what stands before or after all layers comes from the first or the last slice."""
    prefix = _stack(slices[0].sources[0])
    total = sum(p.sources[0].layer_range[1] - p.sources[0].layer_range[0] for p in parts)
    for name in slices[0].sources[0].tensors:
        if place_of(name) is None and comes_first(name):
            yield _Out(name, (name,) * len(slices[0].sources), name, slices[0], 0.0, (-1, total))
    layer = 0
    for part, open_part in zip(parts, slices, strict=True):
        starts, base, count = _ranges(open_part, part)
        for k in range(count):
            for place in _of_layer(open_part.sources[0], prefix, starts[0] + k):
                inputs = tuple(place.name(first + k) for first in starts)
                t = k / (count - 1) if count > 1 else 1.0
                yield _Out(place.name(layer), inputs, place.name(base + k), open_part, t, (layer, total))
            layer += 1
    for name in slices[-1].sources[0].tensors:
        if place_of(name) is None and not comes_first(name):
            yield _Out(name, (name,) * len(slices[-1].sources), name, slices[-1], 0.0, (-1, total))


def _stack(source: Source) -> str:
    found = stacks(source.tensors)
    if len(found) != 1:
        raise MergeError(
            f'slices need a model with one stack of layers, "{source.name}" has {", ".join(found) or "none"}'
        )
    return next(iter(found))


def _ranges(part: _Slice, written: Slice) -> tuple[list[int], int, int]:
    """The first layer of each open source and of the base, found again by model, as the base may have been put first or
    left out of the sources; and how many layers."""
    first = {s.model: s.layer_range[0] for s in written.sources}
    count = written.sources[0].layer_range[1] - written.sources[0].layer_range[0]
    default = written.sources[0].layer_range[0]
    starts = [first.get(i.model, default) for i in part.inputs]
    base = first.get(part.base_model, default) if part.base_model else default
    everyone = [*zip(part.sources, starts, strict=True), *([(part.base, base)] if part.base else [])]
    for source, start in everyone:
        layers = stacks(source.tensors)[_stack(source)]
        if start + count > len(layers):
            found = f'model "{source.name}" has {len(layers)} layers'
            raise MergeError(f"{found}, the plan asks for layers up to {start + count}")
    return starts, base, count


def _of_layer(source: Source, prefix: str, layer: int) -> Iterator[Place]:
    for place in map(place_of, source.tensors):
        if place is not None and place.prefix == prefix and place.layer == layer:
            yield place


def covers(pattern: str, tensor: str) -> bool:
    """Whether a pattern of ``exclude`` means a tensor: its name, the name of a module it is in, or a shell pattern.

    >>> [covers(p, "heads.cars.weight") for p in ("heads", "heads.cars.weight", "*.weight", "head")]
    [True, True, True, False]
    """
    return tensor == pattern or tensor.startswith(pattern.rstrip(".") + ".") or fnmatchcase(tensor, pattern)


def _without(outs: list[_Out], exclude: Sequence[str]) -> list[_Out]:
    """What is left; raises :class:`MergeError` for a pattern that means nothing, and where nothing is left."""
    for pattern in exclude:
        if not any(covers(pattern, out.name) for out in outs):
            modules = {out.name.rpartition(".")[0] for out in outs} - {""}
            raise MergeError(f'exclude: no tensor is "{pattern}" or in it; {nearest(pattern, sorted(modules))}')
    left = [out for out in outs if not any(covers(p, out.name) for p in exclude)]
    if outs and not left:
        raise MergeError("exclude leaves no tensor to merge")
    return left


def _job(out: _Out, plan: Plan, method: Method, notes: list[str]) -> Iterator[Job]:
    part = out.slice
    holders = list(zip(part.sources, out.inputs, strict=True))
    everyone = [*holders, *([(part.base, out.base)] if part.base else [])]
    lacking = [s.name for s, n in everyone if n not in s.tensors]
    if lacking:
        if plan.missing == "refuse":
            models = [*([part.base] if part.base else []), *part.sources]
            left = {n for s in models for n in s.tensors if not any(covers(p, n) for p in plan.exclude)}
            raise missing(out.name, models, left)
        keeper = next(p for p in reversed(everyone) if p[1] in p[0].tensors)
        notes.append(f'kept as "{keeper[0].name}" has it: {out.name} (missing in {", ".join(lacking)})')
        yield _copy(out, Part(*keeper), plan)
        return
    parts = tuple(Part(s, n, found) for (s, n), found in zip(holders, part.statistics, strict=True))
    base = Part(part.base, out.base) if part.base else None
    first = base or parts[0]
    for other in parts:
        if other.info.shape != first.info.shape:
            raise shapes(out.name, first, other)
    if not first.info.dtype.is_floating_point:
        yield _copy(out, first, plan)
        return
    own, names = tuple(i.parameters for i in part.inputs), tuple(s.name for s in part.sources)
    asker = Asker(method, (part.parameters, plan.parameters), own, names)
    values = asker.values(out.name, out.inputs, out.t)
    method.examine(parts, values)
    yield Job(out.name, TensorInfo(_dtype(plan, first), first.info.shape), parts, base, method, values, out.depth)


def _copy(out: _Out, part: Part, plan: Plan) -> Job:
    dtype = _dtype(plan, part) if part.info.dtype.is_floating_point else part.info.dtype
    return Job(out.name, TensorInfo(dtype, part.info.shape), (part,), None, None, depth=out.depth)


def _dtype(plan: Plan, first: Part) -> torch.dtype:
    wanted = plan.out_dtype or plan.dtype
    found: torch.dtype = getattr(torch, wanted) if wanted else first.info.dtype
    return found


def _note_kept(notes: list[str], outs: Sequence[_Out], plan: Plan) -> None:
    """Squeeze the notes about tensors carried over to one."""
    if len(notes) > SHOWN:
        notes[:] = [f"{len(notes):,} of {len(outs):,} tensors are not in every model and were carried over from one"]
