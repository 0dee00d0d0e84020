"""Shared parameters are found in the graph, once, however many tasks there are."""

from __future__ import annotations

import torch
from torch import nn

from helpers.shared_net import batch, net
from sharewise.balance._graph import find_leaves, leaves_before, reaches, split_leaves


def ids(tensors: list) -> set[int]:
    return {id(t) for t in tensors}


def test_shared_and_own() -> None:
    model = net(3)
    leaves = find_leaves(list(model.losses(batch()).values()))
    assert ids(leaves.shared) == ids(list(model.trunk.parameters()))
    for own, head in zip(leaves.own, model.heads, strict=True):
        assert ids(own) == ids(list(head.parameters()))


def test_shared_by_some_is_shared() -> None:
    a, b, c = (nn.Parameter(torch.ones(2)) for _ in range(3))
    losses = [(a * b).sum(), b.sum(), (c * a).sum()]
    leaves = find_leaves(losses)
    assert ids(leaves.shared) == ids([a, b])
    assert [ids(own) for own in leaves.own] == [set(), set(), ids([c])]


def test_a_path_through_a_node_already_seen() -> None:
    # The third loss meets the graph of the first two below a node that was shared before it came.
    a, b = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    inner = a * 2
    outer = inner * b
    losses = [outer.sum(), outer.mean(), inner.sum()]
    assert ids(find_leaves(losses).shared) == ids([a, b])
    only = find_leaves([inner.sum(), (inner * b).sum()])
    assert ids(only.shared) == ids([a])
    assert ids(only.own[1]) == ids([b])


def test_a_loss_that_is_a_leaf() -> None:
    a = nn.Parameter(torch.ones(()))
    leaves = find_leaves([a, a * 2])
    assert ids(leaves.shared) == ids([a])


def test_the_walk_stops_at_a_representation() -> None:
    model = net(2)
    z = model.trunk(batch())
    own = leaves_before(list(model.losses(batch(), z).values()), [z])
    assert [ids(o) for o in own] == [ids(list(h.parameters())) for h in model.heads]


def test_inputs_that_ask_for_a_gradient_are_not_shared_parameters() -> None:
    model = net(2)
    x = batch().requires_grad_()
    shared, own = split_leaves(find_leaves(list(model.losses(x).values())), None)
    assert ids(shared) == ids(list(model.trunk.parameters()))
    assert all(id(x) in ids(o) for o in own)


def test_frozen_parameters_given_are_left_out() -> None:
    model = net(2)
    model.trunk[0].weight.requires_grad_(False)
    shared, _ = split_leaves(find_leaves(list(model.losses(batch()).values())), list(model.trunk.parameters()))
    assert len(shared) == 3


def test_reaches() -> None:
    model = net(2)
    losses = list(model.losses(batch()).values())
    assert reaches(losses[0], [model.heads[0].weight])
    assert not reaches(losses[0], [model.heads[1].weight])


def test_very_deep_graphs_and_many_tasks() -> None:
    a = nn.Parameter(torch.ones(()))
    value = a
    for _ in range(5000):  # deeper than Python's recursion limit
        value = value * 1.0
    leaves = find_leaves([value + i for i in range(50)])
    assert ids(leaves.shared) == ids([a])
