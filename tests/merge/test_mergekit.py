"""The same plans, given to mergekit: skipped where its ``mergekit-yaml`` is neither on the path nor in ``MERGEKIT``."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from helpers.checkpoints import read, write
from sharewise.merge import merge

COMMAND = os.environ.get("MERGEKIT") or shutil.which("mergekit-yaml")
pytestmark = pytest.mark.skipif(COMMAND is None, reason="mergekit is not installed (set MERGEKIT to its mergekit-yaml)")

WIDTH, INNER, LAYERS, WORDS = 16, 24, 4, 32
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "tie_word_embeddings": False,
    "vocab_size": WORDS,
}


def llama(seed: int, like: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (WORDS, WIDTH)}
    for i in range(LAYERS):
        at = f"model.layers.{i}."
        shapes |= {f"{at}self_attn.{n}_proj.weight": (WIDTH, WIDTH) for n in "qkvo"}
        shapes |= {f"{at}mlp.{n}_proj.weight": (INNER, WIDTH) for n in ("gate", "up")}
        shapes |= {f"{at}mlp.down_proj.weight": (WIDTH, INNER)}
        shapes |= {f"{at}{n}_layernorm.weight": (WIDTH,) for n in ("input", "post_attention")}
    shapes |= {"model.norm.weight": (WIDTH,), "lm_head.weight": (WORDS, WIDTH)}
    fresh = {name: torch.randn(shape, generator=draw) for name, shape in shapes.items()}
    return fresh if like is None else {n: like[n] + 0.1 * fresh[n] for n in fresh}


PAIR = [{"model": "a"}, {"model": "b"}]
WEIGHED = [{"model": "a", "parameters": {"weight": 0.7}}, {"model": "b", "parameters": {"weight": 0.4}}]
TASK = {"base_model": "base", "models": WEIGHED}
LAYERED = [
    {"filter": "self_attn", "value": [0, 0.5, 0.3, 0.7, 1]},
    {"filter": "mlp", "value": [1, 0.5, 0.7, 0.3, 0]},
    {"value": 0.5},
]
PLANS: dict[str, dict[str, Any]] = {
    "linear": {"models": WEIGHED},
    "slerp": {"base_model": "a", "models": PAIR, "parameters": {"t": 0.3}},
    "slerp_slices": {
        "merge_method": "slerp",
        "base_model": "a",
        "slices": [{"sources": [{"model": m, "layer_range": [0, LAYERS]} for m in "ab"]}],
        "parameters": {"t": LAYERED},
    },
    "nuslerp": {"models": WEIGHED},
    "multislerp": {"models": WEIGHED},
    "karcher": {"models": PAIR},
    "task_arithmetic": TASK,
    "ties": TASK | {"parameters": {"density": 0.4, "normalize": True}},
    "ties_gradient": {
        "merge_method": "ties",
        "base_model": "base",
        "models": [
            {"model": "a", "parameters": {"density": [1, 0.7, 0.1], "weight": 1.0}},
            {"model": "b", "parameters": {"density": 0.33, "weight": [{"filter": "mlp", "value": 0.5}, {"value": 0}]}},
        ],
        "parameters": {"normalize": True, "int8_mask": True},
    },
    "breadcrumbs": TASK | {"parameters": {"density": 0.8, "gamma": 0.05}},
    "breadcrumbs_ties": TASK | {"parameters": {"density": 0.8, "gamma": 0.05}},
    "dare_ties": TASK | {"parameters": {"density": 1.0}},
    "dare_linear": TASK | {"parameters": {"density": 1.0}},
    "della": TASK | {"parameters": {"density": 1.0, "epsilon": 0.0}},
    "della_linear": TASK | {"parameters": {"density": 1.0, "epsilon": 0.0}},
    "sce": TASK | {"models": PAIR, "parameters": {"select_topk": 0.4}},
    "model_stock": {"base_model": "base", "models": PAIR},
    "nearswap": {"base_model": "a", "models": [{"model": "b"}], "parameters": {"t": 0.05}},
    "passthrough": {
        "slices": [
            {"sources": [{"model": "a", "layer_range": [0, 3]}]},
            {"sources": [{"model": "b", "layer_range": [1, 4]}]},
        ]
    },
    "modules": {"merge_method": "linear", "modules": {"default": {"models": WEIGHED}}},
}
LOOSE = {"karcher": 1e-4, "multislerp": 1e-5, "slerp": 1e-5, "slerp_slices": 1e-5, "nuslerp": 1e-5}
"""Largest difference allowed where both compute in another order; elsewhere a few ulps of entries near 3."""


TIED = {"base_model": "grid", "models": [{"model": "steps"}], "parameters": {"weight": 1, "density": 0.4}}
"""Task vectors with so few different sizes that many entries stand at the threshold."""


def coarse() -> dict[str, dict[str, Tensor]]:
    """A base on a grid, and it with -3 to 3 steps of the grid added to each entry: differences are exact."""
    draw = torch.Generator().manual_seed(3)
    grid = {n: (16 * t).round() / 16 for n, t in llama(0).items()}
    return {
        "grid": grid,
        "steps": {n: t + torch.randint(-3, 4, t.shape, generator=draw) / 16 for n, t in grid.items()},
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All plans done by both, mergekit in one process of its own."""
    folder = tmp_path_factory.mktemp("mergekit")
    base = llama(0)
    models = {"base": base, "a": llama(1, base), "b": llama(2, base), **coarse()}
    for name, tensors in models.items():
        write(folder / name, tensors, **CONFIG)
        (folder / name / "tokenizer_config.json").unlink()
    (folder / "plans").mkdir()
    for name, plan in [*PLANS.items(), ("tied", {"merge_method": "ties", **TIED})]:
        content = {"merge_method": name, "dtype": "float32", **plan}
        (folder / "plans" / f"{name}.yaml").write_text(yaml.safe_dump(content))
    assert COMMAND is not None
    script = Path(__file__).parents[1] / "helpers" / "mergekit_run.py"
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}
    command = [str(Path(COMMAND).with_name("python")), str(script), str(folder)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.parametrize("name", sorted(PLANS))
def test_the_same_plan_gives_the_same_model(folder: Path, name: str) -> None:
    merge(folder / "plans" / f"{name}.yaml", folder / "ours" / name, root=folder)
    ours, theirs = read(folder / "ours" / name), read(folder / "theirs" / name)
    assert ours.keys() == theirs.keys()
    for tensor, value in theirs.items():
        assert ours[tensor].dtype == value.dtype
        assert torch.allclose(ours[tensor], value, rtol=0, atol=LOOSE.get(name, 2e-6)), tensor


def test_entries_that_tie_at_the_threshold_are_all_that_ties_may_differ_in(folder: Path) -> None:
    """As many are kept of each size; which of those that tie is the first here, and left to an unstable sort there."""
    merge(folder / "plans" / "tied.yaml", folder / "ours" / "tied", root=folder)
    models = coarse()
    for name, base in models["grid"].items():
        sizes = (16 * (models["steps"][name] - base)).abs()
        ours, theirs = (read(folder / place / "tied")[name] != base for place in ("ours", "theirs"))
        assert int(ours.sum()) == int(theirs.sum()) == max(1, int(0.4 * base.numel())), name
        threshold = sizes[ours].min()
        assert torch.equal(ours[sizes != threshold], theirs[sizes != threshold]), name
        first = ours[sizes == threshold]
        assert torch.equal(first, first.sort(descending=True, stable=True).values), name
