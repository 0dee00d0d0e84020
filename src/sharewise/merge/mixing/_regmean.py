"""RegMean++: RegMean whose statistics come through the layers that are merged already."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import MergeError
from .._gram_collect import LAYERS, rows_of
from .._merge import merge_states
from .._needs import declare
from .._running import arguments, evaluating
from ._descend import Batches, listed
from ._task_model import State, TaskModel, module_at


class _Enough(Exception):
    """The layer has seen its inputs; the rest of the model need not run."""


@declare(base="optional", data="inputs")
@torch.no_grad()
def regmean_plus_plus(
    model: nn.Module,
    states: Mapping[str, State],
    batches: Batches,
    base: State | None = None,
    *,
    weight: float | Mapping[str, float] = 1.0,
    off_diagonal: float = 0.9,
    bias: bool = False,
    exclude: Sequence[str] = (),
) -> dict[str, Tensor]:
    """RegMean layer by layer, in the order layers are called: each layer's Gram matrices are those of the inputs that
    the merged layers before it give, which are the inputs it will meet.

    Nguyen et al., "RegMean++" (2025, arXiv 2508.03121). What differs: a "layer" is one linear or convolutional layer.
    In the authors' code it is a transformer block, merged at once: its input comes through the merged blocks before
    it, but within it each candidate's inputs come through its own layers. Without blocks both are the same.
    Everything else (norms, embeddings) is averaged before.

    Args:
        model: of the architecture; runs in evaluation mode.
        states: fine-tuned state dicts by task.
        batches: unlabelled inputs by task, as :func:`~sharewise.merge.collect_gram` takes them.
        base: what all were fine-tuned from; changes the numerics, not the solution.
        weight, off_diagonal: as of ``regmean``.
        bias: merge biases with their weights.
        exclude: heads, which are not merged and not run where they come last.

    Returns the merged tensors. Layers the model does not call are averaged. Time: for every layer one pass over the
    batches up to it; memory as of ``regmean``. One layer alone gives ``regmean``.
    """
    run = TaskModel(model, states, exclude)
    data = listed(batches, run.tasks)
    merged = merge_states("linear", states, exclude=exclude, weight=weight)
    work = copy.deepcopy(model)
    calls = _calls(work, data[run.tasks[0]][0])
    for layer, times in calls.items():
        name = f"{layer}.weight" if layer else "weight"
        if name not in run.shared:
            continue
        work.load_state_dict(merged, strict=False)
        grams = {task: {name: _gram(work, layer, times, own, bias)} for task, own in data.items()}
        own_names = [name, name.removesuffix("weight") + "bias"]
        only = {t: {n: s[n] for n in own_names if n in run.shared} for t, s in states.items()}
        origin = None if base is None else {n: base[n] for n in next(iter(only.values()))}
        merged |= merge_states(
            "regmean", only, origin, statistics=grams, weight=weight, off_diagonal=off_diagonal, unseen="average"
        )
    return merged


def _calls(model: nn.Module, batch: Any) -> dict[str, int]:
    """Layers in the order of their first call, and how often each is called."""
    found: dict[str, int] = {}
    hooks = []
    for name, module in model.named_modules():
        if isinstance(module, LAYERS):

            def count(_: nn.Module, __: Any, name: str = name) -> None:
                found[name] = found.get(name, 0) + 1

            hooks.append(module.register_forward_pre_hook(count))
    try:
        with evaluating(model):
            args, kwargs = arguments(batch)
            model(*args, **kwargs)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _gram(model: nn.Module, layer: str, times: int, batches: Iterable[Any], bias: bool) -> Tensor:
    """The Gram matrix of one layer's inputs; the model stops once it has them."""
    total: list[Tensor] = []
    rows, seen = 0, 0

    def see(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        nonlocal rows, seen
        x = rows_of(module, args[0] if args else kwargs["input"], bias)
        total.append(x.mT @ x if not total else total.pop().add_(x.mT @ x))
        rows, seen = rows + x.shape[-2], seen + 1
        if seen == times:
            raise _Enough

    hook = module_at(model, layer).register_forward_pre_hook(see, with_kwargs=True)
    try:
        with evaluating(model):
            for batch in batches:
                seen = 0
                args, kwargs = arguments(batch)
                with suppress(_Enough):
                    model(*args, **kwargs)
    finally:
        hook.remove()
    if not total or not bool(total[0].isfinite().all()):
        raise MergeError(f'the inputs of layer "{layer}" are missing or not finite: check the model and the batches')
    return total[0] / rows
