"""Real file formats: tiny models of three architectures, saved, merged and loaded again by transformers."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sharewise.merge import merge

transformers = pytest.importorskip("transformers", reason="transformers is not installed (extra adapt)")

SIZES = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 40,
    "max_position_embeddings": 32,
}
KINDS = {"llama": "LlamaConfig", "qwen": "Qwen2Config", "mistral": "MistralConfig"}
WORDS = torch.arange(10).view(1, -1)


def make(kind: str, folder: Path, tied: bool, experts: int = 2) -> dict[str, Any]:
    """A base and fine-tunes of it, each saved into a folder."""
    config = getattr(transformers, KINDS[kind])(**SIZES, tie_word_embeddings=tied)
    torch.manual_seed(0)
    base = transformers.AutoModelForCausalLM.from_config(config).eval()
    found = {"base": base}
    for name in "abcd"[:experts]:
        model = transformers.AutoModelForCausalLM.from_config(config).eval()
        change = {k: v + 0.1 * torch.randn_like(v) for k, v in base.state_dict().items() if v.is_floating_point()}
        model.load_state_dict(change, strict=False)
        model.tie_weights()
        found[name] = model
    for name, model in found.items():
        model.save_pretrained(folder / name, max_shard_size="12KB" if name == "b" else "5GB")
    return found


def load(folder: Path) -> Any:
    model, info = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(info[k] for k in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
    return model.eval()


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(WORDS).logits
    return found


@pytest.fixture(autouse=True)
def quiet() -> Any:
    """transformers' own warnings about its own future are not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("tied", [False, True])
def test_a_merge_is_loaded_with_the_logits_of_the_averaged_weights(tmp_path: Path, kind: str, tied: bool) -> None:
    models = make(kind, tmp_path, tied)
    assert (tmp_path / "b" / "model.safetensors.index.json").exists()
    plan = {"merge_method": "linear", "models": [{"model": "a"}, {"model": "b"}], "parameters": {"weight": 1.0}}
    merge(plan, tmp_path / "out", root=tmp_path, shard_bytes=20_000)
    assert (tmp_path / "out" / "model.safetensors.index.json").exists()
    expected = models["base"]
    a, b = (models[m].state_dict() for m in "ab")
    expected.load_state_dict({k: (a[k] + b[k]) / 2 if a[k].is_floating_point() else a[k] for k in a})
    assert torch.allclose(logits(load(tmp_path / "out")), logits(expected), atol=1e-5)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_one_expert_with_full_weight_answers_as_it_did(tmp_path: Path, kind: str) -> None:
    models = make(kind, tmp_path, tied=False)
    weights = (("a", 1.0), ("b", 0.0))
    parts = [{"model": m, "parameters": {"weight": w}} for m, w in weights]
    plan = {"merge_method": "task_arithmetic", "base_model": "base", "models": parts}
    merge(plan, tmp_path / "out", root=tmp_path)
    assert torch.allclose(logits(load(tmp_path / "out")), logits(models["a"]), atol=1e-5)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_layers_put_together_anew_are_a_model_of_so_many_layers(tmp_path: Path, kind: str) -> None:
    models = make(kind, tmp_path, tied=False)
    slices = [
        {"sources": [{"model": "a", "layer_range": [0, 3]}]},
        {"sources": [{"model": "a", "layer_range": [1, 2]}]},
    ]
    merge({"merge_method": "passthrough", "slices": slices, "dtype": "bfloat16"}, tmp_path / "out", root=tmp_path)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["num_hidden_layers"] == 4
    found = load(tmp_path / "out")
    assert len(found.model.layers) == 4 and found.lm_head.weight.dtype == torch.bfloat16
    again = found.model.layers[3].mlp.up_proj.weight
    assert torch.equal(again, models["a"].model.layers[1].mlp.up_proj.weight.bfloat16())


def test_adapters_of_peft_are_added_as_peft_adds_them(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="peft is not installed (extra adapt)")
    base = make("llama", tmp_path, tied=False, experts=0)["base"]
    adapted = peft.get_peft_model(base, peft.LoraConfig(r=3, lora_alpha=5, target_modules=["q_proj", "down_proj"]))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    adapted.save_pretrained(tmp_path / "adapter")
    plan = {"merge_method": "linear", "models": [{"model": "base+adapter"}], "parameters": {"weight": 1.0}}
    merge(plan, tmp_path / "out", root=tmp_path)
    assert torch.allclose(logits(load(tmp_path / "out")), logits(adapted.eval()), atol=1e-5)
