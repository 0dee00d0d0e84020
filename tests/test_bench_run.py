"""``make bench``: every part runs, one table and one JSON come out, and a part that fails is not overlooked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import run as bench

GOOD = 'print("own table")\nprint(\'{"ratio": 0.5}\')\n'


def part(name: str) -> bench.Part:
    return bench.Part(name, "", lambda report: iter([("a ratio", report["ratio"], "x")]))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(bench, "HERE", tmp_path)
    return tmp_path


def test_one_table_and_one_json(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("first", "second"):
        (folder / f"{name}.py").write_text(GOOD)
    assert bench.main(["--json", str(folder / "x" / "all.json")], [part("first"), part("second")]) == 0
    found = json.loads((folder / "x" / "all.json").read_text())["parts"]
    assert found["second"]["report"] == {"ratio": 0.5} and found["second"]["seconds"] >= 0
    out = capfd.readouterr().out
    assert out.count("own table") == 2 and out.count("a ratio") == 2 and '{"ratio"' not in out


@pytest.mark.parametrize("text", ["raise SystemExit(3)\n", 'print("no report")\n', "print('{\"other\": 1}')\n"])
def test_a_part_that_fails_is_named_and_the_others_run(
    folder: Path, capfd: pytest.CaptureFixture[str], text: str
) -> None:
    (folder / "bad.py").write_text(text)
    (folder / "good.py").write_text(GOOD)
    assert bench.main(["--json", str(folder / "all.json")], [part("bad"), part("good")]) == 1
    found = json.loads((folder / "all.json").read_text())["parts"]
    assert "failed" in found["bad"] and found["good"]["rows"] == [["a ratio", 0.5, "x"]]
    shown = capfd.readouterr()
    assert "FAILED: bad" in shown.err and "FAILED" in shown.out


def test_every_part_is_a_script_and_every_script_is_known() -> None:
    scripts = {p.stem for p in (Path(__file__).parents[1] / "benchmarks").glob("*.py")} - {"run"}
    assert {p.name for p in bench.PARTS} <= scripts
    assert scripts - {p.name for p in bench.PARTS} == {"real_tables"}, "a script that make bench does not run"


def test_an_unknown_part_is_refused(folder: Path) -> None:
    with pytest.raises(SystemExit):
        bench.main(["--only", "nothing"], [part("first")])
