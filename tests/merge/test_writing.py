"""Files as the safetensors format wants them, whole and safe on the disk; copies and draws that blocks do not
change."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from helpers.checkpoints import family, llama, read, write
from sharewise.errors import MergeError
from sharewise.merge import merge, merge_states, open_source
from sharewise.merge._engine import BLOCK, Engine, default_threads
from sharewise.merge._reading import Job, Memory, Part, Reading
from sharewise.merge._registry import method
from sharewise.merge._tensorfile import TensorFile, TensorInfo
from sharewise.merge._writer import ShardWriter, StateWriter

PLAN = {"merge_method": "linear", "models": [{"model": "a"}, {"model": "b"}], "parameters": {"weight": 0.5}}


def header(path: Path) -> tuple[int, dict[str, Any]]:
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    return 8 + length, json.loads(content[8 : 8 + length])


def test_tensors_start_where_their_items_may(tmp_path: Path) -> None:
    """One byte before a float32 would misalign it for readers that map the file."""
    kinds = {"a": torch.bool, "b": torch.float16, "c": torch.float32, "d": torch.float64, "e": torch.float32}
    writer = ShardWriter(tmp_path, {n: TensorInfo(kind, (1,)) for n, kind in kinds.items()}, 10**9)
    for name, kind in kinds.items():
        writer.write(name, 0, torch.ones(1, dtype=kind))
    (file,) = writer.finish()
    begin, entries = header(tmp_path / file)
    assert begin % 8 == 0 and entries.pop("__metadata__") == {"format": "pt"}
    sizes = {"BOOL": 1, "F16": 2, "F32": 4, "F64": 8}
    assert all(e["data_offsets"][0] % sizes[e["dtype"]] == 0 for e in entries.values()) and len(entries) == 5
    with safe_open(tmp_path / file, "pt") as opened:
        assert opened.metadata() == {"format": "pt"}
        assert all(opened.get_tensor(n).tolist() == [1] for n in kinds)


def test_a_tensor_larger_than_a_shard_gets_one_of_its_own(tmp_path: Path) -> None:
    base, _ = family(tmp_path)
    merge(PLAN, tmp_path / "out", root=tmp_path, shard_bytes=1)
    assert len(list((tmp_path / "out").glob("*.safetensors"))) == len(base)
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(4 * t.numel() for t in base.values())
    assert set(index["weight_map"]) == set(base)


def test_a_system_that_writes_and_reads_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``pwrite`` and ``preadv`` may do less than they are asked for, and disks may not promise room."""
    _, (a, b) = family(tmp_path)
    whole_write, whole_read = os.pwrite, os.preadv
    monkeypatch.setattr(os, "pwrite", lambda handle, content, place: whole_write(handle, content[:7], place))
    monkeypatch.setattr(os, "preadv", lambda handle, room, place: whole_read(handle, [room[0][:5]], place))

    def refuse(*_: Any) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    merge(PLAN, tmp_path / "out", root=tmp_path)
    assert all(torch.equal(v, (a[k] + b[k]) / 2) for k, v in read(tmp_path / "out").items())


def test_every_file_of_weights_is_safe_before_the_folder_appears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    family(tmp_path)
    synced, sync, rename = set(), os.fsync, Path.rename
    appeared: list[set[int]] = []
    monkeypatch.setattr(os, "fsync", lambda handle: (synced.add(os.fstat(handle).st_ino), sync(handle))[1])
    monkeypatch.setattr(Path, "rename", lambda self, to: (appeared.append(set(synced)), rename(self, to))[1])
    merge(PLAN, tmp_path / "out", root=tmp_path, shard_bytes=1000)
    files = {p.stat().st_ino for p in (tmp_path / "out").glob("*.safetensors")}
    assert len(files) > 1 and files <= appeared[-1]


def test_a_header_longer_than_its_file(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes((50).to_bytes(8, "little") + b"{}" + b" " * 20)
    with pytest.raises(MergeError, match="header cannot be 50 bytes long in a file of 30"):
        TensorFile(tmp_path / "x.safetensors")


def test_what_is_copied_comes_over_whole_and_counts_as_progress(tmp_path: Path) -> None:
    """Blocks of three entries; bfloat16 and int64 tell entries from bytes."""
    a = llama() | {"only": torch.arange(10.0).bfloat16(), "positions": torch.arange(11)}
    write(tmp_path / "a", a)
    write(tmp_path / "b", {k: v for k, v in a.items() if k != "only"})
    told: list[tuple[int, int, str]] = []
    merge(
        PLAN | {"missing": "keep"},
        tmp_path / "out",
        root=tmp_path,
        block=3,
        threads=2,
        progress=lambda *step: told.append(step),
    )
    found = read(tmp_path / "out")
    assert torch.equal(found["only"], a["only"]) and torch.equal(found["positions"], a["positions"])
    size = sum(t.numel() * t.element_size() for t in a.values())
    done = [n for n, _, _ in told]
    assert done == sorted(done) and done[-1] == size and {total for _, total, _ in told} == {size}
    assert {name for _, _, name in told} == set(a)


def test_one_wide_model_makes_the_sum_wide() -> None:
    """2^24 + (1 + 2^-28): in float32 the second is 1 and the sum a tie, rounded down; in float64 it rounds up."""
    models = {"a": {"w": torch.tensor([2.0**24])}, "b": {"w": torch.tensor([1 + 2.0**-28], dtype=torch.float64)}}
    assert merge_states("linear", models, weight=1, normalize=False)["w"].tolist() == [2.0**24 + 2]


def test_a_sum_that_overflows_is_no_value_that_does() -> None:
    large = {"w": torch.full((2,), 3e38)}
    assert torch.equal(merge_states("linear", {"a": large}, weight=1)["w"], large["w"])


def test_draws_are_of_the_seed_the_tensor_and_the_model() -> None:
    ones, zeros = ({n: f(1000) for n in ("v", "w")} for f in (torch.ones, torch.zeros))

    def drawn(a: float, b: float, seed: int = 0, names: str = "vw") -> dict[str, Tensor]:
        models = {m: {n: ones[n] for n in names} for m in ("a", "b")}
        own = {"weight": {"a": a, "b": b}, "density": 0.5, "seed": seed}
        return merge_states("dare_linear", models, {n: zeros[n] for n in names}, **own)

    first = drawn(1, 0)
    assert not torch.equal(first["v"], first["w"])
    assert not torch.equal(first["v"], drawn(0, 1)["v"])
    assert not torch.equal(first["v"], drawn(1, 0, seed=1)["v"])
    assert torch.equal(first["v"], drawn(1, 0, names="v")["v"])


def test_a_companion_is_a_change_where_there_is_a_base() -> None:
    states = [{"fc.weight": torch.ones(2, 2), "fc.bias": torch.full((2,), float(f))} for f in (1, 4, 6)]
    base, *models = (open_source(s, n) for s, n in zip(states, ("base", "a", "b"), strict=True))
    parts = tuple(Part(m, "fc.weight") for m in models)
    info = base.tensors["fc.weight"]
    for origin, expected in ((Part(base, "fc.weight"), [[3.0, 3.0], [5.0, 5.0]]), (None, [[4.0, 4.0], [6.0, 6.0]])):
        job = Job("fc.weight", info, parts, origin, method("task_arithmetic"))
        found = Reading(job, Memory(), BLOCK).companion("bias")
        assert found is not None and found.tolist() == expected
    assert Reading(job, Memory(), BLOCK).companion("scale") is None


def test_an_engine_that_failed_works_again() -> None:
    good, bad = ({"w": torch.full((2,), v)} for v in (1.0, float("nan")))
    sources = {n: open_source(s, n) for n, s in (("good", good), ("bad", bad))}
    info = sources["good"].tensors["w"]
    jobs = {
        n: Job("w", info, (Part(s, "w"),), None, method("passthrough"), {"scale": [1.0]}) for n, s in sources.items()
    }
    writer = StateWriter({"w": info})
    engine, threads = Engine(writer), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(MergeError):
            engine.run([jobs["bad"]])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    engine.run([jobs["good"]])
    assert writer.state["w"].tolist() == [1.0, 1.0]


def test_threads_are_as_many_as_cores_but_not_more_than_four(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, threads in ((1, 1), (3, 3), (64, 4)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, n=cores: set(range(n)), raising=False)
        assert default_threads() == threads
