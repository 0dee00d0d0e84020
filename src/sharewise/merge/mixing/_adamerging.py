"""AdaMerging: coefficients of task vectors, learned so that predictions become sure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ...errors import OptionError
from .._needs import declare
from .._running import arguments, logits_of
from ..methods._elect import signs_of
from ..methods._ties import kept
from ._descend import Batches, descend, entropy
from ._task_model import State, TaskModel, task_vectors


@dataclass(frozen=True)
class AdaMerged:
    """What :func:`adamerging` found.

    Attributes:
        state: the merged tensors, without those excluded.
        coefficients: every task's ``lambda``, by tensor (the same in all for ``by="task"``).
        entropy: the tasks' summed mean entropy, step by step, nats.
    """

    state: dict[str, Tensor]
    coefficients: dict[str, dict[str, float]]
    entropy: list[float]


@declare(base="yes", data="inputs")
def adamerging(
    model: nn.Module,
    states: Mapping[str, State],
    base: State,
    batches: Batches,
    *,
    by: Literal["task", "layer"] = "layer",
    density: float | None = None,
    trim: Literal["tensor", "model"] = "tensor",
    steps: int = 1000,
    learning_rate: float = 1e-3,
    init: float = 0.3,
    exclude: Sequence[str] = (),
) -> AdaMerged:
    """``theta_0 + sum_t lambda_t tau_t`` with ``lambda`` learned by Adam on the entropy of predictions, without labels.

    Yang et al., "AdaMerging" (ICLR 2024, arXiv 2310.02575; "++" with ``density``). ``by="layer"`` has
    one coefficient a task and tensor, as in the authors' code, which besides clamps them to [0, 1]; here they are free.

    Args:
        model: of the architecture; returns logits, or predictions by task.
        states: fine-tuned state dicts by task.
        base: what all were fine-tuned from.
        batches: unlabelled inputs by task, used in turn, one of each task a step. Not those a claim is tested on.
        by: one coefficient a task, or one a task and tensor.
        density: "++": task vectors trimmed to this share of their largest entries and freed of those against the
            elected sign, as TIES does, before they are added (0.2 is usual). Signs are elected once, by the sum of the
            trimmed vectors without coefficients; a sum of exactly 0 counts as positive.
        trim: the share of each tensor, as ``ties`` keeps by default, or of the whole model, as in the authors' code.
        steps: of Adam.
        learning_rate: of Adam.
        init: every coefficient's first value.
        exclude: heads, each task its own.

    Time: ``steps`` forward and backward passes a task. Memory: all task vectors.
    """
    if by not in ("task", "layer"):
        raise OptionError(f'by must be "task" or "layer", found {by!r}')
    if trim not in ("tensor", "model"):
        raise OptionError(f'trim must be "tensor" or "model", found {trim!r}')
    run = TaskModel(model, states, exclude)
    vectors = task_vectors(states, base, run.shared)
    if density is not None:
        vectors = _consistent_by_name(vectors, density, trim)
    columns = len(vectors) if by == "layer" else 1
    coefficients = nn.Parameter(torch.full((len(run.tasks), columns), init, device=next(iter(vectors.values())).device))
    origin = {name: base[name].detach() for name in run.shared}

    def merged() -> dict[str, Tensor]:
        found = dict(origin)
        for i, (name, tau) in enumerate(vectors.items()):
            share = coefficients[:, i % columns].to(tau)
            found[name] = origin[name] + torch.tensordot(share, tau, 1)
        return found

    def losses(step: Mapping[str, Any]) -> dict[str, Tensor]:
        values = merged()
        return {
            task: entropy(logits_of(run.call(values | run.head(task), *arguments(batch)), task))
            for task, batch in step.items()
        }

    history = descend([coefficients], losses, batches, run.tasks, steps, learning_rate)
    with torch.no_grad():
        state = {name: value.clone() for name, value in merged().items()}
    found = coefficients.detach().T.tolist()
    named = {name: dict(zip(run.tasks, found[i % columns], strict=True)) for i, name in enumerate(vectors)}
    return AdaMerged(state, named, history)


def _consistent_by_name(vectors: Mapping[str, Tensor], density: float, trim: str) -> dict[str, Tensor]:
    if trim == "tensor":
        return {name: consistent(tau, density) for name, tau in vectors.items()}
    sizes = [tau[0].numel() for tau in vectors.values()]
    parts = consistent(torch.cat([tau.flatten(1) for tau in vectors.values()], 1), density).split(sizes, 1)
    return {name: part.view_as(tau).to(tau) for (name, tau), part in zip(vectors.items(), parts, strict=True)}


def consistent(rows: Tensor, density: float) -> Tensor:
    """Task vectors ``[T, ...]`` with what TIES drops set to 0: small entries, and those against the elected sign."""
    flat = rows.flatten(1)
    order = flat.abs().argsort(dim=1, descending=True, stable=True)[:, : kept(density, flat.shape[1])]
    trimmed = torch.zeros_like(flat).scatter_(1, order, flat.gather(1, order))
    agreeing = trimmed * signs_of(trimmed.sum(0)) > 0
    return (trimmed * agreeing).view_as(rows)
