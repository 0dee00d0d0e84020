"""LoRA adapters: the product the user sees is the sum of the products, or says by how much it is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from helpers.checkpoints import WIDTH, family, read
from sharewise.errors import MergeError
from sharewise.merge import merge, merge_adapters, open_plan
from sharewise.merge._adapters import open_adapter

MODULES = ("model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj")


def adapter(folder: Path, seed: int, rank: int = 2, **config: Any) -> dict[str, Tensor]:
    """Write an adapter; the changes it makes, by weight."""
    draw = torch.Generator().manual_seed(seed)
    tensors, scale = {}, 8 / (rank**0.5 if config.get("use_rslora") else rank)
    changes = {}
    for module in MODULES:
        a, b = torch.randn(rank, WIDTH, generator=draw), torch.randn(WIDTH, rank, generator=draw)
        tensors |= {f"base_model.model.{module}.lora_A.weight": a, f"base_model.model.{module}.lora_B.weight": b}
        change = scale * b @ a
        changes[f"{module}.weight"] = change.T if config.get("fan_in_fan_out") else change
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    content = {"peft_type": "LORA", "r": rank, "lora_alpha": 8, "target_modules": ["q_proj"], **config}
    (folder / "adapter_config.json").write_text(json.dumps(content))
    return changes


def product(folder: Path, weight: str) -> Tensor:
    found = open_adapter(folder)
    left, right = found.sides(weight.removesuffix(".weight"))
    return left @ right


@pytest.mark.parametrize("config", [{}, {"use_rslora": True}, {"fan_in_fan_out": True}])
@pytest.mark.parametrize("block", [5, 2**18])
def test_a_model_with_its_adapter_is_a_model(tmp_path: Path, config: dict[str, Any], block: int) -> None:
    base, _ = family(tmp_path)
    changes = adapter(tmp_path / "lora", 3, **config)
    plan = {"merge_method": "linear", "models": [{"model": "base+lora"}], "parameters": {"weight": 1}}
    merge(plan, tmp_path / "out", root=tmp_path, block=block)
    for name, value in read(tmp_path / "out").items():
        assert torch.allclose(value, base[name] + changes.get(name, 0), atol=1e-5)


@pytest.mark.parametrize("source", ["a", "a+lora"])
def test_a_model_with_an_adapter_lends_its_tokenizer_by_either_name(tmp_path: Path, source: str) -> None:
    family(tmp_path)
    adapter(tmp_path / "lora", 3)
    for name in ("base", "a"):
        (tmp_path / name / "vocab.txt").write_text("x")
    models = [{"model": "base"}, {"model": "a+lora"}]
    plan = {"merge_method": "linear", "models": models, "parameters": {"weight": 1}, "tokenizer_source": source}
    opened = open_plan(plan, root=tmp_path)
    assert opened.matched.tokenizer is not None and opened.matched.tokenizer.name == "a+lora"
    opened.close()


def test_the_sum_is_exact_and_scales_are_each_ones_own(tmp_path: Path) -> None:
    one, two = adapter(tmp_path / "x", 1, rank=2), adapter(tmp_path / "y", 2, rank=3, use_rslora=True)
    bill = merge_adapters({"x": tmp_path / "x", "y": tmp_path / "y"}, tmp_path / "out", weights={"x": 1, "y": -0.5})
    assert bill["rank"] == 5 and bill["largest_error"] == 0.0
    for name in one:
        assert torch.allclose(product(tmp_path / "out", name), one[name] - 0.5 * two[name], atol=1e-4)
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["r"] == config["lora_alpha"] == 5 and config["use_rslora"] is False


def test_a_chosen_rank_is_the_best_and_says_its_error(tmp_path: Path) -> None:
    one, two = adapter(tmp_path / "x", 1), adapter(tmp_path / "y", 2)
    bill = merge_adapters({"x": tmp_path / "x", "y": tmp_path / "y"}, tmp_path / "out", rank=3)
    for module in MODULES:
        name = f"{module}.weight"
        wanted, found = one[name] + two[name], product(tmp_path / "out", name)
        error = float((found - wanted).norm() / wanted.norm())
        assert error == pytest.approx(bill["errors"][module], rel=1e-3)
        sizes = torch.linalg.svdvals(wanted)
        assert error == pytest.approx(float(sizes[3:].norm() / sizes.norm()), rel=1e-3)


def test_what_is_no_plain_lora(tmp_path: Path) -> None:
    family(tmp_path)
    adapter(tmp_path / "dora", 1, use_dora=True)
    with pytest.raises(MergeError, match="use_dora cannot be merged"):
        open_adapter(tmp_path / "dora")
    odd = {"modules_to_save": ["head"], "alpha_pattern": {"q": 1}, "lora_bias": True, "peft_type": "IA3"}
    for name, value in odd.items():
        adapter(tmp_path / name, 1, **{name: value})
        with pytest.raises(MergeError, match=f"{value if name == 'peft_type' else name} cannot be merged"):
            open_adapter(tmp_path / name)
    with pytest.raises(MergeError, match="is no LoRA adapter folder"):
        open_adapter(tmp_path / "a")
    adapter(tmp_path / "lora", 2)
    file = tmp_path / "lora" / "adapter_model.safetensors"
    save_file(
        {
            "base_model.model.other.lora_A.weight": torch.ones(1, 8),
            "base_model.model.other.lora_B.weight": torch.ones(8, 1),
        },
        file,
    )
    plan = {"merge_method": "linear", "models": [{"model": "a+lora"}], "parameters": {"weight": 1}}
    with pytest.raises(MergeError, match=r'changes "other.weight", which "a" lacks'):
        merge(plan, tmp_path / "out", root=tmp_path)


def factors(folder: Path, shapes: dict[str, tuple[int, int, int]], **config: Any) -> None:
    """An adapter of modules with (rank, inputs, outputs) each."""
    tensors = {}
    for module, (rank, inputs, outputs) in shapes.items():
        at = f"base_model.model.{module}"
        tensors |= {f"{at}.lora_A.weight": torch.ones(rank, inputs), f"{at}.lora_B.weight": torch.ones(outputs, rank)}
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "lora_alpha": 1, **config}))


def test_adapters_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    family(tmp_path)
    square, q = (1, WIDTH, WIDTH), "model.layers.0.self_attn.q_proj"
    factors(tmp_path / "ranks", {"x": square, "y": (2, WIDTH, WIDTH)})
    factors(tmp_path / "narrow", {q: (1, WIDTH // 2, WIDTH)})
    factors(tmp_path / "plain", {q: square})
    factors(tmp_path / "turned", {q: square}, fan_in_fan_out=True)
    factors(tmp_path / "more", {q: square})
    extra = {"base_model.model.q.lora_embedding_A": torch.ones(1, 1)}
    save_file(extra, tmp_path / "more" / "adapter_model.safetensors")
    with pytest.raises(MergeError, match=r"has ranks \[1, 2\]"):
        open_adapter(tmp_path / "ranks")
    with pytest.raises(MergeError, match=r"lora_embedding_A.* is no part of plain LoRA"):
        open_adapter(tmp_path / "more")
    plan = {"merge_method": "linear", "models": [{"model": "a+narrow"}], "parameters": {"weight": 1}}
    with pytest.raises(MergeError, match=rf'q_proj.weight" is \[{WIDTH}, {WIDTH}\], the adapter\'s change'):
        merge(plan, tmp_path / "out", root=tmp_path)
    for other, message in (("narrow", "shapes of .* differ"), ("turned", "do not agree on fan_in_fan_out")):
        with pytest.raises(MergeError, match=message):
            merge_adapters({"x": tmp_path / "plain", "y": tmp_path / other}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_adapters_of_different_modules_are_joined(tmp_path: Path) -> None:
    """Each module has the sum of those that change it; the config speaks of the merged adapter, not of the first."""
    q, up = "model.layers.0.self_attn.q_proj", "model.layers.0.mlp.up_proj"
    pattern = {"target_modules": ["q_proj"], "rank_pattern": {"q_proj": 1}, "use_rslora": True}
    factors(tmp_path / "x", {q: (1, WIDTH, WIDTH)}, **pattern)
    factors(tmp_path / "y", {up: (2, WIDTH, 2 * WIDTH)})
    merge_adapters({"x": tmp_path / "x", "y": tmp_path / "y"}, tmp_path / "out", weights={"x": 3})
    assert torch.allclose(product(tmp_path / "out", f"{q}.weight"), torch.full((WIDTH, WIDTH), 3.0))
    assert torch.allclose(product(tmp_path / "out", f"{up}.weight"), torch.ones(2 * WIDTH, WIDTH))
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["target_modules"] == ["q_proj", "up_proj"] and config["rank_pattern"] == {}
    assert (config["r"], config["lora_alpha"], config["use_rslora"]) == (3, 3, False)


def together(method: str, x: float, y: float, **more: Any) -> dict[str, Any]:
    weights = (("x", x), ("y", y))
    models = [{"model": name, "parameters": {"weight": weight}} for name, weight in weights]
    return {"merge_method": method, "models": models, **more}


def test_a_plan_of_adapters_alone_makes_an_adapter(tmp_path: Path) -> None:
    """3 to 1 as a mean is 0.75 and 0.25; as a sum with lambda 2 it is 6 and 2."""
    one, two = adapter(tmp_path / "x", 1), adapter(tmp_path / "y", 2, rank=3)
    bill = merge(together("linear", 3, 1), tmp_path / "mean", root=tmp_path)
    assert bill["rank"] == 5 and bill["weights"] == {"x": 0.75, "y": 0.25}
    merge(together("task_arithmetic", 3, 1, parameters={"lambda": 2}), tmp_path / "sum", root=tmp_path)
    for name in one:
        assert torch.allclose(product(tmp_path / "mean", name), 0.75 * one[name] + 0.25 * two[name], atol=1e-5)
        assert torch.allclose(product(tmp_path / "sum", name), 6 * one[name] + 2 * two[name], atol=1e-4)
    assert merge(together("linear", 1, 1, rank=2), tmp_path / "small", root=tmp_path)["largest_error"] > 0
    assert merge(together("linear", 1, 1, rank=3), tmp_path / "small", root=tmp_path, overwrite=True)["rank"] == 3


def test_plans_of_adapters_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    family(tmp_path)
    adapter(tmp_path / "x", 1)
    adapter(tmp_path / "y", 2)
    wrong: list[tuple[dict[str, Any], str]] = [
        (together("ties", 1, 1), 'not by "ties"'),
        (together("linear", 1, 1, base_model="base"), r"write MODEL\+x"),
        ({"merge_method": "linear", "models": [{"model": "x"}, {"model": "a"}]}, r"write MODEL\+x"),
        (together("linear", 1, 1, parameters={"density": 0.5}), 'do not use the parameter "density"'),
        (together("linear", 1, 1, parameters={"lambda": [1, 2]}), "must be one number"),
        (together("linear", 1, -1), "add up to 0"),
    ]
    for plan, match in wrong:
        with pytest.raises(MergeError, match=match):
            merge(plan, tmp_path / "out", root=tmp_path)
    with pytest.raises(MergeError, match="not foretold"):
        open_plan(together("linear", 1, 1), root=tmp_path)
    assert not (tmp_path / "out").exists()
