"""Collecting statistics, and the methods that take them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from helpers.checkpoints import family
from sharewise import Batch
from sharewise.errors import MergeError
from sharewise.merge import Statistics, collect_fisher, collect_gram, merge, merge_states, open_plan
from sharewise.merge.methods._regmean import regression_mean, solve


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Dropout(0.5), nn.Linear(7, 3))


def inputs(rows: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, *shape, generator=torch.Generator().manual_seed(seed))


def test_gram_is_the_mean_of_outer_products() -> None:
    model, x = network(), inputs(40, 5)
    found = collect_gram(model, x.split(7))
    hidden = model[:2](x).double()
    assert torch.allclose(found["0.weight"], x.double().T @ x.double() / 40)
    assert torch.allclose(found["3.weight"], hidden.T @ hidden / 40)  # dropout was off
    assert found["0.weight"].dtype == torch.float64 and found.rows == {"0.weight": 40, "3.weight": 40}
    assert model.training and all(not m._forward_pre_hooks for m in model.modules())


def test_gram_with_the_bias_ends_in_one() -> None:
    found = collect_gram(network(), [inputs(10, 5)], bias=True)
    assert found["0.weight"].shape == (6, 6) and found["0.weight"][-1, -1] == 1.0
    assert torch.allclose(found["0.weight"][-1, :-1], inputs(10, 5).double().mean(0))


@pytest.mark.parametrize(
    "batch", [(inputs(4, 5), None), Batch(inputs(4, 5), {"a": torch.zeros(4)}), {"input": inputs(4, 5)}]
)
def test_batches_of_every_kind(batch: object) -> None:
    assert torch.equal(
        collect_gram(network(), [batch])["0.weight"], collect_gram(network(), [inputs(4, 5)])["0.weight"]
    )


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv1d(4, 6, 3, stride=2, padding=1),
        nn.Conv2d(4, 6, (3, 1), dilation=(2, 1), padding="same"),
        nn.Conv2d(4, 6, 3, padding=2, padding_mode="circular"),
        nn.Conv2d(4, 6, 3, groups=2),
        nn.Conv2d(4, 4, 3, groups=4, stride=(1, 2)),
        nn.Conv3d(4, 2, 2, padding="valid"),
    ],
)
def test_patches_are_what_filters_multiply(layer: nn.Conv2d) -> None:
    """Mean of ``(w . patch)^2`` over places, from the Gram matrix, is that of the layer's outputs."""
    axes = len(layer.kernel_size)
    layer.bias = None
    x = inputs(3, 4, *[6] * axes)
    gram = collect_gram(layer, [x])["weight"].reshape(layer.groups, *[layer.weight[0].numel()] * 2)
    filters = layer.weight.detach().double().flatten(1).unflatten(0, (layer.groups, -1))
    expected = layer(x).double().square().movedim(1, 0).flatten(1).mean(1)
    assert torch.allclose(torch.einsum("gof,gfk,gok->go", filters, gram, filters).flatten(), expected, rtol=1e-4)


def test_fisher_of_logistic_regression_by_hand() -> None:
    """w = 0, x = 2: p = 1/2, d log p / dw = +-x/2 = +-1, so F = 1 for the weight; 1/4 for the bias. The exact sum over
    two classes and the mean over any draws agree, for both labels have the same square."""
    model = nn.Linear(1, 1)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    for samples in (None, 3):
        found = collect_fisher(model, [torch.full((4, 1), 2.0)], samples=samples)
        assert found["weight"].item() == pytest.approx(1.0) and found["bias"].item() == pytest.approx(0.25)
    assert found.rows["bias"] == 4


def test_fisher_is_the_expected_hessian() -> None:
    """Of a softmax layer it is known: ``E_x x_j^2 (p_c - p_c^2)`` for the weight of class c and input j."""
    model, x = nn.Linear(5, 3), inputs(30, 5)
    found = collect_fisher(model, x.split(8))
    p = model(x).detach().softmax(-1).double()
    assert torch.allclose(found["weight"], (p - p * p).T @ x.double().square() / 30, rtol=1e-4)
    drawn = collect_fisher(model, [x], samples=400, seed=1)
    assert torch.allclose(drawn["weight"], found["weight"], rtol=0.3)
    assert not torch.equal(drawn["weight"], collect_fisher(model, [x], samples=400, seed=2)["weight"])


def test_fisher_of_one_task_of_several_and_shared_parameters() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(5, 3)
            self.b = nn.Linear(5, 3)
            self.b.weight = self.a.weight

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"a": self.a(x), "b": self.b(x)}

    model, x = Two(), inputs(6, 5)
    found = collect_fisher(model, [x], task="b")
    assert set(found) == set(model.state_dict()) and torch.equal(found["a.weight"], found["b.weight"])
    assert (found["a.bias"] == 0).all() and (found["b.bias"] > 0).all()
    with pytest.raises(MergeError, match="predicts a, b: say for which task"):
        collect_fisher(model, [x])


def test_statistics_survive_being_written(tmp_path: Path) -> None:
    found = collect_gram(network(), [inputs(10, 5)])
    found.save(tmp_path / "gram.safetensors")
    again = Statistics.load(tmp_path / "gram.safetensors")
    assert again.kind == "gram" and again.rows == found.rows
    assert all(torch.equal(again[k], found[k]) for k in found) and len(again) == len(found)
    save_file({"w": torch.ones(1)}, tmp_path / "other.safetensors")
    with pytest.raises(MergeError, match="holds no statistics"):
        Statistics.load(tmp_path / "other.safetensors")
    with pytest.raises(MergeError, match="no file"):
        Statistics.load(tmp_path / "none.safetensors")


def test_batches_that_are_wrong() -> None:
    with pytest.raises(MergeError, match="pass at least one batch"):
        collect_gram(network(), [])
    with pytest.raises(MergeError, match='inputs of layer "0" are not finite'):
        collect_gram(network(), [torch.full((2, 5), torch.nan)])
    with pytest.raises(MergeError, match="no batch"):
        collect_fisher(network(), [])
    with pytest.raises(MergeError, match="not finite"):
        collect_fisher(network(), [torch.full((2, 5), torch.nan)])
    with pytest.raises(MergeError, match=r"expected logits \[batch, classes\]"):
        collect_fisher(nn.Conv1d(5, 2, 1), [inputs(2, 5, 3)])


def test_regmean_is_the_least_squares_solution() -> None:
    """Without shrinking: the matrix whose outputs differ least from every model's on that model's inputs."""
    models, xs = [network(s) for s in range(2)], [inputs(30, 5, seed=s) for s in range(2)]
    states = {f"m{i}": m.state_dict() for i, m in enumerate(models)}
    for bias in (False, True):
        stats = {f"m{i}": collect_gram(m, [x], bias=bias) for i, (m, x) in enumerate(zip(models, xs, strict=True))}
        merged = merge_states("regmean", states, statistics=stats, off_diagonal=1.0)
        from_base = merge_states("regmean", states, network(9).state_dict(), statistics=stats, off_diagonal=1.0)
        assert all(torch.allclose(from_base[k], merged[k], atol=1e-5) for k in merged)
        one = [torch.cat([x, torch.ones(30, int(bias))], 1).double() for x in xs]
        full = [torch.cat([m[0].weight, m[0].bias[:, None]], 1).detach()[:, : 5 + bias].double() for m in models]
        rows, wanted = torch.cat(one), torch.cat([x @ w.T for x, w in zip(one, full, strict=True)])
        expected = torch.linalg.lstsq(rows, wanted).solution.T
        assert torch.allclose(merged["0.weight"].double(), expected[:, :5], atol=1e-5)
        if bias:
            assert torch.allclose(merged["0.bias"].double(), expected[:, 5], atol=1e-5)
        else:
            assert torch.allclose(merged["0.bias"], (models[0][0].bias + models[1][0].bias) / 2)


def test_regmean_by_hand() -> None:
    """One input and output: (1 * 2 + 3 * 6) / (1 + 3) = 5; with two inputs and off_diagonal 0 column by column."""
    models = {"a": {"w": torch.tensor([[2.0, 0.0]])}, "b": {"w": torch.tensor([[6.0, 4.0]])}}
    stats = {
        "a": {"w": torch.tensor([[1.0, 0.5], [0.5, 1.0]])},
        "b": {"w": torch.tensor([[3.0, 0.5], [0.5, 1.0]])},
    }
    found = regression_mean(
        torch.stack([m["w"].double() for m in models.values()]),
        [s["w"].double() for s in stats.values()],
        [1.0, 1.0],
        0.0,
    )
    assert torch.allclose(found, torch.tensor([[5.0, 2.0]]).double())


def test_regmean_properties() -> None:
    models, xs = [network(s) for s in range(3)], [inputs(30, 5, seed=s) for s in range(3)]
    states = {f"m{i}": m.state_dict() for i, m in enumerate(models)}
    stats = {f"m{i}": collect_gram(m, [x]) for i, (m, x) in enumerate(zip(models, xs, strict=True))}
    one = merge_states("regmean", {"m0": states["m0"]}, statistics={"m0": stats["m0"]})
    same = merge_states("regmean", dict.fromkeys(states, states["m1"]), statistics=stats)
    forward = merge_states("regmean", states, statistics=stats)
    backward = merge_states("regmean", dict(reversed(states.items())), statistics=stats)
    from_base = merge_states("regmean", states, network(9).state_dict(), statistics=stats)
    for key, value in forward.items():
        assert torch.allclose(one[key], states["m0"][key]) and torch.allclose(same[key], states["m1"][key])
        assert torch.allclose(value, backward[key], atol=1e-6) and torch.allclose(value, from_base[key], atol=1e-5)


def test_regmean_takes_the_average_where_no_input_lies() -> None:
    """Inputs along (1, 1, 0) only, exactly singular: outputs there are the models' mean, the rest is the average."""
    x = torch.tensor([[1.0, 1, 0]]).double()
    a, b = torch.tensor([[1.0, 2, 3]]).double(), torch.tensor([[3.0, -2, 5]]).double()
    found = regression_mean(torch.stack([a, b]), [x.T @ x, 3 * x.T @ x], [1.0, 1.0], 1.0)
    assert float(found @ x.T) == pytest.approx((1 * 3 + 3 * 1) / 4)
    direction = torch.tensor([1.0, -1, 0]).double()
    assert float(found @ direction) == pytest.approx(float((a + b) / 2 @ direction)) and found[0, 2] == 4.0


def test_regmean_of_convolutions_with_groups() -> None:
    """Every group is a regression of its own."""
    x = [inputs(4, 4, 6, 6, seed=s) for s in range(2)]
    layers = [nn.Conv2d(4, 6, 3, groups=2) for _ in range(2)]
    stats = {f"m{i}": collect_gram(layer, [x[i]]) for i, layer in enumerate(layers)}
    merged = merge_states("regmean", {f"m{i}": m.state_dict() for i, m in enumerate(layers)}, statistics=stats)
    halves = []
    for g in range(2):
        matrices = torch.stack([m.weight.detach()[3 * g : 3 * g + 3].flatten(1).double() for m in layers])
        halves.append(regression_mean(matrices, [s["weight"][g] for s in stats.values()], [1.0, 1.0], 0.9))
    assert torch.allclose(merged["weight"].flatten(1).double(), torch.cat(halves), atol=1e-6)


def test_solve_where_scales_differ_by_a_million() -> None:
    scale = torch.tensor([1e-6, 1, 1e6, 1e3, 1, 1]).double()
    x = inputs(50, 6).double() * scale
    left, wanted = x.T @ x, inputs(6, 2, seed=3).double() / scale.unsqueeze(1)
    assert torch.allclose(solve(left, left @ wanted), wanted, rtol=1e-6)


def test_fisher_by_hand() -> None:
    """(1 * 2 + 3 * 6) / 4 = 5; where all are below the floor, the average."""
    models = {"a": {"w": torch.tensor([2.0, 0.0])}, "b": {"w": torch.tensor([6.0, 4.0])}}
    stats = {"a": {"w": torch.tensor([1.0, 0.0])}, "b": {"w": torch.tensor([3.0, 1e-9])}}
    assert torch.equal(merge_states("fisher", models, statistics=stats)["w"], torch.tensor([5.0, 2.0]))
    doubled = merge_states("fisher", models, statistics=stats, weight={"a": 3.0, "b": 1.0})["w"]
    assert torch.equal(doubled, torch.tensor([4.0, 1.0]))
    assert torch.equal(merge_states("fisher", models, statistics=stats, floor=0.0)["w"], torch.tensor([5.0, 4.0]))


def test_fisher_with_equal_fishers_is_the_average_and_normalizes() -> None:
    models = {f"m{i}": network(i).state_dict() for i in range(3)}
    fisher = collect_fisher(network(), [inputs(20, 5)])
    average = merge_states("linear", models, weight=1.0)
    equal = merge_states("fisher", models, statistics=dict.fromkeys(models, fisher))
    scaled = {m: {k: v * 10.0**i for k, v in fisher.items()} for i, m in enumerate(models)}
    normalized = merge_states("fisher", models, statistics=scaled, normalize=True)
    for key, value in average.items():
        assert torch.allclose(equal[key], value, atol=1e-6)
        assert torch.allclose(normalized[key], value, atol=1e-5)
    assert not torch.allclose(merge_states("fisher", models, statistics=scaled)["0.weight"], average["0.weight"])


def test_statistics_that_are_missing_or_do_not_fit() -> None:
    states = {f"m{i}": network(i).state_dict() for i in range(2)}
    gram, fisher = collect_gram(network(), [inputs(9, 5)]), collect_fisher(network(), [inputs(9, 5)])

    def refused(name: str, message: str, **statistics: object) -> None:
        with pytest.raises(MergeError, match=message):
            merge_states(name, states, statistics=statistics)  # type: ignore[arg-type]

    refused("regmean", 'model "m0" has no gram statistics of tensor "0.weight".*collect_gram.*unseen: average')
    refused("fisher", 'model "m1" has no fisher statistics of tensor "0.weight".*collect_fisher', m0=fisher)
    refused("regmean", 'of the kind "fisher", this method takes "gram"', m0=fisher, m1=fisher)
    refused("regmean", 'given for "m2", which is none of the models m0, m1', m2=gram)
    refused(
        "regmean", r'"3.weight" of model "m1" is \[4, 4\].*\[7, 7\]', m0=gram, m1={**gram, "3.weight": torch.eye(4)}
    )
    refused("fisher", r'"3.bias" of model "m0" is \[1\].*\[3\]', m0={**fisher, "3.bias": torch.ones(1)}, m1=fisher)
    with pytest.raises(MergeError, match='"m1" has no gram statistics'):  # some have and some have not
        merge_states("regmean", states, statistics={"m0": gram}, unseen="average")
    with pytest.raises(MergeError, match="unseen must be one of refuse, average"):
        merge_states("regmean", states, unseen="skip")
    with pytest.raises(MergeError, match="weights must be at least 0"):
        merge_states("fisher", states, statistics=dict.fromkeys(states, fisher), weight=-1.0)
    average = merge_states("linear", states, weight=1.0)
    for name in ("regmean", "fisher"):
        found = merge_states(name, states, unseen="average")
        assert all(torch.allclose(found[k], average[k]) for k in average)


def test_plans_name_files_of_statistics(tmp_path: Path) -> None:
    base, (a, b) = family(tmp_path, layers=2)
    stats = {}
    for seed, name in enumerate("ab"):
        shapes = {k: v for k, v in a.items() if v.ndim == 2 and "embed" not in k and "lm_head" not in k}
        grams = {k: inputs(20, v.shape[1], seed=seed).double() for k, v in shapes.items()}
        stats[name] = Statistics("gram", {k: x.T @ x / 20 for k, x in grams.items()}, dict.fromkeys(grams, 20))
        stats[name].save(tmp_path / f"{name}-gram.safetensors")
    models = [{"model": n, "statistics": f"{n}-gram.safetensors"} for n in "ab"]
    plan = {"merge_method": "regmean", "base_model": "base", "models": models}
    bill = merge(plan, tmp_path / "out", root=tmp_path)
    from_files = open_plan(plan, root=tmp_path)
    from_files.close()
    bare = {**plan, "models": [{"model": n} for n in "ab"]}
    assert merge(bare, tmp_path / "two", root=tmp_path, statistics=stats)["total"] == bill["total"]
    in_memory = merge_states("regmean", {"a": a, "b": b}, base, statistics=stats)
    written = load_file(tmp_path / "out" / "model.safetensors")
    assert all(torch.equal(written[k], in_memory[k]) for k in in_memory)
    outside = {**plan, "models": [{"model": "a", "statistics": "../x.safetensors"}, {"model": "b"}]}
    with pytest.raises(MergeError, match="leads out of"):
        open_plan(outside, root=tmp_path)


def test_heads_are_left_out(tmp_path: Path) -> None:
    base = {"trunk.w": torch.zeros(2), "heads.a.w": torch.zeros(3)}
    models = {
        "a": {"trunk.w": torch.ones(2), "heads.a.w": torch.ones(3)},
        "b": {"trunk.w": torch.ones(2), "heads.b.w": torch.ones(4)},
    }
    for exclude in (["heads"], ["heads.a", "heads.b"], ["heads.*"], ["heads.a.w", "heads.b.w"]):
        merged = merge_states("task_arithmetic", models, base, weight=0.5, exclude=exclude)
        assert set(merged) == {"trunk.w"} and torch.equal(merged["trunk.w"], torch.ones(2))
    with pytest.raises(MergeError, match=r'"base" lacks heads\.b\.w '):
        merge_states("task_arithmetic", models, base, weight=0.5, exclude=["heads.a"])
    with pytest.raises(MergeError, match=r'no tensor is "head" or in it; did you mean "heads\.[ab]"'):
        merge_states("task_arithmetic", models, base, weight=0.5, exclude=["head"])
    with pytest.raises(MergeError, match="leaves no tensor"):
        merge_states("task_arithmetic", models, base, weight=0.5, exclude=["*"])
    kept = merge_states("task_arithmetic", models, base, weight=0.5, missing="keep")
    assert set(kept) == {"trunk.w", "heads.a.w", "heads.b.w"} and torch.equal(kept["heads.b.w"], torch.ones(4))
