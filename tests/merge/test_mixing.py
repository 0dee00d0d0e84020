"""Merges that learn from unlabelled inputs, and merges that are mixed while they run."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sharewise.errors import MergeError, OptionError
from sharewise.merge import (
    Ensemble,
    Masked,
    Surgery,
    TaskModel,
    TwinMerging,
    WEMoE,
    adamerging,
    collect_gram,
    merge_states,
    regmean_plus_plus,
)
from sharewise.merge.mixing._adamerging import consistent
from sharewise.merge.mixing._descend import entropy
from sharewise.merge.mixing._masked import pack, unpack
from sharewise.merge.mixing._task_model import each_own
from sharewise.merge.mixing._twin import leading

TASKS = ("a", "b")


class Network(nn.Module):
    """A trunk with an MLP block, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(4, 6)
        self.block = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 6))
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        return self.head(h + self.block(h))


def made(
    scale: float = 0.2,
) -> tuple[Network, dict[str, dict[str, Tensor]], dict[str, Tensor], dict[str, list[Tensor]]]:
    """The model, two fine-tunes with heads of their own, the base, and inputs of either task."""
    torch.manual_seed(0)
    model = Network()
    base = copy.deepcopy(model.state_dict())
    states = {t: {k: v + scale * torch.randn_like(v) for k, v in base.items()} for t in TASKS}
    batches = {t: [torch.randn(5, 4) + 3 * i for _ in range(3)] for i, t in enumerate(TASKS)}
    return model, states, base, batches


def run(model: nn.Module, state: dict[str, Tensor], x: Tensor) -> Tensor:
    return torch.func.functional_call(model, state, (x,))


def close(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a, b, atol=1e-5)


def test_regmean_plus_plus_of_one_layer_is_regmean() -> None:
    layers = {t: nn.Linear(4, 3) for t in TASKS}
    states = {t: m.state_dict() for t, m in layers.items()}
    batches = {t: [torch.randn(9, 4), torch.randn(9, 4)] for t in TASKS}
    for bias in (False, True):
        grams = {t: collect_gram(m, batches[t], bias=bias) for t, m in layers.items()}
        expected = merge_states("regmean", states, statistics=grams)
        found = regmean_plus_plus(nn.Linear(4, 3), states, batches, bias=bias)
        assert all(close(found[k], expected[k]) for k in expected)


def test_regmean_plus_plus_goes_through_merged_layers() -> None:
    """The second layer is RegMean on what the merged first layer gives, not on what each model's own gives."""
    model, states, base, batches = made()
    found = regmean_plus_plus(model, states, batches, base, exclude=["head"])
    assert set(found) == {k for k in base if not k.startswith("head")}
    stem = nn.Linear(4, 6)
    stem.load_state_dict({"weight": found["stem.weight"], "bias": found["stem.bias"]})
    with torch.no_grad():
        hidden = {t: [stem(x) for x in own] for t, own in batches.items()}
    layer = nn.Linear(6, 8)
    grams = {t: {"w": collect_gram(layer, own)["weight"]} for t, own in hidden.items()}
    only = {t: {"w": s["block.0.weight"]} for t, s in states.items()}
    assert close(found["block.0.weight"], merge_states("regmean", only, statistics=grams)["w"])
    grams = {t: collect_gram(model, batches[t]) for t in TASKS}
    plain = merge_states("regmean", states, statistics=grams, exclude=["head"])
    assert close(found["stem.weight"], plain["stem.weight"]) and not close(
        found["block.0.weight"], plain["block.0.weight"]
    )


def test_regmean_plus_plus_counts_every_call_of_a_layer() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(x) + self.fc(x.flip(-1))

    states = {t: Twice().state_dict() for t in TASKS}
    batches = {t: [torch.randn(6, 4)] for t in TASKS}
    both = {t: torch.cat([x, x.flip(-1)]).double() for t, (x,) in batches.items()}
    grams = {t: {"fc.weight": x.T @ x} for t, x in both.items()}
    found = regmean_plus_plus(Twice(), states, batches)
    assert close(found["fc.weight"], merge_states("regmean", states, statistics=grams)["fc.weight"])


@pytest.mark.parametrize("by", ["task", "layer"])
def test_adamerging_starts_at_task_arithmetic_and_lowers_the_entropy(by: Any) -> None:
    model, states, base, batches = made()
    start = adamerging(model, states, base, batches, by=by, steps=0, exclude=["head"])
    expected = merge_states("task_arithmetic", states, base, weight=0.3, exclude=["head"])
    assert all(close(start.state[k], expected[k]) for k in expected) and set(start.state) == set(expected)
    found = adamerging(model, states, base, batches, by=by, steps=60, learning_rate=0.02, exclude=["head"])
    assert sum(found.entropy[-3:]) < sum(found.entropy[:3])  # three batches in turn
    values = [tuple(v.values()) for v in found.coefficients.values()]
    assert (len(set(values)) == 1) == (by == "task") and set(found.coefficients) == set(expected)
    for name, own in found.coefficients.items():
        wanted = base[name] + sum(own[t] * (states[t][name] - base[name]) for t in TASKS)
        assert close(found.state[name], wanted)


def test_entropy_by_hand() -> None:
    """ln 4 for four equal logits, 0 for a sure prediction: half of it for both together."""
    logits = torch.tensor([[0.0, 0, 0, 0], [1e4, 0, 0, 0]])
    assert float(entropy(logits)) == pytest.approx(math.log(4) / 2)


def test_adamerging_trims_and_elects() -> None:
    """Two of three kept: (3, ., -1) and (-2, 2.5, .); the signs elected are those of the sums (1, 2.5, -1)."""
    rows = torch.tensor([[3.0, 0.1, -1.0], [-2.0, 2.5, 0.5]])
    assert torch.equal(consistent(rows, 0.67), torch.tensor([[3.0, 0, -1], [0, 2.5, 0]]))
    model, states, base, batches = made()
    found = adamerging(model, states, base, batches, density=0.2, steps=1, init=1.0, exclude=["head"])
    assert ((found.state["stem.weight"] == base["stem.weight"]).float().mean()) > 0.5


def test_adamerging_trims_each_tensor_or_the_whole_model() -> None:
    """Of one task, nothing to elect: a fifth of each tensor, or of all entries together, those that changed most."""
    model, states, base, batches = made()
    one, own = {"a": states["a"]}, {"a": batches["a"]}
    changes = {n: (one["a"][n] - base[n]).abs() for n in base if not n.startswith("head")}
    for trim in ("tensor", "model"):
        options: Any = {"density": 0.2, "trim": trim, "steps": 0, "init": 1.0, "exclude": ["head"]}
        found = adamerging(model, one, base, own, **options).state
        kept = {n: found[n] != base[n] for n in changes}
        if trim == "tensor":
            assert all(int(kept[n].sum()) == max(1, int(0.2 * kept[n].numel())) for n in kept)
            continue
        every, chosen = (torch.cat([t.flatten() for t in by_name.values()]) for by_name in (changes, kept))
        assert int(chosen.sum()) == int(0.2 * len(every)) and every[chosen].min() >= every[~chosen].max()


def test_wrong_batches() -> None:
    model, states, base, batches = made()
    with pytest.raises(MergeError, match='no batch is given for task "b"'):
        adamerging(model, states, base, {"a": batches["a"]})
    with pytest.raises(MergeError, match='"c", which is none of the models'):
        adamerging(model, states, base, batches | {"c": batches["a"]})
    with pytest.raises(MergeError, match='loss of task "a" is not finite in step 0'):
        adamerging(model, states, base, batches | {"a": [torch.full((2, 4), torch.nan)]})
    with pytest.raises(OptionError, match="trim must be"):
        adamerging(model, states, base, batches, density=0.2, trim="layer")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="by must be"):
        adamerging(model, states, base, batches, by="block")  # type: ignore[arg-type]
    with pytest.raises(MergeError, match='model "b" has no tensor "stem'):
        TaskModel(model, states | {"b": {k: v for k, v in states["b"].items() if k != "stem.bias"}})
    with pytest.raises(MergeError, match=r'is \[5\] in "b" and \[6\] in the model'):
        TaskModel(model, states | {"b": states["b"] | {"stem.bias": torch.ones(5)}})


@pytest.mark.parametrize("how", ["emr", "tall"])
def test_masked_models_are_the_merged_files_of_each_task(how: Any) -> None:
    model, states, base, _ = made()
    merged = Masked(model, states, base, how=how, exclude=["head"])
    for task in TASKS:
        expected = merge_states(how, states, base, task=task, exclude=["head"])
        found = merged.state(task)
        assert all(close(found[k], expected[k]) for k in expected)
        assert torch.equal(found["head.weight"], states[task]["head.weight"])
        x = torch.randn(5, 4)
        assert close(merged(x, task=task), run(model, found, x))
    with pytest.raises(MergeError, match='task "c" is none of the models'):
        merged(x, task="c")
    with pytest.raises(OptionError, match="how must be"):
        Masked(model, states, base, how="ties")  # type: ignore[arg-type]


def test_masks_take_a_bit_an_entry() -> None:
    bits = torch.rand(3, 21) > 0.5
    assert pack(bits).shape == (3, 3) and all(
        torch.equal(unpack(p, 21), b) for p, b in zip(pack(bits), bits, strict=True)
    )
    model, states, base, _ = made()
    merged = Masked(model, states, base)
    own = sum(v.numel() * 4 for v in base.values())
    assert merged.storage < 2 * own + len(TASKS) * (own / 32 + 10) + 8 * len(TASKS)


def test_one_expert_masked_is_that_expert() -> None:
    model, states, base, _ = made()
    found = Masked(model, {"a": states["a"]}, base).state("a")
    assert all(close(found[k], states["a"][k]) for k in base)


def test_ensemble_is_the_mean_of_logits_through_the_task_s_head() -> None:
    model, states, _, _ = made()
    x = torch.randn(5, 4)
    merged = Ensemble(model, states, exclude=["head"])
    heads = {k: v for k, v in states["b"].items() if k.startswith("head")}
    expected = (run(model, states["a"] | heads, x) + run(model, states["b"], x)) / 2
    assert close(merged(x, task="b"), expected)
    assert close(Ensemble(model, {"a": states["a"]})(x), run(model, states["a"], x))
    with pytest.raises(MergeError, match="every task has its own head: say task="):
        merged(x)


def test_each_example_has_its_own_values() -> None:
    layer = nn.Linear(4, 3, bias=False)
    vectors, x, weights = torch.randn(2, 3, 4), torch.randn(7, 4), torch.rand(7, 2)
    for chunk in (None, 3):
        found = each_own(layer, lambda w: {"weight": torch.tensordot(w, vectors, 1)}, weights, (x,), {}, chunk)
        assert close(found, torch.einsum("bt,toi,bi->bo", weights, vectors, x))


def test_twin_merging_finds_whose_an_input_is() -> None:
    """With the whole rank and a sure router each input meets its own task's model."""
    model, states, base, batches = made(scale=0.5)
    torch.manual_seed(1)
    merged = TwinMerging(model, states, base, at="block", width=6, rank=1.0, exclude=["head"])
    losses = merged.fit(batches, steps=150, learning_rate=0.02)
    assert losses[-1] < 0.2 < losses[0]
    with torch.no_grad():
        merged.router[2].weight *= 100
        merged.router[2].bias *= 100
        for task in TASKS:
            x = batches[task][0]
            assert torch.allclose(merged(x, task=task), run(model, states[task], x), atol=1e-3)


def test_leading_part_is_the_nearest_of_its_rank() -> None:
    matrices = torch.randn(2, 8, 5)
    left, right = leading(matrices, 0.4)
    assert left.shape == (2, 8, 2) and right.shape == (2, 2, 5)
    s = torch.linalg.svdvals(matrices)
    assert close((matrices - left @ right).square().sum((1, 2)), s[:, 2:].square().sum(1))
    left, right = leading(matrices, 1.0)
    assert close(left @ right, matrices)


def test_wemoe_with_constant_weights_is_task_arithmetic_and_learns() -> None:
    model, states, base, batches = made()
    merged = WEMoE(model, states, base, blocks={"block": 6}, exclude=["head"])
    x = batches["a"][0]
    for block in merged.blocks:
        before = block.router[2].weight.detach().clone()
        nn.init.zeros_(block.router[2].weight)
    expected = merge_states("task_arithmetic", states, base, weight=0.3, exclude=["head"])
    heads = {k: v for k, v in states["a"].items() if k.startswith("head")}
    assert close(merged(x, task="a"), run(model, expected | heads, x))
    merged.blocks[0].router[2].weight.data.copy_(before)
    history = merged.fit(batches, steps=60, learning_rate=0.02)
    assert sum(history[-3:]) < sum(history[:3])
    assert not close(merged(x, task="a"), run(model, expected | heads, x))
    with pytest.raises(MergeError, match='no module "blocks"; did you mean "block"'):
        WEMoE(model, states, base, blocks={"blocks": 6})


def test_surgery_starts_at_the_merged_model_and_nears_the_task_s_features() -> None:
    model, states, base, batches = made()
    merged = merge_states("task_arithmetic", states, base, weight=0.3, exclude=["head"])
    found = Surgery(model, states, merged, at="block", width=6, rank=4, exclude=["head"])
    x = batches["a"][0]
    heads = {k: v for k, v in states["a"].items() if k.startswith("head")}
    assert close(found(x, task="a"), run(model, merged | heads, x))
    h = torch.tensor([[1.0, -2, 0, 0, 0, 0]])
    with torch.no_grad():  # A h = 1 for two of four rows, -1 for the others: h - B ReLU(A h) = h - 2 (1, ..., 1)
        down, up = found.adapters[0][0].weight, found.adapters[0][2].weight
        down.zero_()
        down[:, 0] = torch.tensor([1.0, 1.0, -1.0, -1.0])
        up.fill_(1.0)
        assert close(found.operate(h, "a"), h - 2)
        up.zero_()
        down.normal_()
    history = found.fit(batches, steps=100, learning_rate=0.02)
    assert history[-1] < 0.7 * history[0]


def test_they_are_saved_and_loaded(tmp_path: Path) -> None:
    model, states, base, batches = made()
    x = batches["a"][0]

    def build(seed: int) -> dict[str, TaskModel]:
        torch.manual_seed(seed)
        merged = merge_states("task_arithmetic", states, base, weight=0.3 + seed, exclude=["head"])
        return {
            "masked": Masked(model, states, base, exclude=["head"]),
            "twin": TwinMerging(model, states, base, at="block", width=6, exclude=["head"]),
            "wemoe": WEMoE(model, states, base, blocks={"block": 6}, exclude=["head"]),
            "surgery": Surgery(model, states, merged, at="block", width=6, exclude=["head"]),
            "ensemble": Ensemble(model, states, exclude=["head"]),
        }

    for (name, one), other in zip(build(0).items(), build(1).values(), strict=True):
        save_file(one.state_dict(), tmp_path / f"{name}.safetensors")
        other.load_state_dict(load_file(tmp_path / f"{name}.safetensors"))
        assert torch.equal(one(x, task="a"), other(x, task="a"))
        assert sum(v.numel() * v.element_size() for v in one.state_dict().values()) == one.storage


def test_they_move_with_what_the_model_does_not_save() -> None:
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = nn.Linear(4, 4)
            self.register_buffer("shift", torch.ones(4), persistent=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.block(x) + self.shift

    model, x = Shifted(), torch.randn(6, 4)
    base = model.state_dict()
    states = {t: {k: v + torch.randn_like(v) for k, v in base.items()} for t in TASKS}
    for merged in (
        Masked(model, states, base),
        TwinMerging(model, states, base, at="block", width=4),
        WEMoE(model, states, base, blocks={"block": 4}),
        Surgery(model, states, base, at="block", width=4),
    ):
        before = merged(x, task="a")
        after = merged.double()(x.double(), task="a")
        assert after.dtype == torch.float64 and torch.allclose(after.float(), before, atol=1e-5)
        if not isinstance(merged, Masked):
            merged.fit({t: [x.double()] for t in TASKS}, steps=2)
