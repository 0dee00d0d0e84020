"""Classes of tasks without an edge between two of one class."""

from __future__ import annotations

from torch import Tensor


def colour(edges: Tensor) -> list[list[int]]:
    """Welsh and Powell's greedy colouring: classes of vertices, each in ascending order.

    Vertices by descending degree (of equal ones the lower number first) each take the first class in which they have no
    neighbour: at most one class more than the largest degree. ``networkx`` does it.

    Args:
        edges: symmetric BoolTensor ``[m, m]``.

    Source: Welsh and Powell, "An upper bound for the chromatic number of a graph", The Computer Journal 1967.
    """
    import networkx as nx

    graph = nx.Graph()
    graph.add_nodes_from(range(len(edges)))
    graph.add_edges_from(edges.triu(1).nonzero().tolist())
    colours = nx.greedy_color(graph, strategy="largest_first")
    classes: list[list[int]] = [[] for _ in range(1 + max(colours.values()))]
    for vertex in range(len(edges)):
        classes[colours[vertex]].append(vertex)
    return classes


def repeat_where_free(classes: list[list[int]], edges: Tensor, least: int) -> list[list[int]]:
    """Each vertex in ``least`` classes, as far as there are classes where it has no neighbour; the smallest first.

    No class is added, so a vertex with neighbours in all other classes stays in one.
    """
    found = [list(members) for members in classes]
    for vertex in range(len(edges)):
        free = [c for c in found if vertex not in c and not bool(edges[vertex, c].any())]
        lacking = least - sum(vertex in c for c in found)
        for members in sorted(free, key=len)[: max(0, lacking)]:
            members.append(vertex)
    return [sorted(members) for members in found]
