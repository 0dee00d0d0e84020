"""``disjoint``: whose each place is, and rows of places that belong to one task each, against plain autograd."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import sharewise as sw
from helpers.architectures import Tasks
from helpers.exact import check_step, forbid
from helpers.shared_net import jacobian
from sharewise.balance import create
from sharewise.balance._owned import OwnedFactor
from sharewise.errors import BalanceError


def picking(kind: str) -> Tasks:
    """Five tasks whose heads pick the rows they look at; some pick one twice."""
    model = Tasks("sequence of vectors" if kind == "steps" else "linear and layer norm", 5)
    owner = torch.arange(5).flip(0)

    def losses() -> dict[str, Tensor]:
        z = model.trunk(model.x)
        found = {}
        for t, head in enumerate(model.heads):
            mine = torch.nonzero(owner == t)[:, 0]
            rows = {
                "mask": lambda m=mine, t=t: z[owner == t],
                "index": lambda m=mine: z[torch.cat([m, m])],
                "steps": lambda m=mine: z[m],
                "slice": lambda m=mine: z[int(m[0]) : int(m[0]) + 1],
                "tanh": lambda m=mine: z.tanh()[m],
            }[kind]()
            found[str(t)] = head(rows.flatten(1)).square().sum()
        return found

    model.picked = losses  # type: ignore[assignment]
    return model


@pytest.mark.parametrize("kind", ["mask", "index", "steps", "slice", "tanh"])
def test_heads_that_pick_their_rows_are_passed_together(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[int] = []
    grad = torch.autograd.grad
    check_step(picking(kind), lambda model: model.picked(), "disjoint")
    model = picking(kind)
    monkeypatch.setattr(torch.autograd, "grad", lambda *a, **k: passes.append(1) or grad(*a, **k))
    sw.backward(model.picked(), create("pcgrad"), shared=model.shared(), mode="disjoint")
    assert len(passes) == (6 if kind == "tanh" else 4)  # two heads, all others, what is shared; or a head each


@pytest.mark.parametrize("other", [0, 4])
def test_heads_that_pick_a_row_of_another_are_seen(other: int) -> None:
    """The fourth task also looks at a row of the first, or of the last."""
    model = Tasks("linear and layer norm", 5)
    z = model.trunk(model.x)
    rows = [[0], [1], [2], [3, other], [4]]
    losses = {
        str(t): h(z[torch.tensor(r)]).square().sum() for t, (h, r) in enumerate(zip(model.heads, rows, strict=True))
    }
    with pytest.raises(BalanceError, match="one has gradients of several"):
        sw.backward(losses, create("pcgrad"), shared=model.shared(), mode="disjoint")


@pytest.mark.parametrize(
    "turned",
    [
        lambda z: z.T.T,
        lambda z: z.T[None, None].permute(3, 1, 2, 0)[:, 0, :, 0],
        lambda z: z.unsqueeze(-1).permute(-1, 0, -2)[0],
        lambda z: torch.stack([z, 2 * z]).transpose(0, -2).select(1, -1),
        lambda z: torch.stack([z, 2 * z], -1).sum(-1),
        lambda z: torch.stack([z, 2 * z], 1).mean(dim=1, keepdim=True)[:, 0],
        lambda z: z.view(-1, 2, 3).view(-1, 6),
    ],
)
def test_owners_of_turned_axes(turned: Callable[[Tensor], Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    forbid(monkeypatch, "_disjoint._by_code")
    torch.manual_seed(0)
    first, last = nn.Linear(4, 6).double(), nn.Linear(6, 3).double()
    x, shared = torch.randn(6, 4, dtype=torch.float64), [*first.parameters(), *last.parameters()]

    def losses() -> dict[str, Tensor]:
        out = last(turned(first(x)))
        return {str(t): out[2 * t : 2 * t + 2].square().sum() for t in range(3)}

    rows = jacobian(losses(), shared)
    balance = sw.backward(losses(), create("pcgrad"), mode="disjoint")
    assert torch.allclose(balance.gram, rows @ rows.T, rtol=1e-12)


def test_pairs_of_examples_are_taken_once_in_every_block(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    owner = torch.tensor([0, 2, 2, 0, 2, 1, 0])  # task 3 has none
    inputs, outputs = torch.randn(7, 4).double(), torch.randn(7, 5).double()
    factor = OwnedFactor(torch.zeros(5, 4), inputs, outputs, owner, 4)
    rows = torch.stack([(outputs[owner == t].T @ inputs[owner == t]).flatten() for t in range(4)])
    monkeypatch.setattr("sharewise.balance._owned.pairs_pay", lambda *_: True)
    for block in (1, 3, 7, 128):
        monkeypatch.setattr("sharewise.balance._owned._BLOCK", block)
        assert torch.allclose(factor.gram(factor, torch.float64), rows @ rows.T, rtol=1e-12, atol=1e-13)
