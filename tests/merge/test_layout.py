"""Which tensors of which models make each tensor of the output, and with what parameters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from helpers.checkpoints import family, llama, read, write
from sharewise.errors import MergeError
from sharewise.merge import make_plan, merge, open_plan
from sharewise.merge._reading import Job

QUERY = "model.layers.{}.self_attn.q_proj.weight"


def jobs(folder: Path, text: str) -> dict[str, Job]:
    return {job.name: job for job in open_plan(yaml.safe_load(text), root=folder).layout.jobs}


def sources(job: Job) -> list[tuple[str, str]]:
    return [(p.source.name, p.tensor) for p in (*job.parts, *([job.base] if job.base else []))]


def test_layers_count_by_their_order_not_their_number(tmp_path: Path) -> None:
    """Of layers 0, 4 and 5 the second is half way; a single layer is the last."""
    tensors = llama(0, 3)
    numbers = {0: 0, 1: 4, 2: 5}
    renamed = {n.replace(f"layers.{i}.", f"layers.{k}.") if f"layers.{i}." in n else n: t for i, k in numbers.items()
               for n, t in tensors.items() if f"layers.{i}." in n or "layers." not in n}  # fmt: skip
    write(tmp_path / "a", renamed)
    text = "{merge_method: linear, models: [{model: a, parameters: {weight: [0, 1, 2]}}]}"
    found = jobs(tmp_path, text)
    assert [found[QUERY.format(k)].values["weight"] for k in (0, 4, 5)] == [[0.0], [1.0], [2.0]]
    assert [found[QUERY.format(k)].depth for k in (0, 4, 5)] == [(0, 3), (1, 3), (2, 3)]
    assert found["lm_head.weight"].depth == (-1, 3)
    write(tmp_path / "one", llama(0, 1))
    assert jobs(tmp_path, text.replace("model: a", "model: one"))[QUERY.format(0)].values["weight"] == [2.0]


def test_slices_have_their_own_depth_base_and_parameters(tmp_path: Path) -> None:
    """Layers 1-2 of a against those of base; layer 0 of a against layer 2 of b, which the slice calls its base; layer 2
    of a against that of c, which is named nowhere else."""
    family(tmp_path, experts=3, layers=3)
    text = """
        merge_method: task_arithmetic
        base_model: base
        slices:
          - sources: [{model: a, layer_range: [1, 3]}]
          - base_model: b
            sources: [{model: a, layer_range: [0, 1]}, {model: b, layer_range: [2, 3]}]
            parameters: {weight: 0.5}
          - base_model: c
            sources: [{model: a, layer_range: [2, 3]}]
        parameters: {weight: 1}
    """
    found = jobs(tmp_path, text)
    assert [sources(found[QUERY.format(k)]) for k in range(4)] == [
        [("a", QUERY.format(1)), ("base", QUERY.format(1))],
        [("a", QUERY.format(2)), ("base", QUERY.format(2))],
        [("a", QUERY.format(0)), ("b", QUERY.format(2))],
        [("a", QUERY.format(2)), ("c", QUERY.format(2))],
    ]
    assert [found[QUERY.format(k)].values["weight"] for k in range(4)] == [[1.0], [1.0], [0.5], [1.0]]
    assert [found[QUERY.format(k)].depth for k in range(4)] == [(k, 4) for k in range(4)]


@pytest.mark.parametrize(("layers", "message"), [([1, 4], "layers up to 4"), ([-1, 1], r"\[-1, 1\] of a holds no")])
def test_ranges_end_where_the_layers_do(tmp_path: Path, layers: list[int], message: str) -> None:
    family(tmp_path, layers=3)
    plan = {"merge_method": "passthrough", "slices": [{"sources": [{"model": "a", "layer_range": layers}]}]}
    with pytest.raises(MergeError, match=message):
        open_plan(plan, root=tmp_path)


def test_the_base_that_is_one_of_the_models_need_not_be_listed(tmp_path: Path) -> None:
    family(tmp_path)
    alone = "{merge_method: slerp, base_model: b, models: [{model: a}], parameters: {t: 0.5}}"
    both = "{merge_method: slerp, base_model: b, models: [{model: a}, {model: b}], parameters: {t: 0.5}}"
    for text in (alone, both):
        assert [name for name, _ in sources(jobs(tmp_path, text)[QUERY.format(0)])] == ["b", "a"]


def test_what_is_kept_comes_from_the_base_in_the_asked_dtype(tmp_path: Path) -> None:
    base = llama()
    write(tmp_path / "base", base | {"extra": torch.ones(3), "ids": torch.arange(3)})
    write(tmp_path / "a", base | {"extra": torch.zeros(3)})
    write(tmp_path / "b", base)
    plan: dict[str, Any] = {
        "merge_method": "task_arithmetic",
        "base_model": "base",
        "models": [{"model": "a"}, {"model": "b"}],
        "parameters": {"weight": 1},
        "missing": "keep",
        "dtype": "float32",
        "out_dtype": "bfloat16",
    }
    opened = open_plan(plan, root=tmp_path)
    assert 'kept as "base" has it: extra (missing in b)' in opened.warnings
    merge(plan, tmp_path / "out", root=tmp_path)
    found = read(tmp_path / "out")
    assert found["extra"].dtype == torch.bfloat16 and found["extra"].tolist() == [1, 1, 1]
    assert found["ids"].dtype == torch.int64 and found["ids"].tolist() == [0, 1, 2]
    assert found["lm_head.weight"].dtype == torch.bfloat16


def test_the_output_is_stored_as_the_base_is(tmp_path: Path) -> None:
    base = llama()
    write(tmp_path / "base", {k: v.half() for k, v in base.items()})
    write(tmp_path / "a", base)
    text = "{merge_method: task_arithmetic, base_model: base, models: [{model: a}], parameters: {weight: 1}}"
    assert {job.info.dtype for job in jobs(tmp_path, text).values()} == {torch.float16}


def test_many_tensors_carried_over_are_one_warning(tmp_path: Path) -> None:
    family(tmp_path)
    write(tmp_path / "c", {"lm_head.weight": llama()["lm_head.weight"]})
    plan = {"merge_method": "linear", "models": [{"model": "a"}, {"model": "c"}], "parameters": {"weight": 1}}
    (warning,) = open_plan(plan | {"missing": "keep"}, root=tmp_path).warnings
    assert warning == "16 of 17 tensors are not in every model and were carried over from one"


def test_the_inner_parameters_go_before_the_outer(tmp_path: Path) -> None:
    family(tmp_path)
    inner = {"models": [{"model": "a"}], "parameters": {"weight": 2}}
    outer = {"merge_method": "linear", "parameters": {"weight": 1, "normalize": False}}
    assert make_plan(outer | {"modules": {"default": inner}}).parameters == {"weight": 2, "normalize": False}
    several = outer | {"modules": {"lm_head": inner, "default": {"models": [{"model": "a"}]}}}
    found = {job.name: job.values for job in open_plan(several, root=tmp_path).layout.jobs}
    assert found["lm_head.weight"]["weight"] == [2.0] and found["model.norm.weight"]["weight"] == [1.0]


@pytest.mark.parametrize("place", ["model", "slice", "source", "module"])
def test_parameters_are_checked_wherever_they_stand(tmp_path: Path, place: str) -> None:
    family(tmp_path)
    wrong = {"wieght": 1}
    source = {"model": "a", "layer_range": [0, 2], "parameters": wrong if place == "source" else {}}
    piece = {"sources": [source], "parameters": wrong if place == "slice" else {}}
    plan: dict[str, Any] = {"merge_method": "linear", "parameters": {"weight": 1}}
    if place in ("slice", "source"):
        plan["slices"] = [piece]
    elif place == "model":
        plan["models"] = [{"model": "a", "parameters": wrong}]
    else:
        plain = {"models": [{"model": "a"}]}
        plan["modules"] = {"lm_head": plain | {"parameters": wrong}, "default": plain}
    with pytest.raises(MergeError, match='did you mean "weight"'):
        open_plan(plan, root=tmp_path)


def test_models_are_opened_once_and_written_short() -> None:
    content = {"merge_method": "ties", "base_model": "base", "models": [{"model": "base"}, {"model": "a+x"}]}
    plan = make_plan(content)
    assert [r.name for r in plan.references()] == ["base", "a+x"]
    assert yaml.safe_load(plan.to_yaml()) == content


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ({"tokenizer_source": "union", "tokenizer": {"source": "union"}}, "not both"),
        ({"tokenizer": {"tokens": {"q": {"source": {"kind": "model_token", "token": "x"}}}}}, "needs a model"),
    ],
)
def test_tokenizers_that_contradict_themselves(tokens: dict[str, Any], message: str) -> None:
    with pytest.raises(MergeError, match=message):
        make_plan({"merge_method": "linear", "models": [{"model": "a"}], **tokens})


def test_places_may_begin_at_home_and_behind_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    family(tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.setenv("HOME", str(tmp_path / "real"))
    plan = {"merge_method": "linear", "models": [{"model": "a"}, {"model": "~/b"}], "parameters": {"weight": 1}}
    merge(plan, tmp_path / "out", root=tmp_path / "link")
    assert json.loads((tmp_path / "out" / "merge.json").read_text())["models"] == ["a", "~/b"]
