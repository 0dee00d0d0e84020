"""Plans with several modules: parts of a model, each merged in its own way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from helpers.checkpoints import llama, read, write
from sharewise.errors import MergeError
from sharewise.merge import merge, open_plan


def both(seed: int) -> dict[str, Tensor]:
    """A model of two parts and a head of its own."""
    text = {f"language_model.{n}": t for n, t in llama(seed).items()}
    sight = {f"vision_tower.{n}": t for n, t in llama(seed + 10, 3).items()}
    return {**text, **sight, "logit_scale": torch.full((1,), float(seed))}


def plan(**modules: Any) -> dict[str, Any]:
    return {"merge_method": "linear", "modules": modules, "parameters": {"weight": 1.0}}


def of(a: float, b: float) -> dict[str, Any]:
    weights = (("a", a), ("b", b))
    return {"models": [{"model": m, "parameters": {"weight": w}} for m, w in weights]}


@pytest.fixture
def models(tmp_path: Path) -> dict[str, dict[str, Tensor]]:
    found = {name: both(i) for i, name in enumerate("ab", 1)}
    for name, tensors in found.items():
        write(tmp_path / name, tensors)
    return found


def test_each_module_has_weights_of_its_own(tmp_path: Path, models: dict[str, dict[str, Tensor]]) -> None:
    """3 to 1 in the text, b alone in sight, the mean of 1 and 2 for the rest."""
    merge(plan(text_decoder=of(3, 1), vision_tower=of(0, 1), default=of(1, 1)), tmp_path / "out", root=tmp_path)
    found = read(tmp_path / "out")
    assert found.keys() == models["a"].keys() and found["logit_scale"] == 1.5
    for name, tensor in found.items():
        a, b = models["a"][name], models["b"][name]
        if name.startswith("language_model"):
            assert torch.allclose(tensor, 0.75 * a + 0.25 * b, atol=1e-6)
        elif name.startswith("vision_tower"):
            assert torch.equal(tensor, b)


def test_a_module_of_slices(tmp_path: Path, models: dict[str, dict[str, Tensor]]) -> None:
    sources = [{"model": "a", "layer_range": [1, 3]}]
    modules = plan(language_model=of(1, 1), vision_tower={"slices": [{"sources": sources}]}, default=of(1, 0))
    merge(modules, tmp_path / "out", root=tmp_path)
    found = read(tmp_path / "out")
    name = "vision_tower.model.layers.{}.mlp.up_proj.weight"
    assert torch.equal(found[name.format(0)], models["a"][name.format(1)]) and name.format(2) not in found


@pytest.mark.usefixtures("models")
def test_wrong_modules_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MergeError, match=r'"vision_towel"; did you mean "vision_tower"'):
        open_plan(plan(language_model=of(1, 1), vision_towel=of(1, 1), default=of(1, 1)), root=tmp_path)
    with pytest.raises(MergeError, match=r"no module of the plan \(1, such as logit_scale"):
        open_plan(plan(language_model=of(1, 1), vision_tower=of(1, 1)), root=tmp_path)
    with pytest.raises(MergeError, match="either models"):
        open_plan(plan(language_model=of(1, 1), vision_tower={}), root=tmp_path)
