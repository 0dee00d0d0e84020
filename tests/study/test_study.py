"""The study end to end on a small made-up table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sharewise.errors import DataError, OptionError, RunError, TaskError
from sharewise.study import StudyResult, advise, parse_seeds, study
from sharewise.study._store import Store, chosen

QUICK = {"seeds": "0-1", "trials": 2, "epochs": 2, "jobs": 1}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    n = 240
    x = rng.normal(size=(n, 3))
    hidden = x[:, 0] + x[:, 1] ** 2
    late = [None if i % 5 == 0 else v for i, v in enumerate((hidden - x[:, 2]).tolist())]
    frame = pl.DataFrame(
        {
            "a": x[:, 0],
            "b": x[:, 1],
            "c <&>": x[:, 2],
            "colour": rng.choice(["red", "blue"], n),
            "height": hidden + 0.3 * rng.normal(size=n),
            "late": late,
            "kind": np.where(hidden > 1, "x", np.where(hidden > 0, "y", "z")),
            "ok": hidden > 0.7,
        }
    )
    path = tmp_path_factory.mktemp("data") / "table.csv"
    frame.write_csv(path)
    return path


@pytest.fixture(scope="module")
def finished(table: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StudyResult]:
    out = tmp_path_factory.mktemp("study") / "run"
    return out, study(table, ["height", "late", "kind", "ok"], out=out, **QUICK)


def without_times(path: Path) -> dict:
    """A result without what a clock or the memory decides."""
    found = json.loads(path.read_text())
    found["recipe"]["seconds"] = 0
    for run in found["runs"]:
        run["cost"] = {k: run["cost"][k] for k in ("parameters", "models")}
    found["verdict"]["cheaper"] = {"store": found["verdict"]["cheaper"].get("store")}
    found["verdict"]["sentence"] = ""
    found["verdict"]["evidence"] = [e for e in found["verdict"]["evidence"] if not e.startswith("Cost")]
    return found


def test_what_a_study_finds(finished: tuple[Path, StudyResult]) -> None:
    out, result = finished
    assert [a.name for a in result.arms] == [
        "separate", "equal", "uncertainty", "pcgrad", "constant", "groups", "trees"
    ]  # fmt: skip
    assert {r.seed for r in result.runs} == {0, 1} and len(result.runs) == 14
    for run in result.runs:
        assert set(run.metrics) == {"height", "late", "kind", "ok"}
        assert run.cost.models == {"separate": 4, "trees": 4}.get(run.arm, run.cost.models)
    assert {c.arm for c in result.comparisons if c.versus == "separate"} == {a.name for a in result.arms[1:]}
    assert all(c.low <= c.effect <= c.high and c.p <= c.p_holm for c in result.comparisons)
    assert all(d.higher_is_better == -d.lower_is_better for d in result.delta_m)
    assert [t.metric for t in result.tasks] == ["rmse", "rmse", "log_loss", "log_loss"]
    assert result.tasks[1].missing == pytest.approx(0.2)
    assert len(result.affinity.mean) == 4 and len(result.conflict.pairs) == 6
    assert StudyResult.load(out / "results.json") == result
    assert (out / "report.html").stat().st_size > 1e5


def test_what_the_balancers_decided(finished: tuple[Path, StudyResult]) -> None:
    """An epoch here is one step, and each has its weights; who was projected is known of PCGrad alone."""
    _, result = finished
    names = {"height", "late", "kind", "ok"}
    for run in result.runs:
        if run.arm in ("uncertainty", "pcgrad", "constant"):
            assert run.weights.keys() == names
            assert {len(line) for line in run.weights.values()} == {2}
        if run.arm == "pcgrad":
            assert run.projected.keys() == names
            assert all(run.projected[task].keys() == names - {task} for task in names)
            assert {share for row in run.projected.values() for share in row.values()} <= {0.0, 0.5, 1.0}
        else:
            assert run.projected == {}
        if run.arm == "constant":
            chosen_weights = {k: v for k, v in run.settings["all"].items() if k.startswith("weight/")}
            assert {f"weight/{t}": line[1] for t, line in run.weights.items()} == pytest.approx(chosen_weights)


def test_an_arm_with_a_schedule(table: Path, tmp_path: Path) -> None:
    """All steps are counted: a sample of every so manyth would see the same tasks of a cycle again and again."""
    arms = ["separate", "equal", "equal@round_robin", "pcgrad@proportional"]
    options = {"seeds": [0], "trials": 1, "epochs": 2, "jobs": 1, "batch_size": 16, "arms": arms}
    result = study(table, ["height", "late", "ok"], out=tmp_path, **options)
    assert [a.name for a in result.arms] == arms
    assert result.arms[2].title == "Shared, equal weights, round_robin"
    trained = {run.arm: run.trained for run in result.runs}
    assert trained["separate"] == trained["equal"] == {}
    for shares in (trained["equal@round_robin"], trained["pcgrad@proportional"]):
        assert shares.keys() == {"height", "late", "ok"}
        assert [sum(line[e] for line in shares.values()) for e in (0, 1)] == pytest.approx([1.0, 1.0])
    assert all(s == pytest.approx(1 / 3) for line in trained["equal@round_robin"].values() for s in line)
    assert "Who trained when" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_an_arm_that_decides_layer_by_layer(table: Path, tmp_path: Path) -> None:
    arms = ["separate", "equal", "pcgrad", "pcgrad+layers", "pcgrad+layers@round_robin"]
    options = {"seeds": [0], "trials": 1, "epochs": 2, "jobs": 1, "batch_size": 16, "arms": arms}
    result = study(table, ["height", "late", "ok"], out=tmp_path, **options)
    assert [a.name for a in result.arms] == arms
    assert [a.title for a in result.arms[3:]] == [
        "Shared, PCGrad, layer by layer",
        "Shared, PCGrad, layer by layer, round_robin",
    ]
    runs = {run.arm: run for run in result.runs}
    assert runs["pcgrad"].curves != runs["pcgrad+layers"].curves
    assert runs["pcgrad+layers"].projected.keys() == {"height", "late", "ok"}
    assert "layer by layer" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ("equal@robin", 'schedule "robin" is not known; did you mean "round_robin"'),
        ("equal@curriculum", 'arm "equal@curriculum": the schedule needs stages='),
        ("trees@round_robin", 'arm "trees@round_robin": a schedule goes with one of equal, '),
        ("equal+layers", r'arm "equal\+layers": only methods on gradients .* here pcgrad, not "equal"'),
        ("pcgrad+layer@random", r'arm "pcgrad\+layer@random": what can follow a plus is "layers", got "layer"'),
    ],
)
def test_variants_of_arms_are_checked(table: Path, tmp_path: Path, arm: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        study(table, ["height", "ok"], out=tmp_path / "run", arms=[arm], **QUICK)
    assert not (tmp_path / "run").exists()


def test_every_arm_gets_the_same_trials(finished: tuple[Path, StudyResult]) -> None:
    out, _ = finished
    for folder in (out / "models").glob("seed-*/*"):
        assert len(list(folder.glob("trial-*.json"))) == 2, folder


def test_the_choice_is_made_on_validation_alone(finished: tuple[Path, StudyResult]) -> None:
    """Worse test values, same validation values: the same trial is reported."""
    out, result = finished
    trials = Store(out).trials(0, "pcgrad-all")
    best = chosen(trials)
    run = next(r for r in result.runs if r.arm == "pcgrad" and r.seed == 0)
    assert trials[best].objective == max(t.objective for t in trials)
    assert run.metrics == trials[best].test
    spoilt = [t.model_copy(update={"test": {}, "baseline": {}}) for t in trials]
    assert chosen(spoilt) == best


def test_effects_are_what_the_metrics_say(finished: tuple[Path, StudyResult]) -> None:
    """The comparison's effect is the mean over seeds of the relative change of the main metric."""
    _, result = finished
    for task in result.tasks:
        by = {(r.arm, r.seed): r.metrics[task.name][task.metric] for r in result.runs}
        mean = np.mean([100 * (by["separate", s] - by["equal", s]) / by["separate", s] for s in (0, 1)])
        found = next(c for c in result.comparisons if (c.arm, c.versus, c.task) == ("equal", "separate", task.name))
        assert found.effect == pytest.approx(mean, rel=1e-6)


def test_a_killed_study_continues_to_the_same_result(
    table: Path, finished: tuple[Path, StudyResult], tmp_path: Path
) -> None:
    """Every kind of leftover: a study cut after some models, a model cut after one trial, a stray temporary file."""
    done, _ = finished
    out = tmp_path / "run"
    for path in done.rglob("*"):
        keep = "seed-0" in str(path) and ("equal" in str(path) or "separate-1/trial-0" in str(path))
        if path.is_file() and (keep or path.name == "study.json"):
            target = out / path.relative_to(done)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    (out / "models" / "seed-0" / ".trial-0.json.x.tmp").write_text("{")
    study(table, ["height", "late", "kind", "ok"], out=out, **QUICK)
    assert without_times(out / "results.json") == without_times(done / "results.json")


def test_processes_find_the_same(table: Path, tmp_path: Path) -> None:
    options = QUICK | {"arms": ["pcgrad"], "trials": 1}
    seen: list[tuple[int, int]] = []
    study(table, ["height", "ok"], out=tmp_path / "one", **options)
    options |= {"jobs": 2, "progress": lambda done, total, _: seen.append((done, total))}
    study(table, ["height", "ok"], out=tmp_path / "two", **options)
    assert without_times(tmp_path / "one" / "results.json") == without_times(tmp_path / "two" / "results.json")
    assert seen[-1] == (8, 8)


def test_one_target_has_nothing_to_share(table: Path, tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="at least two targets"):
        study(table, ["height"], out=tmp_path / "run", **QUICK)


def test_another_study_is_refused(table: Path, finished: tuple[Path, StudyResult], tmp_path: Path) -> None:
    out, _ = finished
    before = sorted(p for p in out.rglob("*"))
    with pytest.raises(RunError, match=r"another study \(spec differ\)"):
        study(table, ["height", "ok"], out=out, **QUICK)
    changed = tmp_path / "table.csv"
    changed.write_text(table.read_text().replace("red", "green"))
    with pytest.raises(RunError, match="content"):
        study(changed, ["height", "late", "kind", "ok"], out=out, **QUICK)
    assert sorted(p for p in out.rglob("*")) == before
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "diary.txt").write_text("mine")
    with pytest.raises(RunError, match="holds no study"):
        study(table, ["height", "ok"], out=tmp_path / "notes", **QUICK)


def test_wrong_input_writes_nothing(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(TaskError, match='did you mean "height"'):
        study(table, ["heigth", "ok"], out=out, **QUICK)
    with pytest.raises(DataError, match="no such file"):
        study(tmp_path / "none.csv", ["a"], out=out, **QUICK)
    with pytest.raises(OptionError, match="pcgrad"):
        study(table, ["height", "ok"], out=out, arms=["pcgard"], seeds="0", jobs=1)
    with pytest.raises(OptionError, match="margin"):
        study(table, ["height", "ok"], out=out, margin=1.5, **QUICK)
    with pytest.raises(OptionError, match="0-4"):
        parse_seeds("0..4")
    assert not out.exists()
    assert parse_seeds("0,3, 5-7") == [0, 3, 5, 6, 7]


def test_advice(table: Path) -> None:
    advice = advise(table, ["height", "late", "ok"], epochs=2)
    assert sorted(name for group in advice.groups for name in group) == ["height", "late", "ok"]
    assert np.shape(advice.affinity) == (3, 3) and advice.study_seconds > 0
    assert json.dumps(advice.model_dump(), allow_nan=False)


def test_all_networks_of_a_seed_try_the_same_candidates(finished: tuple[Path, StudyResult]) -> None:
    store = Store(finished[0])
    second = {m: store.trials(0, m)[1].settings for m in ("separate-0", "separate-3", "equal-all", "pcgrad-all")}
    assert len({json.dumps(s, sort_keys=True) for s in second.values()}) == 1
    weighted = store.trials(0, "constant-all")[1].settings
    assert {k: v for k, v in weighted.items() if not k.startswith("weight/")} == second["equal-all"]
    assert store.trials(1, "equal-all")[1].settings != second["equal-all"]
