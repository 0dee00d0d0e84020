"""What is read comes out merged: any source, any block, any number of threads, shards of any size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from helpers.checkpoints import family, llama, read, write
from sharewise.errors import MergeError
from sharewise.merge import Block, Method, available, merge, merge_states, open_source
from sharewise.merge._engine import Engine
from sharewise.merge._reading import Job, Part
from sharewise.merge._writer import StateWriter


def plan(method: str, *models: str, base: str | None = None, **parameters: Any) -> dict[str, Any]:
    content: dict[str, Any] = {
        "merge_method": method,
        "models": [{"model": m} for m in models],
        "parameters": parameters,
    }
    return content | ({"base_model": base} if base else {})


def test_a_folder_comes_out_as_the_average(tmp_path: Path) -> None:
    _, (a, b) = family(tmp_path)
    merge(plan("linear", "a", "b", weight=0.5), tmp_path / "out", root=tmp_path)
    merged = read(tmp_path / "out")
    assert merged.keys() == a.keys()
    for name in a:
        assert torch.equal(merged[name], (a[name] + b[name]) * 0.5)
    assert (tmp_path / "out" / "config.json").exists() and (tmp_path / "out" / "tokenizer_config.json").exists()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("method", ["linear", "slerp", "task_arithmetic"])
@pytest.mark.parametrize(("threads", "block"), [(1, 2**18), (3, 5), (2, 24)])
def test_blocks_and_threads_change_nothing(tmp_path: Path, method: str, threads: int, block: int) -> None:
    family(tmp_path)
    given = plan(method, "a", "b", base=None if method == "linear" else "base" if method != "slerp" else "a")
    given["parameters"] = {"t": 0.3} if method == "slerp" else {"weight": 0.7}
    for name, options in {"usual": {"threads": 1}, "other": {"threads": threads, "block": block}}.items():
        merge(given, tmp_path / name, root=tmp_path, **options)
    usual, other = read(tmp_path / "usual"), read(tmp_path / "other")
    for name in usual:
        assert torch.allclose(usual[name], other[name], rtol=1e-6, atol=1e-7)
        if method != "slerp":
            assert torch.equal(usual[name], other[name])


def test_shards_in_and_out(tmp_path: Path) -> None:
    base = llama()
    write(tmp_path / "many", base, shards=3)
    write(tmp_path / "one", base)
    merge(plan("linear", "many", "one", weight=1), tmp_path / "out", root=tmp_path, shard_bytes=1000)
    files = sorted(p.name for p in (tmp_path / "out").glob("*.safetensors"))
    assert len(files) > 3 and files[0] == f"model-00001-of-{len(files):05d}.safetensors"
    for name, tensor in read(tmp_path / "out").items():
        assert torch.equal(tensor, base[name])
    again = open_source(tmp_path / "out")
    assert set(again.tensors) == set(base) and torch.equal(again.whole("lm_head.weight"), base["lm_head.weight"])
    sizes = [p.stat().st_size for p in (tmp_path / "out").glob("*.safetensors")]
    assert max(sizes) < 2500


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_computed_wide_and_rounded_once(dtype: torch.dtype) -> None:
    """1/3 (x + y + z) in bfloat16 would round four times; float64 stays float64 to the last bit."""
    draw = torch.Generator().manual_seed(0)
    models = {n: {"w": torch.randn(50, generator=draw, dtype=torch.float64).to(dtype)} for n in "abc"}
    merged = merge_states("linear", models, weight=1.0)["w"]
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    expected = (models["a"]["w"].to(wide) + models["b"]["w"].to(wide) + models["c"]["w"].to(wide)) / 3
    assert merged.dtype == dtype and torch.equal(merged, expected.to(dtype))


def test_mixed_dtypes_follow_the_base_or_out_dtype(tmp_path: Path) -> None:
    base = llama()
    write(tmp_path / "wide", base)
    write(tmp_path / "narrow", {k: v.bfloat16() for k, v in base.items()})
    merge(plan("linear", "wide", "narrow", weight=1), tmp_path / "out", root=tmp_path)
    assert {t.dtype for t in read(tmp_path / "out").values()} == {torch.float32}
    merge(plan("linear", "wide", "narrow", weight=1) | {"out_dtype": "float16"}, tmp_path / "half", root=tmp_path)
    assert {t.dtype for t in read(tmp_path / "half").values()} == {torch.float16}
    assert '"dtype": "float16"' in (tmp_path / "half" / "config.json").read_text()


def test_whole_numbers_are_copied_and_empty_tensors_kept() -> None:
    state = {
        "ids": torch.arange(4),
        "none": torch.zeros(0, 3),
        "scalar": torch.tensor(2.0),
        "flag": torch.tensor([True]),
    }
    merged = merge_states("linear", {"a": state, "b": state}, weight=1)
    for name, tensor in state.items():
        assert merged[name].dtype == tensor.dtype and torch.equal(merged[name], tensor)


def test_values_that_are_not_finite_name_the_tensor_and_the_model() -> None:
    good, bad = {"w": torch.ones(3)}, {"w": torch.tensor([1.0, float("nan"), 1.0])}
    with pytest.raises(MergeError, match=r'tensor "w" of model "bad" has values that are not finite'):
        merge_states("linear", {"good": good, "bad": bad}, weight=1)
    with pytest.raises(MergeError, match=r'tensor "w" of model "base"'):
        merge_states("task_arithmetic", {"good": good}, bad, weight=1)
    wide = torch.randn(70_000, generator=torch.Generator().manual_seed(0))
    spoilt = wide.clone()
    spoilt[5] = float("nan")
    for name in ("ties", "breadcrumbs"):  # whose thresholds are looked for among values that are compared
        with pytest.raises(MergeError, match=r'tensor "w" of model "bad"'):
            pair = {"good": {"w": wide}, "bad": {"w": spoilt}}
            merge_states(name, pair, {"w": torch.zeros(70_000)}, weight=1, density=0.5)
    large = {"w": torch.full((3,), 6e4, dtype=torch.float16)}
    with pytest.raises(MergeError, match="range of float16"):
        merge_states("linear", {"a": large, "b": large}, weight=1, normalize=False)


class Recorder(Method):
    """Notes what it was given."""

    name = "recorder"
    base = "required"

    def __init__(self, reach: str) -> None:
        self.wanted, self.seen = reach, []

    def reach_of(self, name: str, shape: tuple[int, ...], values: Any) -> Any:
        return self.wanted

    def prepare(self, stack: Any) -> float:
        return sum(float(b.rows.double().sum()) for b in stack.blocks())

    def combine(self, block: Block, state: float) -> Tensor:
        self.seen.append((block.start, tuple(block.rows.shape), state))
        return block.rows.mean(0)


@pytest.mark.parametrize(
    ("reach", "shapes"),
    [
        ("entries", [(0, (2, 10)), (10, (2, 10)), (20, (2, 1))]),
        ("rows", [(0, (2, 3, 3)), (9, (2, 3, 3)), (18, (2, 1, 3))]),
        ("tensor", [(0, (2, 7, 3))]),
    ],
)
def test_a_block_is_what_the_method_can_reach(reach: str, shapes: list[Any]) -> None:
    base, a, b = (torch.arange(21.0).view(7, 3) * f for f in (1, 2, 4))
    sources = [open_source({"w": w}, n) for n, w in (("base", base), ("a", a), ("b", b))]
    method = Recorder(reach)
    info = sources[0].tensors["w"]
    writer = StateWriter({"w": info})
    job = Job("w", info, tuple(Part(s, "w") for s in sources[1:]), Part(sources[0], "w"), method)
    Engine(writer, threads=1, block=10).run([job])
    assert [(start, shape) for start, shape, _ in method.seen] == shapes
    assert all(state == float((a + b - 2 * base).sum()) for *_, state in method.seen)
    assert torch.equal(writer.state["w"], (a + b) / 2)


def test_methods_are_listed_and_misspelt_ones_suggest() -> None:
    assert {"linear", "slerp", "task_arithmetic"} <= set(available())
    with pytest.raises(MergeError, match='did you mean "slerp"'):
        merge_states("slrp", {"a": {}, "b": {}})
