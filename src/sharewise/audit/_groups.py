"""Which tasks to train together, from their affinities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

EXHAUSTIVE = 8
"""Most tasks for which every partition is tried (4,140 of them); beyond, groups are merged greedily."""


def group_score(affinity: npt.NDArray[np.float64], group: Sequence[int]) -> float:
    """Sum over the group's members of the mean affinity of the others onto them; 0 for a task alone.

    The score of Fifty et al. (2021, section 4), with the explicit value 0 for singletons: a task joins others
    only if on average they help it.
    """
    if len(group) < 2:
        return 0.0
    block = affinity[np.ix_(list(group), list(group))]
    onto = block.sum(axis=0) - np.diag(block)
    return float(onto.sum() / (len(group) - 1))


def propose_groups(affinity: npt.NDArray[np.float64], names: Sequence[str]) -> list[list[str]]:
    """The partition of the tasks with the largest total :func:`group_score`.

    ``affinity[i, j]``, ``[m, m]``: how much i helps j. Exact up to 8 tasks; beyond, the pair of groups whose union
    gains most is merged until all would lose (O(m^3) a merge). Groups are listed by their first member.
    """
    m = len(names)
    best = max(partitions(m), key=lambda p: sum(group_score(affinity, g) for g in p)) if m <= EXHAUSTIVE else None
    best = best if best is not None else _merge_greedily(affinity, m)
    return sorted(([names[i] for i in sorted(g)] for g in best), key=lambda g: list(names).index(g[0]))


def partitions(m: int) -> Iterator[list[list[int]]]:
    """All partitions of ``0 .. m-1``, the one with everything together first."""
    if m == 0:
        yield []
        return
    for smaller in partitions(m - 1):
        for i in range(len(smaller)):
            yield [*smaller[:i], [*smaller[i], m - 1], *smaller[i + 1 :]]
        yield [*smaller, [m - 1]]


def _merge_greedily(affinity: npt.NDArray[np.float64], m: int) -> list[list[int]]:
    groups = [[i] for i in range(m)]
    while True:
        gain, pair = 0.0, None  # a tie is merged: fewer models for the same score
        for a in range(len(groups)):
            for b in range(a + 1, len(groups)):
                joined = group_score(affinity, groups[a] + groups[b])
                change = joined - group_score(affinity, groups[a]) - group_score(affinity, groups[b])
                if change > gain or (pair is None and change == gain):
                    gain, pair = change, (a, b)
        if pair is None:
            return groups
        groups[pair[0]] += groups.pop(pair[1])
