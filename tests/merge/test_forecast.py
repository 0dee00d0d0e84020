"""What a merge will take, before it is done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.checkpoints import family, llama, write
from sharewise.merge import _forecast, forecast, open_plan


def clock(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Time that passes by so much with every look."""
    looks = iter(range(10_000))
    monkeypatch.setattr(_forecast.time, "perf_counter", lambda: seconds * next(looks))


def test_the_base_is_read_and_what_is_copied_is_read_once(tmp_path: Path) -> None:
    base, _ = family(tmp_path)
    write(tmp_path / "c", base | {"ids": torch.arange(1000)})
    write(tmp_path / "d", base | {"ids": torch.arange(1000)})
    plan: dict[str, Any] = {"merge_method": "ties", "base_model": "base", "parameters": {"weight": 1, "density": 0.5}}
    size = sum(4 * t.numel() for t in base.values())
    found = forecast(open_plan(plan | {"models": [{"model": "a"}, {"model": "b"}]}, root=tmp_path))
    assert found.read_bytes == 3 * size
    pair = plan | {"base_model": "c", "models": [{"model": "d"}]}
    found = forecast(open_plan(pair, root=tmp_path))
    assert found.read_bytes == 2 * size + 8000 and found.written_bytes == size + 8000


def test_every_thread_holds_a_tensor(tmp_path: Path) -> None:
    family(tmp_path)
    plan = {"merge_method": "linear", "models": [{"model": "a"}], "parameters": {"weight": 1}}
    opened = open_plan(plan, root=tmp_path)
    one, two, many = (forecast(opened, threads=n).memory_bytes for n in (1, 2, 1000))
    assert two == 2 * one < many  # the two largest are alike
    sizes = sorted((job.info.bytes for job in opened.layout.jobs), reverse=True)
    assert many == one * sum(sizes) // sizes[0]


def test_time_is_the_sample_s_in_proportion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four alike tensors, of which two are timed: the clock says 1.2 s at the second's end."""
    tensors = {f"w{i}": torch.ones(10) for i in range(4)}
    write(tmp_path / "a", tensors)
    plan = {"merge_method": "linear", "models": [{"model": "a"}], "parameters": {"weight": 1}}
    opened = open_plan(plan, root=tmp_path)
    clock(monkeypatch, 0.6)
    assert forecast(opened, threads=1).seconds == pytest.approx(1.8 * 4 / 2)  # one more look, after the sample
    clock(monkeypatch, 0.6)
    assert forecast(opened, threads=2).seconds == pytest.approx(1.8 * 4 / 2 / 2)


def test_a_matrix_that_is_taken_apart_takes_its_smaller_side_longer(tmp_path: Path) -> None:
    base = llama()
    write(tmp_path / "base", base)
    write(tmp_path / "a", base)
    both = {"base_model": "base", "models": [{"model": "a"}], "parameters": {"weight": 1}}
    work = {}
    for name in ("task_arithmetic", "tsv"):
        opened = open_plan({"merge_method": name, **both}, root=tmp_path)
        work[name] = {job.name: _forecast._work(job) for job in opened.layout.jobs}
    up, norm = "model.layers.0.mlp.up_proj.weight", "model.norm.weight"
    assert work["task_arithmetic"][up] == 16 * 8 + 1 and work["tsv"][up] == 16 * 8 * 8 / 4 + 1
    assert work["task_arithmetic"][norm] == work["tsv"][norm] == 8 + 1
