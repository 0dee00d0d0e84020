"""Classes of tasks without an edge between two of one class."""

from __future__ import annotations

import numpy as np
from torch import Tensor


def colour(edges: Tensor) -> list[list[int]]:
    """Welsh and Powell's greedy colouring: classes of vertices, each in ascending order.

    Vertices by descending degree (of equal ones the lower number first) each take the first class in which they have no
    neighbour: at most one class more than the largest degree. The same classes as ``networkx``'s ``largest_first``;
    written out because building its graph of 500 tasks takes longer than a training step.

    Args:
        edges: symmetric BoolTensor ``[m, m]``.

    Source: Welsh and Powell, "An upper bound for the chromatic number of a graph and its application to timetabling
    problems", The Computer Journal 1967. Cost O(m^2) for m tasks, at most m vector operations.
    """
    joined = edges.cpu().numpy()
    taken = np.zeros_like(joined)  # row c: who has a neighbour in class c
    classes: list[list[int]] = []
    for vertex in np.argsort(-joined.sum(1), kind="stable"):
        free = ~taken[: len(classes), vertex]
        place = int(free.argmax()) if free.any() else len(classes)
        if place == len(classes):
            classes.append([])
        classes[place].append(int(vertex))
        taken[place] |= joined[vertex]
    return [sorted(members) for members in classes]


def repeat_where_free(classes: list[list[int]], edges: Tensor, least: int) -> list[list[int]]:
    """Each vertex in ``least`` classes, as far as there are classes where it has no neighbour; the smallest first.

    No class is added, so a vertex with neighbours in all other classes stays in one.
    """
    found = [list(members) for members in classes]
    if least == 1:
        return found
    for vertex in range(len(edges)):
        free = [c for c in found if vertex not in c and not bool(edges[vertex, c].any())]
        lacking = least - sum(vertex in c for c in found)
        for members in sorted(free, key=len)[: max(0, lacking)]:
            members.append(vertex)
    return [sorted(members) for members in found]
