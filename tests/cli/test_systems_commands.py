"""systems, reproduce and ledger as typed at a prompt."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

from sharewise.cli import main
from sharewise.systems import _registry


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_registry, "_FOUND", {})
    monkeypatch.setattr(_registry, "WHERE", {})
    sys.modules.pop("helpers.toy_system", None)
    importlib.import_module("helpers.toy_system")
    monkeypatch.chdir(tmp_path)


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(list(words))
    return int(end.value.code or 0)


def test_reproduce_prints_json_alone_and_says_no(capsys):
    assert run("reproduce", "toy", "--seeds", "0-4", "--scale", "smoke", "--json") == 1  # a claim is refuted
    out, err = capsys.readouterr()
    assert json.loads(out)["claims"][1]["verdict"] == "refuted"
    assert err == ""  # no bar where nobody watches
    assert not list(Path().iterdir())


def test_reproduce_for_a_reader(capsys):
    assert run("reproduce", "toy", "--seeds", "0,1", "--scale", "smoke") == 0
    out = capsys.readouterr().out
    assert "TOO FEW SEEDS  C is better" in out and "claimed >= +10.0 %, found +19." in out


def test_ledger_is_written_and_read_back(capsys):
    assert run("reproduce", "toy", "--seeds", "0-4", "--ledger", "--out", "deep/toy.json") == 1
    assert Path("ledger/toy.json").read_text() == Path("deep/toy.json").read_text()
    capsys.readouterr()
    assert run("systems", "--json") == 0
    row = json.loads(capsys.readouterr().out)[0]
    assert row["id"] == "toy" and row["summary"] == "2 reproduced, 1 refuted"
    assert [v["verdict"] for v in row["verdicts"]] == ["reproduced", "refuted", "reproduced"]
    assert run("ledger", "toy") == 0
    assert "REFUTED  C is better" in capsys.readouterr().out
    assert run("ledger", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["id"] == "toy"
    assert run("ledger", "--markdown") == 0
    table = capsys.readouterr().out
    Path("README.md").write_text("<!-- ledger:begin -->\n<!-- ledger:end -->\n")
    assert run("ledger", "--update-readme", "README.md", "--page", "page.md") == 0
    assert "## toy" in Path("page.md").read_text()
    assert table in Path("README.md").read_text()


def test_systems_for_a_reader(capsys):
    assert run("systems") == 0
    assert capsys.readouterr().out == "toy  A toy (tests; simulated data)\n     not in the ledger\n"
    assert run("ledger") == 0
    assert "run `sharewise reproduce ID --ledger` first" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("reproduce", "tpy"), 'no system "tpy": did you mean "toy"'),
        (("reproduce", "toy", "--seeds", "a"), "seeds are whole numbers"),
        (("reproduce", "toy", "--seeds", "3-1"), "seeds run upwards"),
        (("reproduce", "toy", "--scale", "big"), 'no scale "big"'),
        (("reproduce", "toy", "--jobs", "0"), "jobs"),
        (("reproduce", "toy", "--seeds", "0-3", "--ledger"), "5 or more seeds, found scale default with 4"),
        (("reproduce", "toy", "--scale", "smoke", "--ledger"), "scale default or paper"),
        (("ledger", "tpy"), 'no "tpy" in the ledger'),
        (("ledger", "--update-readme", "none.md"), 'no file "none.md"'),
    ],
)
def test_misuse_is_one_line_and_writes_nothing(capsys, words, message):
    assert run(*words) == 2
    out, err = capsys.readouterr()
    assert message in err and err.count("\n") == 1 and out == ""
    assert not list(Path().iterdir())


@pytest.mark.parametrize("command", ["systems", "reproduce", "ledger"])
def test_help_shows_an_example(capsys, command):
    assert run(command, "--help") == 0
    assert f"Example: sharewise {command}" in " ".join(capsys.readouterr().out.replace("`", "").split())
