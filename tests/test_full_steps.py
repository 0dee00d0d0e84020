"""The comparison of full steps: what is compared with what, and a side that cannot take a step."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torchjd", reason='needs TorchJD: pip install "sharewise[bench]"')

import sharewise as sw
from backward_modes import Problem
from full_steps import compared, measure, sides_of
from step_bench.libmtl_steps import CLASSES, load
from step_bench.ours import ELSEWHERE
from step_bench.torchjd_steps import AGGREGATORS, SCALARIZERS
from step_bench.worker import Step


def numbers(cpu: float, mb: float) -> dict[str, Any]:
    return {"cpu_ms": cpu, "wall_ms": cpu, "peak_mb": mb}


def test_the_best_of_a_peer_and_the_better_peer_count() -> None:
    found = {
        "auto": numbers(10, 30), "loop": numbers(20, 60), "TorchJD: default": numbers(40, 100),
        "TorchJD: Gramian": numbers(25, 120), "TorchJD: autogram": {"failed": "no"}, "LibMTL": numbers(50, 60),
    }  # fmt: skip
    row = compared(found)
    assert row["cpu_ms"] == {"auto": 10, "loop": 20, "TorchJD": 25, "LibMTL": 50, "/ best": 10 / 25}
    assert row["peak_mb"] == {"auto": 30, "loop": 60, "TorchJD": 100, "LibMTL": 60, "/ best": 30 / 60}
    beside = compared({"auto": numbers(9, 9), "LibMTL": numbers(4, 4), "auto, representation": numbers(2, 2)})
    assert beside["cpu_ms"]["/ best"] == 2 / 4
    alone = compared({"auto": numbers(1, 1), "TorchJD: default": {"failed": "no"}})
    assert math.isnan(alone["cpu_ms"]["/ best"])


def test_a_side_that_fails_is_named_and_the_others_are_timed() -> None:
    def broken(problem: Problem) -> Step:
        def step() -> None:
            raise ValueError("no such operation\nmore")

        return step

    def unmade(problem: Problem) -> Step:
        raise TypeError("not built")

    found = measure({"auto": lambda p: lambda: None, "late": broken, "early": unmade}, "convnet", 2, 1)
    assert found["late"] == {"failed": "ValueError: no such operation"}
    assert found["early"] == {"failed": "TypeError: not built"}
    assert found["auto"]["cpu_ms"] >= 0 and found["auto"]["peak_mb"] >= 0


def test_every_method_a_peer_has_is_compared() -> None:
    ours = set(sw.balance.available()) - ELSEWHERE
    assert set(AGGREGATORS) | set(SCALARIZERS) | set(CLASSES) == ours
    assert list(sides_of("pcgrad", None)) == ["auto", "loop", *(f"TorchJD: {s}" for s in
        ("default", "one by one", "Gramian", "autogram"))]  # fmt: skip
    assert list(sides_of("dwa", None)) == ["auto", "TorchJD: loss"]


def test_a_folder_without_the_peer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no checkout of LibMTL"):
        load(tmp_path)
