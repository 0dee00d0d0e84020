"""The registered systems: contracts, claims, equal budgets, and every arm at smoke scale."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from helpers.optional import needs_rdkit
from sharewise.errors import DataError, OptionError
from sharewise.systems import Result, get, reproduce
from sharewise.systems.molecules import _aim_arms as simulated
from sharewise.systems.molecules import _moleculenet_arms as real
from sharewise.systems.molecules._compare import BEYOND, METHODS, TUNED, VARIANTS, delta_m, parts_for
from sharewise.systems.molecules._moleculenet import SETS, joined, read_molecules
from sharewise.systems.molecules._simulator import simulate
from sharewise.systems.molecules._tuning import LARGER, RATES, trials


def test_smoke_scale_runs_and_repeats() -> None:
    one = reproduce("aim", [0], scale="smoke")
    assert set(one.arms) == {*METHODS, *VARIANTS}
    assert one.arms["stl"]["delta_m"] == one.arms["stl"]["delta_m_many"] == [0.0]
    for arm in ("aim-matrix", "stl"):
        again = get("aim").arms("smoke")[arm](0)
        assert {metric: [value] for metric, value in again.items()} == one.arms[arm]
    assert 0 <= one.arms["aim-matrix"]["conflict_auc"][0] <= 1
    assert one.arms["aim-frozen"]["tau_size"] == [0.0] != one.arms["aim-matrix"]["tau_size"]
    assert "conflict_auc" not in one.arms["pcgrad"]


@pytest.mark.parametrize("id", ["aim", "aim-moleculenet"])
def test_registration_imports_nothing_heavy(id: str) -> None:
    code = (
        f"import sys, sharewise.systems as s; s.get({id!r}); print([m for m in ('torch', 'rdkit') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_claims_are_those_of_the_sheet() -> None:
    claims = {(c.metric, c.arm, c.versus): c for c in get("aim").claims}
    assert all(not c.relative for c in claims.values() if c.versus)
    for baseline in ("linear", "pcgrad"):
        assert claims["delta_m", "aim-matrix", baseline].margin == 2.0
        assert claims["delta_m_many", "aim-matrix", baseline].within == 1.0
    assert claims["conflict_auc", "aim-matrix", None].at_least == 0.9
    assert (simulated.DEFAULT.few, simulated.DEFAULT.many) == (300, 10_000)


def test_all_methods_have_one_budget_and_as_many_trials() -> None:
    assert len({len(list(trials(method))) for method in METHODS}) == 1
    assert set(TUNED) == set(METHODS)
    assert len({tuple(s["lr"] for s in trials(method)) for method in METHODS}) == 1
    for sizes in (simulated.DEFAULT.scarce, simulated.DEFAULT.ample, real.DEFAULT.budget):
        made = [sizes.model(arm, 0).settings for arm in (*METHODS, *VARIANTS)]
        assert len({(s.epochs, s.batch, s.encoder, s.head, s.plateau, s.patience, s.weight_decay) for s in made}) == 1


def test_larger_rates_serve_methods_whose_largest_was_best_on_simulated_molecules() -> None:
    for method, rate in BEYOND.items():
        assert TUNED[method]["lr"] == max(RATES) < rate and rate in LARGER
        assert simulated.DEFAULT.scarce.model(method, 0).settings.lr == rate
        assert real.DEFAULT.budget.model(method, 0).settings.lr == TUNED[method]["lr"]
    assert simulated.DEFAULT.scarce.model("linear-primary", 0).settings.lr == BEYOND["linear"]


def test_ablations_change_what_they_say_and_nothing_else() -> None:
    base = simulated.DEFAULT.scarce.model("aim-matrix", 0).settings
    for arm, option in (("aim-no-progress", "progress_weight"), ("aim-no-magnitude", "magnitude_weight")):
        changed = simulated.DEFAULT.scarce.model(arm, 0).settings
        assert changed.options == base.options | {option: 0.0} and changed.lr == base.lr
    assert simulated.DEFAULT.scarce.model("aim-frozen", 0).settings.options["lr"] == 0.0
    assert simulated.DEFAULT.scarce.model("aim-cross", 0).settings.cross and not base.cross
    assert base.options["look_ahead"] == base.lr


def test_baselines_train_on_the_guidance_molecules_unless_said_otherwise() -> None:
    table = simulate(0, 50, 10).train
    sizes = {arm: len(parts_for(arm, table).train) for arm in (*METHODS, *VARIANTS)}
    assert sizes["linear"] == sizes["pcgrad"] == sizes["stl"] == 45
    assert sizes["aim-matrix"] == sizes["aim-frozen"] == sizes["linear-primary"] == sizes["pcgrad-primary"] == 40


def test_delta_m_by_hand() -> None:
    # Errors 10 % higher and 30 % lower: the mean change is -10 %. A property that cannot be judged does not count.
    assert delta_m(np.array([1.1, 0.7, 3.0]), np.array([1.0, 1.0, np.nan])) == pytest.approx(-10)


def test_remarks_and_page_quote_the_ledger() -> None:
    root = Path(__file__).parents[3]
    kept, text = Result.load(root / "ledger" / "aim.json"), " ".join(get("aim").remarks)
    assert kept.remarks == list(get("aim").remarks)
    mean = {arm: {metric: float(np.mean(v)) for metric, v in metrics.items()} for arm, metrics in kept.arms.items()}
    points = {arm: metrics["delta_m"] for arm, metrics in mean.items()}
    behind = [points["aim-matrix"] - points[arm] for arm in ("linear", "pcgrad", "aim-frozen")]
    assert "scalarisation by {:.1f} points and behind PCGrad by {:.1f}".format(*behind[:2]) in text
    assert f"held at 0, delta_m is {behind[2]:.1f} lower" in text
    assert f"CAGrad ({points['cagrad']:+.1f}) and Nash-MTL ({points['nashmtl']:+.1f})" in text
    assert min(points[arm] for arm in points if arm != "stl") > 0
    assert f"worth {points['linear-primary'] - points['linear']:.1f} points to linear" in text
    assert f"ahead by {points['linear-primary'] - points['aim-matrix']:.1f}" in text
    policy = mean["aim-matrix"]
    assert f"by {policy['tau_size']:.2f} on average" in text
    assert f"(area {policy['conflict_auc']:.2f})" in text and f"rest on ({policy['cosine_auc']:.2f})" in text
    many = [mean[arm]["delta_m_many"] for arm in ("linear", "pcgrad", "aim-matrix")]
    assert f"are {min(many):.0f} to {max(many):.0f} points behind" in " ".join(text.split())
    assert f"behind the other two, by {many[2] - many[0]:.1f} and {many[2] - many[1]:.1f} points" in text
    page = (root / "docs" / "systems" / "aim.md").read_text(encoding="utf-8")
    for arm in mean.keys() - {"stl"}:
        row = next(line for line in page.splitlines() if line.strip("|* ").startswith(f"`{arm}`") and "|" in line[1:])
        assert f"| {points[arm]:+.1f} | {mean[arm]['mae']:.3f} |" in row


def write(folder: Path, name: str, text: str) -> None:
    (folder / "moleculenet").mkdir(exist_ok=True)
    with gzip.open(folder / "moleculenet" / f"{name}.csv.gz", "wt") as file:
        file.write(text)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Made-up tables in the form of MoleculeNet's; chains of carbon with an oxygen somewhere."""
    monkeypatch.setenv("SHAREWISE_DATA", str(tmp_path))
    read_molecules.cache_clear()
    chains = ["C" * i + tail for i in range(1, 30) for tail in ("O", "N", "OC", "NC", "Cl", "S")]
    rng = np.random.default_rng(0)
    esol = "ESOL predicted log solubility,measured log solubility in mols per litre,smiles\n"
    write(tmp_path, "esol", esol + "".join(f"9.0,{-0.1 * len(c) - 0.5},{c}\n" for c in chains[::2]))
    write(tmp_path, "freesolv", "smiles,freesolv\n" + "".join(f"{c},{len(c) + 0.5}\n" for c in chains[1::3]))
    write(tmp_path, "lipo", "smiles,lipo\n" + "".join(f"{c},{c.count('C') + 0.5}\n" for c in chains[2::3]))
    write(tmp_path, "qm8", "smiles,E1,E2\n" + "".join(f"{c},{len(c)}.5,{1 / len(c)}\n" for c in chains))
    labels = [f"{c},{int(c[-1] == 'O')},{rng.choice(['', '0', '1'])}\n" for c in chains]
    write(tmp_path, "tox21", "smiles,A,B\n" + "".join(labels))
    yield tmp_path
    read_molecules.cache_clear()


@needs_rdkit
def test_real_arms_run_at_smoke_scale(folder: Path) -> None:
    one = reproduce("aim-moleculenet", [0], scale="smoke")
    assert set(one.arms) == set(real.ARMS)
    assert one.arms["stl"]["delta_m"] == [0.0]
    assert {f"{name}_delta_m" for name in SETS} < set(one.arms["aim-matrix"])


@needs_rdkit
def test_files_are_joined_by_molecule(folder: Path) -> None:
    found = read_molecules("measured")
    assert list(found.targets) == ["esol", "freesolv", "lipo"]
    assert len(set(found.smiles)) == len(found) == 174 - 29
    labelled = {name: (~np.isnan(y)).sum() for name, y in found.targets.items()}
    assert labelled == {"esol": 87, "freesolv": 58, "lipo": 58}
    tox = read_molecules("tox21").table(np.arange(40), bits=16)
    assert tox.yes_no == {"A", "B"} and tox.features.shape == (40, 28)
    assert np.isnan(tox.targets["B"]).any() and not np.isnan(tox.targets["A"]).any()


@needs_rdkit
def test_one_molecule_spelt_twice_is_one_molecule() -> None:
    import polars as pl

    first = pl.DataFrame({"smiles": ["OCC", "c1ccccc1", "not one"], "a": [1.0, 2.0, 3.0]})
    second = pl.DataFrame({"smiles": ["CCO", "CCO"], "b": [5.0, 7.0]})
    found = joined([first, second])
    assert found.smiles == ("CCO", "c1ccccc1")
    assert found.targets["a"].tolist() == [1.0, 2.0]
    assert found.targets["b"][0] == 6.0 and np.isnan(found.targets["b"][1])
    with pytest.raises(DataError, match='needs a column "smiles"'):
        joined([first.rename({"smiles": "SMILES"})])


@needs_rdkit
def test_learning_and_judging_molecules_are_disjoint(folder: Path) -> None:
    sizes = real.Sizes(30, 20, 16, real.SMOKE.budget)
    learn, test = real.draw("qm8", sizes, 0)
    assert (len(learn), len(test)) == (30, 20)
    labels = [set(t.targets["E1"].tolist()) for t in (learn, test)]
    assert labels[0] != labels[1]
    assert not np.array_equal(learn.targets["E1"], real.draw("qm8", sizes, 1)[0].targets["E1"])


def test_without_folder_or_set(monkeypatch: pytest.MonkeyPatch) -> None:
    read_molecules.cache_clear()
    monkeypatch.delenv("SHAREWISE_DATA", raising=False)
    with pytest.raises(DataError, match="set SHAREWISE_DATA to that folder"):
        read_molecules("qm8")
    with pytest.raises(OptionError, match='no set of molecules is called "qm9"'):
        read_molecules("qm9")
