"""Hard sharing: names of any kind, shapes, which parameters are whose, states that find their task."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import sharewise as sw
from sharewise.errors import ModelError, TaskError
from sharewise.sharing import HardSharing, hard_sharing
from sharewise.sharing._names import module_key

ODD = [
    "a.b",
    "",
    "1",
    "<script>alert(1)</script>",
    "keys",
    "forward",
    "a_b",
    "a__b",
    "a_2e_b",
    "größe",
    "x" * 300,
    "\n",
]


def encoder() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 5), nn.ReLU())


def test_any_string_is_a_task_name() -> None:
    model = HardSharing(encoder(), {name: nn.Linear(5, 1) for name in ODD})
    out = model(torch.randn(4, 3))
    assert list(out) == ODD
    assert all(v.shape == (4,) for v in out.values())
    other = HardSharing(encoder(), {name: nn.Linear(5, 1) for name in reversed(ODD)})
    other.load_state_dict(model.state_dict())
    x = torch.randn(2, 3)
    for name in ODD:
        assert torch.equal(model(x)[name], other(x)[name])


def test_keys_are_identifiers_and_differ() -> None:
    keys = [module_key(name) for name in ODD]
    assert len(set(keys)) == len(ODD)
    assert all(key.isidentifier() and key.isascii() for key in keys)


def test_shapes_follow_the_kind() -> None:
    tasks = [sw.regression("r"), sw.binary("b"), sw.multiclass("m", 4), sw.multilabel("l", 3), sw.ranking("k")]
    model = hard_sharing(encoder(), tasks, width=5)
    shapes = {name: tuple(v.shape) for name, v in model(torch.randn(7, 3)).items()}
    assert shapes == {"r": (7,), "b": (7,), "m": (7, 4), "l": (7, 3), "k": (7,)}
    assert model(torch.randn(1, 3))["r"].shape == (1,)


def test_heads_of_ones_own() -> None:
    class Pixels(nn.Module):
        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return z[:, :, None, None].expand(-1, -1, 2, 2)

    out = HardSharing(encoder(), {"image": Pixels(), "number": nn.Linear(5, 1)})(torch.randn(4, 3))
    assert out["image"].shape == (4, 5, 2, 2)
    assert out["number"].shape == (4,)


def test_which_parameters_are_whose() -> None:
    model = HardSharing(encoder(), {"a": nn.Linear(5, 1), "b": nn.Linear(5, 1)})
    shared = {id(p) for p in model.shared_parameters()}
    a, b = ({id(p) for p in model.head_parameters(t)} for t in ("a", "b"))
    assert shared == {id(p) for p in model.encoder.parameters()}
    assert shared | a | b == {id(p) for p in model.parameters()}
    assert not a & b
    with pytest.raises(TaskError, match='no head for task "hieght"; known: a, b'):
        model.head_parameters("hieght")


def test_balanced_training_step_runs() -> None:
    model = HardSharing(encoder(), {"a.b": nn.Linear(5, 1), "": nn.Linear(5, 1)})
    losses = {k: v.square().mean() for k, v in model(torch.randn(4, 3)).items()}
    balance = sw.backward(losses, sw.balance.create("pcgrad"), shared=model)
    assert balance.names == ("a.b", "")


def test_width_must_be_known() -> None:
    with pytest.raises(ModelError, match="Sequential gives for an example is not known: pass width"):
        hard_sharing(encoder(), [sw.regression("a")])


def test_no_heads_and_tasks_of_one_name() -> None:
    with pytest.raises(ModelError, match="a head for at least one task"):
        HardSharing(encoder(), {})
    with pytest.raises(TaskError, match="two tasks are named 'a'"):
        hard_sharing(encoder(), [sw.regression("a"), sw.regression("a")], width=5)
