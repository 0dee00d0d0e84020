"""Git Re-Basin: the order of one model's hidden units that makes it most like another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...errors import MergeError, nearest
from .._needs import declare
from ._features import collect_features
from ._units import Matching, State, Units, reordered


def match_weights(units: Units, first: State, second: State, *, seed: int = 0, rounds: int = 100) -> Matching:
    """The order of ``second``'s units that maximizes ``sum_l <W_l, P_l W'_l P_{l-1}^T>``, group by group in random
    order until nothing changes.

    Ainsworth et al., "Git Re-Basin" (ICLR 2023, arXiv 2209.04836, algorithm 1): coordinate descent, each step an exact
    linear assignment (SciPy); biases and norms count too, tensors whose shapes differ (heads of different tasks) do
    not. A local optimum. Needs no data.

    Args:
        units: the architecture's groups.
        first, second: state dicts.
        seed: of the order of groups.
        rounds: at most so many times through all groups.

    Returns, for :meth:`Units.permute`, the order by group. Cost a round: O(n^3) and the products of every layer.
    """
    units.check({"first": first, "second": second})
    generator = torch.Generator().manual_seed(seed)
    orders: Matching = {name: torch.arange(group.size) for name, group in units.groups.items()}
    names = list(orders)
    for _ in range(rounds):
        changed = False
        for i in torch.randperm(len(names), generator=generator).tolist():
            likeness = _likeness(units, names[i], first, second, orders)
            best = assignment(likeness)
            gained = (
                likeness.gather(1, best.unsqueeze(1)).sum() - likeness.gather(1, orders[names[i]].unsqueeze(1)).sum()
            )
            if float(gained) > 1e-9 * float(likeness.abs().max()):
                orders[names[i]], changed = best, True
        if not changed:
            break
    return orders


def _likeness(units: Units, name: str, first: State, second: State, orders: Matching) -> Tensor:
    """``[n, n]``: the inner product of all that belongs to unit i of the first and unit j of the second, whose other
    groups are in their orders."""
    group = units.groups[name]
    total = torch.zeros(group.size, group.size, dtype=torch.float64)
    for axis in group.axes:
        a, b = first[axis.tensor].double().cpu(), second[axis.tensor].double().cpu()
        if a.shape != b.shape:
            continue
        for other, theirs in units.on(axis.tensor):
            if theirs.axis != axis.axis:
                b = reordered(b, theirs.axis, orders[other])
        rows = [t.unflatten(axis.axis, (group.size, -1)).movedim(axis.axis, 0).flatten(1) for t in (a, b)]
        total += rows[0] @ rows[1].T
    return total


def match_activations(units: Units, model: nn.Module, first: State, second: State, batches: Iterable[Any]) -> Matching:
    """The order of ``second``'s units whose activations are nearest to ``first``'s on the same inputs, group by group.

    Ainsworth et al. (arXiv 2209.04836, section 3.1): the assignment that maximizes ``<Z, P Z'>``. Activations are
    what a group's first writer puts out. Arguments as of :func:`match_weights` and
    :func:`~sharewise.merge.collect_gram`.
    """
    found = collect_features(units, model, first, second, batches)
    return {name: assignment(f.second[: len(f.mean) // 2, len(f.mean) // 2 :]) for name, f in found.items()}


def assignment(likeness: Tensor) -> Tensor:
    """The column for every row that makes the sum largest: ``[n, n]`` -> ``[n]``."""
    from scipy.optimize import linear_sum_assignment

    _, columns = linear_sum_assignment(likeness.numpy(), maximize=True)
    return torch.from_numpy(np.asarray(columns, dtype=np.int64))


@declare(data="no, or inputs", stored="as the merge that follows")
def align(
    units: Units,
    states: Mapping[str, State],
    *,
    reference: str | None = None,
    model: nn.Module | None = None,
    batches: Iterable[Any] | None = None,
    seed: int = 0,
) -> dict[str, dict[str, Tensor]]:
    """All models with their units in the order of ``reference`` (the first by default), ready for any merge.

    By weights; by activations where ``model`` and ``batches`` are given. What the models compute does not change.
    Averaged batch norms need their statistics anew: run the merged model over data in training mode.
    """
    if not states:
        raise MergeError("there is no model to align")
    anchor = reference if reference is not None else next(iter(states))
    if anchor not in states:
        raise MergeError(f'the reference "{anchor}" is none of the models; {nearest(anchor, states)}')
    if (model is None) != (batches is None):
        raise MergeError("matching by activations needs both model and batches")
    data = None if batches is None else list(batches)
    found = {}
    for name, state in states.items():
        if name == anchor:
            found[name] = dict(state)
        elif model is not None and data is not None:
            found[name] = units.permute(state, match_activations(units, model, states[anchor], state, data))
        else:
            found[name] = units.permute(state, match_weights(units, states[anchor], state, seed=seed))
    return found
