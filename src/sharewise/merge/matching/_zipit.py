"""ZipIt: units of two models paired by their correlation, within a model too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import MergeError, OptionError, nearest
from .._needs import declare
from ._features import collect_features
from ._units import State, Units, transformed


@declare(data="inputs", task="head", stored="1, and what is not zipped of 2")
def zip_it(
    units: Units,
    model: nn.Module,
    states: Mapping[str, State],
    batches: Iterable[Any],
    *,
    only: Sequence[str] | None = None,
    within: float = 1.0,
) -> dict[str, dict[str, Tensor]]:
    """Two models, of one or of different tasks, zipped to one trunk: their ``2 n`` units of every group become n pairs
    of highest correlation, each pair one unit, the mean of the two; who reads them reads the pair for each.

    Stoica et al., "ZipIt!" (ICLR 2024, arXiv 2305.03053, section 4): ``W* = sum_m M_l^m W_l^m U_{l-1}^m`` with the
    merge matrix ``M`` (rows average pairs) and ``U`` its pseudo-inverse. What differs: every unit is in exactly one
    pair, and correlations are of what a group's first writer puts out, before norms.

    Args:
        units: the architecture's groups.
        model: of the architecture, to run.
        states: two state dicts, by name.
        batches: inputs of both tasks, as :func:`~sharewise.merge.collect_gram` takes them.
        only: groups that are zipped (a partial zip: the first few); all by default.
        within: the largest share of a group's units that may be paired within their own model, 0 to 1; at 0 pairs are
            of one unit of each model.

    Returns the state dict of each model. Tensors that make zipped units are the same in both; the others (heads, and
    layers behind a partial zip) stay each model's own, reading the zipped units. To average them too, merge the two.
    """
    if len(states) != 2:
        raise MergeError(f"two models are zipped at a time, found {len(states)}")
    if not 0 <= within <= 1:
        raise OptionError(f"within must be from 0 to 1, found {within}")
    zipped = list(units.groups) if only is None else list(only)
    for name in zipped:
        if name not in units.groups:
            raise MergeError(f'there is no group of units "{name}"; {nearest(name, units.groups)}')
    units.check(states)
    first, second = states.values()
    features = collect_features(units, model, first, second, batches)
    found = [dict(first), dict(second)]
    made: set[str] = set()
    for name in zipped:
        pairs = paired(features[name].correlation(), within)
        for m, state in enumerate(found):
            merge = _matrix(pairs, units.groups[name].size, m)
            for axis in units.groups[name].axes:
                if state[axis.tensor].is_floating_point():
                    matrix = 2 * merge if axis.reads else merge  # U = pinv(M) = 2 M^T; read from the right: W U
                    state[axis.tensor] = transformed(state[axis.tensor], axis.axis, matrix)
        made.update(axis.tensor for axis in units.groups[name].axes if not axis.reads)
    for tensor in made:
        if found[0][tensor].is_floating_point():
            total = found[0][tensor] + found[1][tensor]
            found[0][tensor], found[1][tensor] = total, total.clone()
    return dict(zip(states, found, strict=True))


def paired(correlation: Tensor, within: float) -> Tensor:
    """Greedy pairs of ``2 n`` units, the highest correlation first: ``[2 n, 2 n]`` -> ``[n, 2]``, equal ones in order.

    No unit is left over: units left of one model would mean that it has fewer pairs of its own than the other has.
    """
    size = len(correlation)
    n = size // 2
    left, right = torch.triu_indices(size, size, 1)
    order = correlation[left, right].argsort(descending=True, stable=True)
    budget = int(within * n / 2)  # pairs of one model; both have as many, or units would be left over
    free, own, found = [True] * size, [0, 0], []
    for i, j in zip(left[order].tolist(), right[order].tolist(), strict=True):
        inside = (i < n) == (j < n)
        if not (free[i] and free[j]) or (inside and own[int(i >= n)] >= budget):
            continue
        if inside:
            own[int(i >= n)] += 1
        free[i] = free[j] = False
        found.append((i, j))
    return torch.tensor(found)


def _matrix(pairs: Tensor, n: int, model: int) -> Tensor:
    """The merge matrix ``M^m`` ``[n, n]`` of one model: half of each of its units in a pair."""
    matrix = torch.zeros(n, n, dtype=torch.float64)
    for row, pair in enumerate(pairs.tolist()):
        for unit in pair:
            if unit // n == model:
                matrix[row, unit - model * n] += 0.5
    return matrix
