"""``gram``: one vectorised pass for all tasks from where they meet, where the operations allow it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import sharewise as sw
from helpers.architectures import Tasks
from helpers.exact import check_step, forbid
from helpers.shared_net import jacobian
from sharewise.balance import _take, create

ACTIVATIONS = [nn.ReLU(), nn.LeakyReLU(0.1), nn.ELU(), nn.SiLU(), nn.GELU(), nn.Tanh(), nn.Sigmoid(), nn.LayerNorm(30)]


class Deep(nn.Module):
    """Layers wider than their batch of 4, with a residual and a gate; a hook may look at gradients on the way."""

    def __init__(self, activation: nn.Module, hook: Callable[[Tensor], Tensor | None] | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.middle, self.last = nn.Linear(20, 30), nn.Linear(30, 30), nn.Linear(30, 25)
        self.activation, self.hook = activation, hook
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        z = self.activation(self.first(x))
        if self.hook is not None:
            z.register_hook(self.hook)
        z = z + self.activation(self.middle(z)) * z - 0.5 * z
        return self.last(z.view(2, 2, 30)).view(4, 25)


def of(trunk: nn.Module, tasks: int = 6) -> dict[str, Tensor]:
    torch.manual_seed(1)
    z = trunk(torch.randn(4, 20, dtype=torch.float64))
    return {str(t): (z @ torch.randn(z.shape[1], 2).double()).square().sum() for t in range(tasks)}


def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each step went the way this file is about."""
    found: list[bool] = []
    whole = _take.in_one_pass

    def watched(*arguments: object) -> object:
        result = whole(*arguments)  # type: ignore[arg-type]
        found.append(result is not None)
        return result

    monkeypatch.setattr(_take, "in_one_pass", watched)
    return found


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: type(a).__name__)
def test_all_tasks_in_one_pass_are_exact(activation: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    ways, trunk = taken(monkeypatch), Deep(activation)
    shared = list(trunk.parameters())
    rows = jacobian(of(trunk), shared)
    balance = sw.backward(of(trunk), create("pcgrad"), shared=shared)
    assert ways == [True]
    assert torch.allclose(balance.gram, rows @ rows.T, rtol=1e-11)
    want = create("pcgrad").aggregate(rows, names=list(of(trunk)))
    assert torch.allclose(torch.cat([p.grad.flatten() for p in shared]), want, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["convolutions", "attention", "GRU", "parameters of no layer", "embedding"])
def test_other_operations_take_a_pass_a_task(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ways = taken(monkeypatch)
    check_step(Tasks(name), Tasks.losses, "gram")
    assert True not in ways


def test_a_matrix_that_is_formed_is_not_formed_for_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ways, trunk = taken(monkeypatch), nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 3)).double()
    monkeypatch.setattr(_take, "worthwhile", lambda readings, *_: readings[0].wide_in == 20)
    sw.backward(of(trunk), create("pcgrad"))
    assert ways == [False]


def test_operations_that_are_not_known_to_be_faster_take_a_pass_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    ways = taken(monkeypatch)
    sw.backward(of(Deep(nn.Softmax(-1))), create("pcgrad"))
    assert ways == [False]


@pytest.mark.parametrize("vectorises", [True, False])
def test_hooks_see_the_gradient_of_one_task(vectorises: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes a number out of a tensor cannot be vectorised: then there is a pass a task."""

    def shorten(gradient: Tensor) -> Tensor:
        norm = gradient.norm()
        return gradient / norm if vectorises else gradient / norm.item()

    ways, trunk = taken(monkeypatch), Deep(nn.Tanh(), shorten)
    shared = list(trunk.parameters())
    rows = jacobian(of(trunk), shared)
    balance = sw.backward(of(trunk), create("pcgrad"), shared=shared)
    assert ways == [vectorises]
    assert torch.allclose(balance.gram, rows @ rows.T, rtol=1e-11)


def test_a_task_of_its_own_layer_takes_a_pass_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """One task enters below the others."""
    ways, trunk = taken(monkeypatch), Deep(nn.Tanh())
    shared = list(trunk.parameters())

    def losses() -> dict[str, Tensor]:
        torch.manual_seed(1)
        x = torch.randn(4, 20, dtype=torch.float64)
        return of(trunk) | {"early": trunk.first(x).square().sum()}

    rows = jacobian(losses(), shared)
    balance = sw.backward(losses(), create("pcgrad"), shared=shared)
    assert True not in ways
    assert torch.allclose(balance.gram, rows @ rows.T, rtol=1e-11)
    forbid(monkeypatch, "_take.in_one_pass")
    sw.backward(of(trunk), create("pcgrad"), mode="loop")
