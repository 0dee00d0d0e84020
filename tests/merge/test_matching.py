"""Hidden units found again in another model: Git Re-Basin and ZipIt."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sharewise.errors import MergeError, OptionError
from sharewise.merge import Units, align, match_activations, match_weights, merge_states, units_of, zip_it
from sharewise.merge.matching._features import Features
from sharewise.merge.matching._units import reordered, transformed
from sharewise.merge.matching._zipit import paired


def mlp(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(5, 12), nn.LayerNorm(12), nn.ReLU(), nn.Sequential(nn.Linear(12, 9), nn.ReLU()), nn.Linear(9, 3)
    )


def cnn(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 7, 3), nn.ReLU(), nn.Flatten(), nn.Linear(28, 3)
    )
    model(torch.randn(8, 2, 6, 6))  # running statistics that differ from unit to unit
    return model.eval()


class Attention(nn.Module):
    """One block of attention by heads, and an MLP, around a residual stream."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(8, 8) for _ in range(4))
        self.up, self.down = nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (f(x).unflatten(-1, (4, 2)).transpose(1, 2) for f in (self.q, self.k, self.v))
        x = x + self.o(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2))
        return x + self.down(torch.relu(self.up(x)))


def attention(seed: int = 0) -> Attention:
    torch.manual_seed(seed)
    return Attention()


def attention_units(model: Attention) -> Units:
    units = Units(model.state_dict()).heads("heads", queries="q", keys="k", values="v", out="o", count=4)
    return units.group("mlp", writers=["up"], readers=["down"])


MODELS: dict[str, Any] = {
    "mlp": (mlp, units_of, (5,)),
    "cnn": (cnn, units_of, (2, 6, 6)),
    "attention": (attention, attention_units, (3, 8)),
}


def shuffled(units: Units, state: dict[str, Tensor], seed: int = 5) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    draw = torch.Generator().manual_seed(seed)
    orders = {name: torch.randperm(group.size, generator=draw) for name, group in units.groups.items()}
    return units.permute(state, orders), orders


def run(model: nn.Module, state: dict[str, Tensor], x: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.func.functional_call(model, state, (x,))


@pytest.mark.parametrize("kind", MODELS)
def test_a_permuted_model_computes_the_same(kind: str) -> None:
    make, spec, shape = MODELS[kind]
    model = make()
    units, x = spec(model), torch.randn(4, *shape)
    other, orders = shuffled(units, model.state_dict())
    assert any(not torch.equal(other[k], v) for k, v in model.state_dict().items()) and len(orders) == 2
    assert torch.allclose(run(model, other, x), model.eval()(x), atol=1e-5)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("how", ["weights", "activations"])
def test_a_known_permutation_is_recovered_exactly(kind: str, how: str) -> None:
    make, spec, shape = MODELS[kind]
    model = make()
    units, state = spec(model), model.state_dict()
    other, orders = shuffled(units, state)
    if how == "weights":
        found = match_weights(units, state, other, seed=3)
    else:
        found = match_activations(units, model, state, other, torch.randn(4, 50, *shape))
    for name, order in orders.items():
        assert torch.equal(found[name], order.argsort())
    again = units.permute(other, found)
    assert all(torch.equal(again[k], state[k]) for k in state)


def test_matching_weights_brings_models_nearer_and_keeps_what_they_compute() -> None:
    models = {f"m{i}": mlp(i) for i in range(3)}
    states = {k: m.state_dict() for k, m in models.items()}
    units = units_of(models["m0"])
    aligned = align(units, states)
    x = torch.randn(6, 5)
    for name in ("m1", "m2"):
        before, after = (
            sum(float((s[name][k] - states["m0"][k]).square().sum()) for k in states["m0"]) for s in (states, aligned)
        )
        assert after < before and torch.allclose(run(models[name], aligned[name], x), models[name](x), atol=1e-5)
    assert all(torch.equal(aligned["m0"][k], states["m0"][k]) for k in states["m0"])
    by_second = align(units, states, reference="m1")
    assert all(torch.equal(by_second["m1"][k], states["m1"][k]) for k in states["m1"])


def test_units_with_several_entries_move_together() -> None:
    """Two units of two entries: (1 2)(3 4) -> (3 4)(1 2); a matrix that adds them gives (4 6)."""
    x = torch.tensor([[1.0, 2, 3, 4]])
    assert torch.equal(reordered(x, 1, torch.tensor([1, 0])), torch.tensor([[3.0, 4, 1, 2]]))
    assert torch.equal(transformed(x, 1, torch.ones(1, 2)), torch.tensor([[4.0, 6]]))


def test_zipping_a_model_with_itself_permuted_changes_nothing() -> None:
    model = mlp()
    units, state, x = units_of(model), model.state_dict(), torch.randn(200, 5)
    other, _ = shuffled(units, state)
    zipped = zip_it(units, model, {"a": state, "b": other}, [x], within=0.0)
    for own in zipped.values():
        assert torch.allclose(run(model, own, x), model(x), atol=1e-4)
    assert torch.equal(zipped["a"]["0.weight"], zipped["b"]["0.weight"])


def test_units_that_say_the_same_are_paired_within_a_model() -> None:
    """a: units x, x and b: units y, y, of two inputs. The pairs are within: one unit x, one unit y, and each model
    reads its own: both compute what they did, which no permutation allows."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False))
    rows = torch.eye(2)
    states = {m: {"0.weight": rows[[i, i]], "1.weight": torch.tensor([[1.0, 2.0]])} for i, m in enumerate(("a", "b"))}
    x = torch.randn(50, 2)
    zipped = zip_it(units_of(model), model, states, [x])
    for name, own in states.items():
        assert torch.allclose(run(model, zipped[name], x), run(model, own, x), atol=1e-6)
    assert sorted(zipped["a"]["0.weight"].tolist()) == [[0.0, 1.0], [1.0, 0.0]]
    apart = zip_it(units_of(model), model, states, [x], within=0.0)
    assert torch.equal(apart["a"]["0.weight"], torch.full((2, 2), 0.5))


def test_a_partial_zip_leaves_later_layers_to_their_models() -> None:
    models = {"a": mlp(0), "b": mlp(1)}
    states = {k: m.state_dict() for k, m in models.items()}
    units, x = units_of(models["a"]), torch.randn(60, 5)
    zipped = zip_it(units, models["a"], states, [x], only=["0"])
    assert all(torch.equal(zipped["a"][f"0.{n}"], zipped["b"][f"0.{n}"]) for n in ("weight", "bias"))
    for name in states:
        assert torch.equal(zipped[name]["4.weight"], states[name]["4.weight"])
        assert torch.equal(zipped[name]["3.0.bias"], states[name]["3.0.bias"])
        assert not torch.equal(zipped[name]["3.0.weight"], states[name]["3.0.weight"])
    assert merge_states("linear", zipped, weight=1.0)["4.weight"].shape == (3, 9)


def test_heads_of_different_tasks_may_differ() -> None:
    model = mlp()
    one, two = model.state_dict(), mlp(1).state_dict()
    two |= {"4.weight": torch.randn(7, 9), "4.bias": torch.randn(7)}
    units = units_of(model)
    zipped = zip_it(units, model, {"a": one, "b": two}, [torch.randn(60, 5)])
    assert zipped["b"]["4.weight"].shape == (7, 9)
    assert set(match_weights(units, one, two)) == set(units.groups)


@pytest.mark.parametrize("within", [0.0, 0.3, 0.5, 1.0])
def test_every_unit_is_in_one_pair(within: float) -> None:
    n = 11
    x = torch.randn(40, 2 * n, generator=torch.Generator().manual_seed(1))
    pairs = paired(torch.corrcoef(x.T), within)
    assert sorted(pairs.flatten().tolist()) == list(range(2 * n))
    inside = [int(((pairs >= m * n) & (pairs < m * n + n)).all(1).sum()) for m in range(2)]
    assert inside[0] == inside[1] <= within * n / 2


def test_units_that_cannot_be() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(2, 2)

    with pytest.raises(MergeError, match=r"Own is no chain of layers .its forward.: declare"):
        units_of(Own())
    with pytest.raises(MergeError, match="is no chain of layers"):
        units_of(nn.Sequential(nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(4, 4, 3)))
    state = attention().state_dict()
    with pytest.raises(MergeError, match='no module "ups" has tensors; did you mean "up"'):
        Units(state).group("mlp", writers=["ups"], readers=["down"])
    with pytest.raises(MergeError, match=r'axis 0 of tensor "v.weight" is 8 long, not a multiple of 3'):
        Units(state).heads("heads", queries="q", keys="k", values="v", out="o", count=3)
    with pytest.raises(MergeError, match="exists already"):
        attention_units(attention()).group("mlp", writers=["up"], readers=["down"])
    with pytest.raises(MergeError, match="at least one writer"):
        Units(state).group("mlp", writers=["up"], readers=[])


def test_models_that_do_not_match() -> None:
    model = mlp()
    units, state = units_of(model), model.state_dict()
    x = [torch.randn(9, 5)]
    lacking = {k: v for k, v in state.items() if k != "0.bias"}
    with pytest.raises(MergeError, match=r'model "second" has no tensor "0.bias" of the units "0"'):
        match_weights(units, state, lacking)
    with pytest.raises(MergeError, match=r'"0.bias" of model "second" is \[4\], expected \[12\]'):
        match_weights(units, state, state | {"0.bias": torch.ones(4)})
    with pytest.raises(MergeError, match="two models are zipped at a time, found 1"):
        zip_it(units, model, {"a": state}, x)
    with pytest.raises(OptionError, match="within must be from 0 to 1"):
        zip_it(units, model, {"a": state, "b": state}, x, within=2.0)
    with pytest.raises(MergeError, match="no group of units"):
        zip_it(units, model, {"a": state, "b": state}, x, only=["9"])
    with pytest.raises(MergeError, match="no batch"):
        match_activations(units, model, state, state, [])
    with pytest.raises(MergeError, match="not finite"):
        match_activations(units, model, state, state, [torch.full((2, 5), torch.nan)])
    with pytest.raises(MergeError, match="needs both model and batches"):
        align(units, {"a": state}, model=model)
    with pytest.raises(MergeError, match='reference "b" is none of the models'):
        align(units, {"a": state}, reference="b")


def test_units_that_are_always_on_are_not_alike_for_that() -> None:
    # Units 0 and 2 move together, 1 moves against them; all three hardly move beside their mean of 100.
    move = torch.randn(500, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    seen = 100 + torch.stack([move, -move, 2 * move])
    found = Features(seen @ seen.T / 500, seen.mean(1, keepdim=True)).correlation()
    assert found[0, 2] == pytest.approx(1.0, abs=1e-4) and found[0, 1] == pytest.approx(-1.0, abs=1e-4)
