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
    index.write_text(index.read_text().replace("model-00002-of-00002", "../elsewhere"))
    refused(LINEAR, folder, "not a file of its folder")


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
        ({"dtype": "float23"}, "dtype: Input should be 'float64'"),
        ({"models": [{"model": ""}]}, "a model's name is empty"),
        ({"merge_method": "task_arithmetic"}, "name it as base_model"),
        ({"merge_method": "slerp", "models": [{"model": "a"}]}, "takes 2 models, the plan gives 1"),
        ({"parameters": {"weight": 0.0}}, "sum to 0"),
    ],
)
def test_wrong_plans(folder: Path, change: dict[str, Any], message: str) -> None:
    refused(LINEAR | change, folder, message)


def test_files_that_are_no_plan(tmp_path: Path) -> None:
    for text, message in (("- a\n- b\n", "holds no plan"), ("a: [", "is no YAML"), ("!!python/none x", "is no YAML")):
        (tmp_path / "plan.yaml").write_text(text)
        with pytest.raises(MergeError, match=message):
            load_plan(tmp_path / "plan.yaml")
    with pytest.raises(MergeError, match="cannot read the plan"):
        load_plan(tmp_path / "none.yaml")


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
    refused(LINEAR, folder, "needs 0.00 GB.*make room")


def test_only_a_former_merge_is_replaced(folder: Path) -> None:
    out = folder / "out"
    out.mkdir()
    merge(LINEAR, out, root=folder)  # an empty folder is no obstacle
    with pytest.raises(MergeError, match="exists already"):
        merge(LINEAR, out, root=folder)
    (out / "old").touch()
    merge(LINEAR, out, root=folder, overwrite=True)
    assert not (out / "old").exists() and not list(folder.glob(".out*"))
    with pytest.raises(MergeError, match="not the folder of a former merge"):
        merge(LINEAR, folder / "a", root=folder, overwrite=True)
    assert (folder / "a" / "config.json").exists()


def test_states_that_are_none() -> None:
    with pytest.raises(MergeError, match='"w" is a list'):
        merge_states("linear", {"a": {"w": [1.0]}}, weight=1)  # type: ignore[dict-item]
    with pytest.raises(MergeError, match='for "c", which is none of the models a'):
        merge_states("linear", {"a": {"w": torch.ones(1)}}, weight={"c": 1})


def test_a_plan_survives_being_written(tmp_path: Path) -> None:
    plan = make_plan(LINEAR | {"models": [{"model": "a+lora"}, {"model": "b", "parameters": {"weight": [0, 1]}}]})
    (tmp_path / "plan.yaml").write_text(plan.to_yaml())
    assert load_plan(tmp_path / "plan.yaml") == plan
