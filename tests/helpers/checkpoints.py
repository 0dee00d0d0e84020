"""Small language-model folders, written by hand: no model library is needed to merge one."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

WIDTH, VOCABULARY = 8, 12


def llama(
    seed: int = 0, layers: int = 2, like: dict[str, Tensor] | None = None, step: float = 0.1
) -> dict[str, Tensor]:
    """The tensors of a tiny Llama; with ``like`` a fine-tune of it."""
    draw = torch.Generator().manual_seed(seed)
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (VOCABULARY, WIDTH)}
    for i in range(layers):
        at = f"model.layers.{i}."
        shapes |= {f"{at}self_attn.{n}_proj.weight": (WIDTH, WIDTH) for n in "qkvo"}
        shapes |= {f"{at}mlp.up_proj.weight": (2 * WIDTH, WIDTH), f"{at}mlp.down_proj.weight": (WIDTH, 2 * WIDTH)}
        shapes |= {f"{at}input_layernorm.weight": (WIDTH,)}
    shapes |= {"model.norm.weight": (WIDTH,), "lm_head.weight": (VOCABULARY, WIDTH)}
    fresh = {name: torch.randn(shape, generator=draw) for name, shape in shapes.items()}
    return fresh if like is None else {name: like[name] + step * fresh[name] for name in like}


def write(folder: Path, tensors: dict[str, Tensor], shards: int = 1, **config: object) -> Path:
    """A Hugging Face folder."""
    folder.mkdir(parents=True)
    layers = len({n.split(".")[2] for n in tensors if n.startswith("model.layers.")})
    content = {
        "model_type": "llama",
        "num_hidden_layers": layers,
        "dtype": "float32",
        "vocab_size": VOCABULARY,
        **config,
    }
    (folder / "config.json").write_text(json.dumps(content))
    (folder / "tokenizer_config.json").write_text("{}")
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return folder
    names = sorted(tensors)
    weight_map = {}
    for i in range(shards):
        file = f"model-{i + 1:05d}-of-{shards:05d}.safetensors"
        part = {n: tensors[n] for n in names[i::shards]}
        save_file(part, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


def read(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder, whatever its shards, by the official reader."""
    found: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        found |= load_file(file)
    return found


def family(
    folder: Path, experts: int = 2, layers: int = 2, step: float = 0.1
) -> tuple[dict[str, Tensor], list[dict[str, Tensor]]]:
    """``base`` and ``a``, ``b``, ... fine-tuned from it, written into ``folder``."""
    base = llama(0, layers)
    tuned = [llama(i + 1, layers, like=base, step=step) for i in range(experts)]
    write(folder / "base", base)
    for letter, tensors in zip("abcdefgh", tuned, strict=False):
        write(folder / letter, tensors)
    return base, tuned
