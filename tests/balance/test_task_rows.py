"""Rows that ``backward(..., rows=...)`` hands back are the tasks' gradients, whatever balances them."""

from __future__ import annotations

import pytest
import torch

import sharewise as sw
from helpers.shared_net import Net, batch, flat, gradients, jacobian, net
from sharewise.balance import Accumulation, available, create
from sharewise.errors import BalanceError, OptionError

NAMES = [f"task {i}" for i in range(3)]
OPTIONS = {"constant": {"weights": {"task 0": 0.2, "task 1": 0.3, "task 2": 0.5}}}


def made(name: str):
    if name == "trimmed_mean":
        return create(name, trim=1, tasks=NAMES)
    return create(name, tasks=NAMES, **OPTIONS.get(name, {}))


def rows_of(balance: sw.Balance, model: Net) -> torch.Tensor:
    found = {id(p): r.flatten(1) for p, r in balance.rows.parameters()}
    return torch.cat([found[id(p)] for p in model.shared_parameters()], dim=1)


@pytest.mark.parametrize("name", [n for n in available() if n not in ("rotograd", "aim")])
@pytest.mark.parametrize("scale", [1.0, 8.0])
def test_rows_are_the_gradients_and_the_step_is_the_same(name: str, scale: float) -> None:
    model, x = net(), batch()
    sw.backward(model.losses(x), made(name), shared=model.shared_parameters(), scale=scale)
    plain = gradients(model)
    model.zero_grad()
    balance = sw.backward(model.losses(x), made(name), shared=model.shared_parameters(), scale=scale, rows=True)
    assert all(torch.equal(a, b) for a, b in zip(plain.values(), gradients(model).values(), strict=True))
    want = jacobian(model.losses(x), model.shared_parameters())
    assert balance.rows.names == tuple(NAMES)
    torch.testing.assert_close(rows_of(balance, model), want)
    torch.testing.assert_close(balance.rows.gram(), want @ want.T)
    torch.testing.assert_close(balance.gram, want @ want.T)
    if create(name, tasks=NAMES, **OPTIONS.get(name, {})).needs != "gradients":
        direction = sum(balance.weights[n] * row for n, row in zip(NAMES, want, strict=True))
        torch.testing.assert_close(flat(model.shared_parameters()), scale * direction)


@pytest.mark.parametrize("method", ["equal", "pcgrad"])
def test_only_those_that_are_wanted(method: str) -> None:
    model, x = net(), batch()
    shared = model.shared_parameters()
    balance = sw.backward(model.losses(x), create(method), shared=shared, rows=["task 2", "task 0"])
    want = jacobian(model.losses(x), shared)[[0, 2]]
    assert balance.rows.names == ("task 0", "task 2")
    torch.testing.assert_close(rows_of(balance, model), want)
    torch.testing.assert_close(balance.rows.gram(), want @ want.T)
    assert (balance.gram is None) == (method == "equal")
    with pytest.raises(OptionError, match=r'rows names task "task 3".*did you mean "task'):
        sw.backward(model.losses(x), create(method), rows=["task 3"])
    with pytest.raises(OptionError, match="representation"):
        z = model.trunk(x)
        sw.backward(model.losses(x, z), create("pcgrad"), representation=z, rows=True)


@pytest.mark.parametrize("method", ["equal", "pcgrad"])
def test_over_batches_rows_are_means_and_products_between_batches_are_known(method: str) -> None:
    model, xs = net(), [batch(8, seed) for seed in (1, 2, 3)]
    shared = model.shared_parameters()
    step = Accumulation(create(method), batches=3, shared=shared, rows=True)
    for x in xs:
        step.add(model.losses(x))
    rows = step.resolve().rows
    each = [jacobian(model.losses(x), shared) for x in xs]
    torch.testing.assert_close(rows.gram(), sum(each) @ sum(each).T / 9)
    pairs = [each[a] @ each[b].T for a in range(3) for b in range(3) if a != b]
    torch.testing.assert_close(rows.between(), sum(pairs) / 6)
    one = sw.backward(model.losses(xs[0]), create(method), shared=shared, rows=True).rows
    with pytest.raises(BalanceError, match="two batches or more"):
        one.between()


def test_groups_have_rows_of_their_own() -> None:
    model, x = net(), batch()
    balance = sw.backward(model.losses(x), create("pcgrad"), shared=sw.balance.layers(model.trunk), rows=True)
    assert balance.rows is None and list(balance.groups) == ["0", "2"]
    for name, layer in (("0", model.trunk[0]), ("2", model.trunk[2])):
        found = {id(p): rows for p, rows in balance.groups[name].rows.parameters()}
        assert set(found) == {id(p) for p in layer.parameters()}
        want = jacobian(model.losses(x), [layer.weight])
        torch.testing.assert_close(found[id(layer.weight)].flatten(1), want)


@pytest.mark.parametrize("method", ["equal", "pcgrad"])
def test_an_overflow_is_left_out_when_nobody_looks(method: str) -> None:
    model, x = net(), batch()
    losses = model.losses(x)
    losses["task 1"] = losses["task 1"] * torch.inf
    balance = sw.backward(
        losses, create(method), shared=model.shared_parameters(), rows=True, on_nonfinite="ignore", mode="loop"
    )
    assert balance.rows.names == ("task 0", "task 2")


def test_inner_products_with_a_direction() -> None:
    model, x = net(), batch()
    rows = sw.backward(model.losses(x), create("pcgrad"), shared=model.shared_parameters(), rows=True).rows
    want = jacobian(model.losses(x), model.shared_parameters()) @ flat(model.shared_parameters())
    torch.testing.assert_close(rows.inner([p.grad for p, _ in rows.parameters()]), want)
