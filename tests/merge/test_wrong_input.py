"""What cannot be merged is refused before anything is written, by a message that names it."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from helpers.checkpoints import family, llama, write
from sharewise.errors import MergeError
from sharewise.merge import load_plan, make_plan, merge, merge_states, open_source
from sharewise.merge._tensorfile import TensorFile
from sharewise.merge._yaml import read_yaml

LINEAR = {"merge_method": "linear", "models": [{"model": "a"}, {"model": "b"}], "parameters": {"weight": 0.5}}


def refused(plan: dict[str, Any], folder: Path, message: str, **options: Any) -> None:
    with pytest.raises(MergeError, match=message):
        merge(plan, folder / "out", root=folder, **options)
    assert not (folder / "out").exists() and not list(folder.glob(".out*"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    family(tmp_path)
    return tmp_path


def change(folder: Path, name: str, **tensors: torch.Tensor | None) -> None:
    """Rewrite a model with other tensors; ``None`` takes one away."""
    shutil.rmtree(folder / name)
    state = llama() | {k.replace("__", "."): v for k, v in tensors.items()}
    write(folder / name, {k: v for k, v in state.items() if v is not None})


def test_another_shape_names_the_tensor(folder: Path) -> None:
    change(folder, "b", model__norm__weight=torch.zeros(9))
    refused(LINEAR, folder, r'"model.norm.weight" is \[8\] in "a" and \[9\] in "b"')


def test_missing_and_extra_tensors_are_named(folder: Path) -> None:
    change(folder, "b", lm_head__weight=None, lm_hat__weight=torch.zeros(2))
    refused(LINEAR, folder, r'"a" lacks lm_hat.weight .*"b" lacks lm_head.weight \(did you mean "lm_hat.weight"')
    change(folder, "b", lm_head__weight=None)
    refused(LINEAR, folder, r'"b" lacks lm_head.weight\. Merge models')  # nothing like it, and no list of all it has
    change(folder, "b", lm_head__weight=None, lm_hat__weight=torch.zeros(2))
    merge(LINEAR | {"missing": "keep"}, folder / "kept", root=folder)
    assert {"lm_head.weight", "lm_hat.weight"} <= set(open_source(folder / "kept").tensors)


def test_a_truncated_file_says_how_much_is_missing(folder: Path) -> None:
    file = folder / "a" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    refused(LINEAR, folder, "it is 100 bytes too short")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "header cannot be"),
        (b"\xff" * 8 + b"{}", "header cannot be"),
        ((3).to_bytes(8, "little") + b"{]}", "no JSON"),
        ((2).to_bytes(8, "little") + b"[]", "no JSON object"),
        ({"w": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}, "no known dtype"),
        ({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, r"\[2\] needs 8 bytes, its entry gives 4"),
        ({"w": {"dtype": "F32", "shape": [-1], "data_offsets": [0, -4]}}, "needs -4 bytes"),
        ({"w": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}, "needs 4 bytes"),
        ({n: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for n in "vw"}, "overlap"),
    ],
)
def test_broken_files(tmp_path: Path, content: Any, message: str) -> None:
    if isinstance(content, dict):
        text = json.dumps(content).encode()
        content = len(text).to_bytes(8, "little") + text + b"\0" * 8
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(MergeError, match=message):
        TensorFile(tmp_path / "x.safetensors")


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    save_file({"w": torch.ones(1000)}, tmp_path / "x.safetensors")
    source = open_source(tmp_path / "x.safetensors")
    with (tmp_path / "x.safetensors").open("r+b") as file:
        file.truncate(500)
    with pytest.raises(MergeError, match='"w" ended early'):
        source.whole("w")


def test_pickles_are_refused_with_the_way_to_convert_them(folder: Path) -> None:
    (folder / "a" / "model.safetensors").rename(folder / "a" / "pytorch_model.bin")
    refused(LINEAR, folder, "is a pickle.*weights_only=True")


def test_a_missing_shard_and_an_index_that_leads_away(folder: Path) -> None:
    shutil.rmtree(folder / "b")
    write(folder / "b", llama(), shards=2)
    (folder / "b" / "model-00002-of-00002.safetensors").rename(folder / "elsewhere.safetensors")
    refused(LINEAR, folder, '"b" lacks its shard model-00002-of-00002')
    index = folder / "b" / "model.safetensors.index.json"
    content = index.read_text()
    index.write_text(content.replace("model-00002-of-00002", "../elsewhere"))
    refused(LINEAR, folder, "not a file of its folder")
    (folder / "elsewhere.safetensors").rename(folder / "b" / "model-00002-of-00002.safetensors")
    index.write_text(content.replace('"weight_map": {', '"weight_map": {"ghost": "model-00001-of-00002.safetensors", '))
    refused(LINEAR, folder, 'places "ghost" in model-00001-of-00002.safetensors, which does not hold it')
    for nothing in ("{}", '{"weight_map": 3}', '{"weight_map": {}}', '{"weight_map": {"w": 1}}'):
        index.write_text(nothing)
        refused(LINEAR, folder, "has no weight_map")


def test_a_model_that_is_not_there(folder: Path) -> None:
    refused(LINEAR | {"models": [{"model": "a"}, {"model": "org/c"}]}, folder, "nothing is fetched")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"merge_method": "linaer"}, 'did you mean "linear"'),
        ({"parameters": {"wieght": 1}}, 'no parameter "wieght"; did you mean "weight"'),
        ({"parameters": {"weight": "much"}}, "must be a number, found 'much' of model"),
        ({"parameters": {"weight": float("nan")}}, "must be a number, found nan"),
        ({"parameters": {"weight": True}}, "must be a number, found True"),
        ({"parameters": {}}, 'needs the parameter "weight" of model "a"'),
        ({"parameters": {"weight": [0.5, "x"]}}, "must be a number"),
        ({"models": []}, "give either models"),
        ({"basemodel": "a"}, 'did you mean "base_model"'),
        ({"dtype": "float23"}, "dtype: must be 'float64'.*found 'float23'"),
        ({"models": [{"model": ""}]}, "a model's name is empty"),
        ({"merge_method": "task_arithmetic"}, "name it as base_model"),
        ({"models": ["a", "b"]}, r"models.0: write \{model: a\}; models.1: write"),
        ({"models": "a"}, "models: must be a list, found 'a'"),
        ({"models": [{"model": None}]}, r"models.0.model: must have fields \(name: value\), found None"),
        ({"models": [{"model": "a", "weight": 1}]}, "models.0.weight: .* belongs under parameters: {weight: ...}"),
        ({"wieght": 1}, "wieght: .* parameter weight belongs under parameters"),
        ({"parameters": 3}, "parameters: must have fields"),
        ({"parameters": {"weight": None}}, r"parameters.weight: must be a value, .* found None$"),
        ({"parameters": {"int8_mask": None}}, "parameters.int8_mask: must be a value"),
        (
            {"parameters": {"weight": {"filter": "mlp", "vale": 1}}},
            r"parameters.weight: must be a value",
        ),
        ({"parameters": {"weight": [{"filter": "mlp", "value": 1}]}}, 'of model "a"; none of its filters fits'),
        ({"merge_method": None}, "merge_method: must be a valid string, found None"),
        ({"merge_method": "ties", "base_model": "a", "models": [{"model": "a"}]}, "at least 1 model besides the base"),
        ({"merge_method": "slerp", "base_model": "base"}, "takes 2 models, the base among them; the plan gives 3"),
        ({"merge_method": "slerp", "models": [{"model": "a"}]}, "takes 2 models; the plan gives 1"),
        ({"parameters": {"weight": 0.0}}, "sum to 0"),
    ],
)
def test_wrong_plans(folder: Path, change: dict[str, Any], message: str) -> None:
    refused(LINEAR | change, folder, message)


def test_files_that_are_no_plan(tmp_path: Path) -> None:
    for text, message in (
        ("- a\n- b\n", "holds no plan"),
        ("# nothing yet", "holds no plan: .* found nothing"),
        ("a: [", "is no YAML"),
        ("!!python/none x", "is no YAML"),
        ("models: []\ndtype: float16\nmodels: []", r'(?s)"models" stands twice.*line 3'),
        ("a: {weight: 1, weight: 2}", '"weight" stands twice'),
    ):
        (tmp_path / "plan.yaml").write_text(text)
        with pytest.raises(MergeError, match=message):
            load_plan(tmp_path / "plan.yaml")
    (tmp_path / "plan.yaml").write_bytes(b"\x00\xff\xb6")
    with pytest.raises(MergeError, match="not even text"):
        load_plan(tmp_path / "plan.yaml")
    for place in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(MergeError, match="cannot read the plan"):
            load_plan(place)


def test_yaml_that_is_fine(tmp_path: Path) -> None:
    """Anchors and merged maps, whose own values go before."""
    text = "models: &all [{model: a}]\nx: &x {weight: 1, t: 1}\nparameters: {<<: *x, weight: 2}\nmore: *all"
    assert read_yaml(text)["parameters"] == {"weight": 2, "t": 1} and read_yaml(text)["more"] == [{"model": "a"}]


def test_paths_do_not_leave_the_folder(folder: Path) -> None:
    inner = folder / "inner"
    write(inner / "a", llama())
    (inner / "link").symlink_to(folder / "b")
    for path in ("../b", "link"):
        plan = LINEAR | {"models": [{"model": "a"}, {"model": path}]}
        with pytest.raises(MergeError, match="leads out of"):
            merge(plan, folder / "out", root=inner)
        merge(plan, folder / f"out-{path.strip('./')}", root=inner, allow_outside=True)
    merge(LINEAR | {"models": [{"model": "a"}, {"model": str(folder / "b")}]}, folder / "whole", root=inner)


def test_a_disk_that_is_too_small_is_known_before(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 5, 5))
    refused(LINEAR, folder, r"needs [\d.]+ kB and 50 MB to spare, .* has 5 B free: make room")


def test_only_a_former_merge_is_replaced(folder: Path) -> None:
    out = folder / "out"
    out.mkdir()
    merge(LINEAR, out, root=folder)  # an empty folder is no obstacle
    with pytest.raises(MergeError, match="exists already"):
        merge(LINEAR, out, root=folder)
    (out / "old").touch()
    merge(LINEAR, out, root=folder, overwrite=True)
    assert not (out / "old").exists() and not list(folder.glob(".out*"))
    (folder / "mine").mkdir()
    (folder / "mine" / "thesis.txt").touch()
    (folder / "link").symlink_to(out)
    for name, why in (("mine", "is not the folder of a former merge"), ("link", "is a link")):
        with pytest.raises(MergeError, match=why):
            merge(LINEAR, folder / name, root=folder, overwrite=True)
    assert (folder / "mine" / "thesis.txt").exists() and (folder / "link").is_symlink()


def test_a_merge_does_not_replace_what_it_is_made_of(folder: Path) -> None:
    """A former merge that is merged on: written over, a second run would start from the first one's result."""
    merge(LINEAR, folder / "former", root=folder)
    again = LINEAR | {"models": [{"model": "former"}, {"model": "b"}]}
    before = {p: p.read_bytes() for p in (folder / "former").iterdir()}
    with pytest.raises(MergeError, match=r'the model ".*former" and is not replaced'):
        merge(again, folder / "former", root=folder, overwrite=True)
    (folder / "former" / "inner").mkdir()
    (folder / "b").rename(folder / "former" / "inner" / "b")
    held = LINEAR | {"models": [{"model": "a"}, {"model": "former/inner/b"}]}
    with pytest.raises(MergeError, match="holds, the model"):
        merge(held, folder / "former", root=folder, overwrite=True)
    assert all(p.read_bytes() == content for p, content in before.items())
    merge(LINEAR | {"models": [{"model": "a"}]}, folder / "a" / "inside", root=folder)  # harms nothing


def test_a_place_that_cannot_be_written(folder: Path) -> None:
    (folder / "file").touch()
    with pytest.raises(MergeError, match=r'cannot make the folder ".*out": Not a directory'):
        merge(LINEAR, folder / "file" / "out", root=folder)


def test_states_that_are_none() -> None:
    with pytest.raises(MergeError, match='"w" is a list'):
        merge_states("linear", {"a": {"w": [1.0]}}, weight=1)  # type: ignore[dict-item]
    with pytest.raises(MergeError, match='for "c", which is none of the models a'):
        merge_states("linear", {"a": {"w": torch.ones(1)}}, weight={"c": 1})


def test_a_plan_survives_being_written(tmp_path: Path) -> None:
    plan = make_plan(LINEAR | {"models": [{"model": "a+lora"}, {"model": "b", "parameters": {"weight": [0, 1]}}]})
    (tmp_path / "plan.yaml").write_text(plan.to_yaml())
    assert load_plan(tmp_path / "plan.yaml") == plan
