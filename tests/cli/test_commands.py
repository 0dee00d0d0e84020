"""The commands as their user gives them: results on standard output, one clear line for wrong input, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sharewise.cli import main
from sharewise.data import sets


class Outcome:
    """What a command left behind."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def run(capsys: pytest.CaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    def command(*words: str | Path) -> Outcome:
        with pytest.raises(SystemExit) as ended:
            main([str(w) for w in words])
        captured = capsys.readouterr()
        return Outcome(int(ended.value.code or 0), captured.out, captured.err)

    return command


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "people.csv"
    sets.simulate_table(200, targets=3, seed=0).write_csv(path)
    return path


QUICK = ["--seeds", "0-1", "--trials", "1", "--epochs", "1", "--jobs", "1", "--arms", "pcgrad"]


def test_study_prints_the_verdict_and_writes_the_page(run, table: Path) -> None:
    result = run("study", table, "--targets", "y1,y2", *QUICK, "--json")
    found = json.loads(result.out)
    assert result.code == (1 if found["answer"] == "do not share" else 0)
    assert Path(found["page"]).exists() and json.loads(Path(found["results"]).read_text())["format"] == 1
    again = run("study", table, "--targets", "y1,y2", *QUICK)
    assert found["answer"].upper() in again.out and found["page"] in again.out


def test_fit_predict_and_export(run, table: Path, tmp_path: Path) -> None:
    result = run(
        "fit", table, "--targets", "y1,y2,y3", "--out", "model", "--epochs", "2", "--export", "torch", "--json"
    )
    found = json.loads(result.out)
    assert result.code == 0 and set(found["test"]) == {"y1", "y2", "y3"}
    assert {p.name for p in Path("model").iterdir()} >= {"fitted.json", "history.csv", "model.pt2", "model.safetensors"}
    assert run("predict", "model", table, "--out", "p.parquet").code == 0
    kept = pl.read_parquet("p.parquet")
    printed = pl.read_csv(run("predict", "model", table).out.encode())
    assert len(kept) == 200 and kept.columns[:2] == ["y1", "y2"] and printed.columns == kept.columns
    assert np.allclose(kept["y1"], printed["y1"], rtol=1e-5)
    rows = run("predict", "model", table, "--json").out.splitlines()
    assert json.loads(rows[0])["y1"] == pytest.approx(kept["y1"][0], rel=1e-5)
    assert "ending" in run("predict", "model", table, "--out", "p.xlsx").err
    assert "fitted.json" in run("predict", "nowhere", table).err


def test_fit_layer_by_layer(run, table: Path) -> None:
    words = ["fit", table, "--targets", "y1,y2", "--epochs", "1", "--balancer", "pcgrad"]
    assert run(*words, "--out", "whole").code == 0
    assert run(*words, "--out", "layers", "--by-layer").code == 0
    whole, layers = (Path(out, "model.safetensors").read_bytes() for out in ("whole", "layers"))
    assert whole != layers
    wrong = run(*words[:-2], "--out", "no", "--by-layer")
    assert wrong.code == 2 and "Equal weighs the losses" in wrong.err and not Path("no").exists()


def test_fit_with_guidance(run, table: Path) -> None:
    words = ["fit", table, "--targets", "y1,y2", "--epochs", "2", "--batch-size", "32", "--json"]
    found = json.loads(run(*words, "--balancer", "aim", "--out", "aim").out)["thresholds"]
    assert found.keys() == {"y1", "y2"} and found["y1"].keys() == {"y2"} and found["y1"]["y2"] != 0
    layers = json.loads(run(*words, "--balancer", "aim", "--by-layer", "--guidance", "0.2", "--out", "l").out)
    assert all(policy["y2"].keys() == {"y1"} for policy in layers["thresholds"].values())
    wrong = run(*words, "--balancer", "pcgrad", "--guidance", "0.1", "--out", "no")
    assert wrong.code == 2 and "PCGrad learns from none" in wrong.err and not Path("no").exists()
    wrong = run(*words, "--balancer", "aim", "--guidance", "2", "--out", "no")
    assert wrong.code == 2 and "must lie between 0 and 1, got 2" in wrong.err and not Path("no").exists()


def test_advise_writes_nothing(run, table: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    found = json.loads(run("advise", table, "--targets", "y1,y2", "--epochs", "2", "--json").out)
    assert sorted(name for group in found["groups"] for name in group) == ["y1", "y2"]
    assert "full study" in run("advise", table, "--targets", "y1,y2", "--epochs", "2").out
    assert sorted(tmp_path.rglob("*")) == before


def test_demo_lists_the_sets(run) -> None:
    names = {s["name"] for s in json.loads(run("demo", "--list", "--json").out)}
    assert {"nmes1988", "movies", "yrbss"} <= names
    assert "nmes1988" in run("demo", "--list").out
    wrong = run("demo", "--data", "nmes1989")
    assert wrong.code == 2 and 'did you mean "nmes1988"' in wrong.err


def test_help_has_an_example_for_every_command(run) -> None:
    commands = ("demo", "study", "fit", "predict", "advise", "systems", "reproduce", "ledger")
    for command in commands:
        result = run(command, "--help")
        assert result.code == 0 and f"sharewise {command}" in " ".join(result.out.split())
    assert run("--version").out.startswith("sharewise 0.")


def frame(**columns: object) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    base = {"a": rng.normal(size=100), "b": rng.normal(size=100), "t": rng.normal(size=100), "u": rng.normal(size=100)}
    return pl.DataFrame(base | columns)


WRONG = {
    "no such file": (None, [], 'no such file: "x.csv"'),
    "no target": (frame(), ["--targets", ""], "target"),
    "unknown target": (frame(), ["--targets", "t,uu"], 'did you mean "u"'),
    "constant target": (frame(u=[1.0] * 100), [], '"u"'),
    "few labels": (frame(u=[*map(float, range(20)), *[None] * 80]), [], "30"),
    "one class": (frame(u=["yes"] * 60 + [None] * 40), [], '"u"'),
    "infinite": (frame(a=[float("inf"), *map(float, range(99))]), [], '"a"'),
    "target as feature": (frame(), ["--drop", "t"], '"t"'),
    "target twice": (frame(), ["--targets", "t,t"], '"t"'),
    "constant features": (frame(a=[1.0] * 100, b=[2.0] * 100), [], "constant"),
    "one group": (frame(g=["x"] * 100), ["--group", "g"], '"g"'),
    "kind without column": (frame(), ["--kind", "category"], "COLUMN=KIND"),
    "unknown kind": (frame(), ["--kind", "a=categry"], 'did you mean "category"'),
    "unknown option": (frame(), ["--tagrets", "t"], "--targets"),
    "bad number": (frame(), ["--trials", "many"], "--trials"),
    "bad seeds": (frame(), ["--seeds", "a-b"], "0-4"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_one_line_and_leaves_nothing(case: str, run, tmp_path: Path) -> None:
    table, words, expected = WRONG[case]
    if table is not None:
        table.write_csv("x.csv")
    before = sorted(tmp_path.rglob("*"))
    words = words if "--targets" in words else ["--targets", "t,u", *words]
    result = run("study", "x.csv", *words)
    assert result.code == 2 and result.out == ""
    assert len(result.err.strip().splitlines()) == 1 and result.err.startswith("error: ")
    assert expected in result.err, result.err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "x.csv"),
        (b"a,b,t\n", "no rows"),
        (b"a,a,t\n1,2,3\n", '"a"'),
        ("a,t\nö,1\n".encode("utf-16"), "x.csv"),
        (b"a,t\n\xff\xfe\xfa,1\n", "UTF-8"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00", "x.csv"),
    ],
)
def test_files_that_are_no_tables(content: bytes, expected: str, run, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    result = run("study", "x.csv", "--targets", "t,a")
    assert result.code == 2 and len(result.err.strip().splitlines()) == 1 and expected in result.err, result.err
    assert [p.name for p in tmp_path.iterdir()] == ["x.csv"]


def test_a_leak_is_reported_and_not_used(run, table: Path, tmp_path: Path) -> None:
    pl.read_csv(table).with_columns(copy=pl.col("y1") * 2 + 1).write_csv("leaky.csv")
    result = run("fit", "leaky.csv", "--targets", "y1,y2", "--out", "m", "--epochs", "1")
    assert result.code == 0 and "copy" in result.err and "leak" in result.err
    assert '"copy"' not in json.dumps(json.loads(Path("m/fitted.json").read_text())["preprocessor"])
    kept = run("fit", "leaky.csv", "--targets", "y1,y2", "--out", "k", "--epochs", "1", "--keep-leaks")
    assert kept.code == 0 and '"copy"' in json.dumps(json.loads(Path("k/fitted.json").read_text())["preprocessor"])


@pytest.fixture
def places(tmp_path: Path, table: Path) -> None:
    """A file and a folder to be taken for the other."""
    Path("afile").write_text("x")
    Path("afolder").mkdir()


FIT = ["fit", "people.csv", "--targets", "y1,y2", "--epochs", "1"]
MISUSED = {
    "a file for the model's folder": ([*FIT, "--out", "afile"], '"afile" is a file: give a folder'),
    "a folder inside a file": ([*FIT, "--out", "afile/model"], '"afile" is a file: give a folder'),
    "a folder for the table": (["fit", "afolder", "--targets", "y1", "--out", "m"], '"afolder" is a folder'),
    "no patience": ([*FIT, "--out", "m", "--patience", "0"], "patience must be a whole number of at least 1, got 0"),
    "a rate below 0": (
        [*FIT, "--out", "m", "--learning-rate", "-1"],
        "learning_rate must be a finite number, not below",
    ),
    "a rate that is none": ([*FIT, "--out", "m", "--learning-rate", "nan"], "learning_rate must be a finite number"),
    "a seed below 0": ([*FIT, "--out", "m", "--seed", "-1"], "the seed must be a whole number from 0 on, got -1"),
    "an export not known": ([*FIT, "--out", "m", "--export", "pdf"], 'cannot export to "pdf": known are onnx, torch'),
    "two ways to split": ([*FIT, "--out", "m", "--group", "x1", "--time", "x2"], "by group or by time, not both"),
    "a folder to study": (["study", "afolder", "--targets", "y1,y2"], '"afolder" is a folder'),
    "seeds that run down": (
        ["study", "people.csv", "--targets", "y1,y2", "--seeds", "0,3-1"],
        'such as "0-4", got "3-1"',
    ),
    "a file for a model": (["predict", "afile", "people.csv"], '"afile" is a file: give the folder'),
    "predictions inside a file": (
        ["predict", "m", "people.csv", "--out", "afile/p.csv"],
        '"afile" is a file: give another',
    ),
    "a page that is a folder": (["ledger", "--page", "afolder"], '"afolder" is a folder: name the file'),
    "a page inside a file": (["ledger", "--page", "afile/page.md"], '"afile" is a file: give another path'),
    "two forms of a ledger": (["ledger", "--json", "--markdown"], "--json and --markdown"),
    "an empty ledger": (["ledger", "ras", "--folder", "afolder"], "it is empty; `sharewise reproduce ras --ledger`"),
    "a result that is a folder": (
        ["reproduce", "ras", "--seeds", "0", "--out", "afolder"],
        '"afolder" is a folder: name',
    ),
    "a readme that is a folder": (["ledger", "--update-readme", "afolder"], '"afolder"'),
}


@pytest.mark.parametrize("case", MISUSED)
def test_misuse_is_one_line_and_leaves_nothing(case: str, run, places: None, tmp_path: Path) -> None:
    words, expected = MISUSED[case]
    before = sorted(tmp_path.rglob("*"))
    result = run(*words)
    assert result.code == 2 and result.out == "", result.out
    assert len(result.err.strip().splitlines()) == 1 and result.err.startswith("error: ")
    assert expected in result.err, result.err
    assert sorted(tmp_path.rglob("*")) == before


def test_what_the_system_refuses_is_named(run, table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*words: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied", "models/people")

    monkeypatch.setattr("sharewise.train.fit_table", refuse)
    result = run(*FIT, "--out", "models/people")
    assert result.code == 2
    assert result.err.startswith('error: "models/people" cannot be used: Permission denied')
    monkeypatch.setattr("sharewise.train.fit_table", lambda *words, **options: (_ for _ in ()).throw(OSError("a bug")))
    with pytest.raises(OSError, match="a bug"):
        main([str(word) for word in FIT] + ["--out", "m"])
