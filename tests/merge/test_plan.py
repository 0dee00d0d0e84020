"""Plans mean what mergekit's documentation says they mean: gradients, filters, slices, the base among the models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from helpers.checkpoints import family, read
from sharewise.errors import MergeError
from sharewise.merge import Forecast, forecast, make_plan, merge, open_plan
from sharewise.merge._layers import place_of
from sharewise.merge._registry import method

QUERY = "model.layers.{}.self_attn.q_proj.weight"


def run(folder: Path, text: str, out: str = "out") -> dict[str, torch.Tensor]:
    merge(yaml.safe_load(text), folder / out, root=folder)
    return read(folder / out)


def values(folder: Path, text: str, tensor: str) -> Any:
    opened = open_plan(yaml.safe_load(text), root=folder)
    return next(job.values for job in opened.layout.jobs if job.name == tensor)


def test_a_gradient_runs_from_the_first_layer_to_the_last(tmp_path: Path) -> None:
    """[0, 1, 0.5] over five layers: 0, 0.5, 1, 0.75, 0.5; the first value outside of the layers."""
    family(tmp_path, layers=5)
    text = """
        merge_method: slerp
        base_model: a
        models: [{model: a}, {model: b}]
        parameters: {t: [0, 1, 0.5]}
    """
    assert [values(tmp_path, text, QUERY.format(i))["t"] for i in range(5)] == [0.0, 0.5, 1.0, 0.75, 0.5]
    assert values(tmp_path, text, "lm_head.weight")["t"] == values(tmp_path, text, "model.norm.weight")["t"] == 0.0


def test_filters_pick_by_name_and_the_last_is_for_the_rest(tmp_path: Path) -> None:
    family(tmp_path, layers=3)
    text = """
        merge_method: slerp
        base_model: a
        slices:
          - sources:
              - {model: a, layer_range: [0, 3]}
              - {model: b, layer_range: [0, 3]}
        parameters:
          t:
            - {filter: self_attn, value: [0, 0.5, 1]}
            - {filter: mlp, value: [1, 0]}
            - value: 0.25
        dtype: bfloat16
    """
    assert [values(tmp_path, text, QUERY.format(i))["t"] for i in range(3)] == [0.0, 0.5, 1.0]
    assert [values(tmp_path, text, f"model.layers.{i}.mlp.up_proj.weight")["t"] for i in range(3)] == [1.0, 0.5, 0.0]
    assert values(tmp_path, text, "model.layers.1.input_layernorm.weight")["t"] == 0.25
    assert {t.dtype for t in run(tmp_path, text).values()} == {torch.bfloat16}


def test_a_models_own_parameter_goes_before_the_common_one(tmp_path: Path) -> None:
    family(tmp_path)
    text = """
        merge_method: task_arithmetic
        base_model: base
        models:
          - {model: base}
          - {model: a, parameters: {weight: [{filter: mlp, value: 0.9}]}}
          - {model: b, parameters: {weight: 1e-1}}
        parameters: {weight: 0.3, int8_mask: true}
    """
    assert values(tmp_path, text, "model.layers.0.mlp.up_proj.weight")["weight"] == [0.9, 0.1]
    assert values(tmp_path, text, "lm_head.weight")["weight"] == [0.3, 0.1]


def test_layers_of_two_models_are_stacked(tmp_path: Path) -> None:
    """Layers 0-1 merged of both, then 1-2 of b alone: four layers, the head from the last slice, the config told."""
    _, (a, b) = family(tmp_path, layers=3)
    text = """
        merge_method: linear
        slices:
          - sources:
              - {model: a, layer_range: [0, 2], parameters: {weight: 3}}
              - {model: b, layer_range: [1, 3], parameters: {weight: 1}}
          - sources: [{model: b, layer_range: [1, 3]}]
        parameters: {weight: 1}
    """
    merged = run(tmp_path, text)
    expected = [0.75 * a[QUERY.format(k)] + 0.25 * b[QUERY.format(k + 1)] for k in (0, 1)]
    expected += [b[QUERY.format(k)] for k in (1, 2)]
    for layer, tensor in enumerate(expected):
        assert torch.allclose(merged[QUERY.format(layer)], tensor, atol=1e-6)
    assert QUERY.format(4) not in merged
    embed = "model.embed_tokens.weight"
    assert torch.allclose(merged[embed], 0.75 * a[embed] + 0.25 * b[embed], atol=1e-6)
    assert torch.equal(merged["lm_head.weight"], b["lm_head.weight"])
    assert '"num_hidden_layers": 4' in (tmp_path / "out" / "config.json").read_text()


def test_the_base_among_the_sources_keeps_its_own_layers(tmp_path: Path) -> None:
    base, (a, _) = family(tmp_path, layers=3)
    text = """
        merge_method: task_arithmetic
        base_model: base
        slices:
          - sources:
              - {model: base, layer_range: [1, 3]}
              - {model: a, layer_range: [0, 2]}
        parameters: {weight: 0.5}
    """
    merged = run(tmp_path, text)
    for k in (0, 1):
        expected = 0.5 * (base[QUERY.format(k + 1)] + a[QUERY.format(k)])
        assert torch.allclose(merged[QUERY.format(k)], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("slices", "message"),
    [
        ([{"sources": [{"model": "a", "layer_range": [0, 9]}]}], "has 2 layers, the plan asks for layers up to 9"),
        ([{"sources": [{"model": "a", "layer_range": [1, 1]}]}], "holds no layer"),
        (
            [{"sources": [{"model": "a", "layer_range": [0, 1]}, {"model": "b", "layer_range": [0, 2]}]}],
            r"equally many layers, found \[1, 2\]",
        ),
    ],
)
def test_slices_that_cannot_be(tmp_path: Path, slices: Any, message: str) -> None:
    family(tmp_path)
    with pytest.raises(MergeError, match=message):
        open_plan({"merge_method": "linear", "slices": slices, "parameters": {"weight": 1}}, root=tmp_path)


def test_one_module_says_what_its_content_says(tmp_path: Path) -> None:
    content = {"models": [{"model": "a"}, {"model": "b"}], "parameters": {"weight": 1}}
    assert make_plan({"merge_method": "linear", "modules": {"default": content}}) == make_plan(
        {"merge_method": "linear", **content}
    )


def test_mergekits_nested_model_references() -> None:
    nested = {"model": {"model": {"path": "a"}, "lora": {"path": "x"}}}
    plan = make_plan({"merge_method": "linear", "models": [nested, {"model": "a+x"}]})
    assert plan.models is not None and plan.models[0].model == plan.models[1].model


@pytest.mark.parametrize(
    ("name", "prefix", "layer"),
    [
        ("model.layers.12.self_attn.q_proj.weight", "model.layers.", 12),
        ("h.0.attn.c_attn.weight", "h.", 0),
        ("encoder.block.3.layer.0.SelfAttention.q.weight", "encoder.block.", 3),
        ("0.weight", "", 0),
    ],
)
def test_layers_are_read_from_names(name: str, prefix: str, layer: int) -> None:
    place = place_of(name)
    assert place is not None and (place.prefix, place.layer) == (prefix, layer) and place.name(layer) == name
    assert place_of("model.norm.weight") is None and place_of("conv1.weight") is None


def test_a_parameter_of_other_methods_is_a_warning(tmp_path: Path) -> None:
    family(tmp_path)
    plan = {"merge_method": "linear", "models": [{"model": "a"}], "parameters": {"weight": 1, "t": 1}}
    assert open_plan(plan, root=tmp_path).warnings == ['method "linear" does not use the parameter "t"']


def test_a_model_named_twice_is_a_warning(tmp_path: Path) -> None:
    family(tmp_path)
    plan = {"merge_method": "linear", "models": [{"model": "a"}, {"model": "a"}], "parameters": {"weight": 1}}
    assert open_plan(plan, root=tmp_path).warnings == ['model "a" is named 2 times and counts as that many']


def test_a_dry_run_says_what_it_takes_and_writes_nothing(tmp_path: Path) -> None:
    base, _ = family(tmp_path)
    plan = {"merge_method": "slerp", "models": [{"model": "a"}, {"model": "b"}], "parameters": {"t": 0.5}}
    before = sorted(tmp_path.rglob("*"))
    found = forecast(open_plan(plan, root=tmp_path), threads=1)
    assert isinstance(found, Forecast) and sorted(tmp_path.rglob("*")) == before
    size = sum(4 * t.numel() for t in base.values())
    largest = max(4 * t.numel() for t in base.values())
    assert found.written_bytes == size and found.read_bytes == 2 * size and found.tensors == len(base)
    assert found.memory_bytes == largest * (2 + 2 + method("slerp").temporaries) and found.seconds > 0
