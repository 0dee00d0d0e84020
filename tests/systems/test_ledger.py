"""The ledger keeps what was found, and says no in public."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sharewise import systems
from sharewise.errors import RunError
from sharewise.systems import FEWEST_SEEDS, Result, judge, ledger, reproduce

ROOT = Path(__file__).parents[2]
KEPT = ledger.read_all(ROOT / "ledger")


@pytest.fixture
def result(toy) -> Result:
    return reproduce(toy, range(5), "smoke")


def test_what_is_written_is_read(result, tmp_path):
    path = ledger.write(result, tmp_path)
    assert path == tmp_path / "toy.json"
    assert ledger.read_all(tmp_path) == [result]
    assert [p.name for p in tmp_path.iterdir()] == ["toy.json"]
    assert ledger.read_all(tmp_path / "none") == []


def test_the_values_of_a_metric_stand_on_one_line(result):
    lines = result.to_json().splitlines()
    assert '   "error": [1.0, 1.01, 1.02, 1.03, 1.04],' in lines
    assert ' "seeds": [0, 1, 2, 3, 4],' in lines
    assert Result.model_validate_json(result.to_json()) == result


def test_a_file_that_is_no_result_is_named(result, tmp_path):
    (tmp_path / "ras.json").write_text("{}")
    with pytest.raises(RunError, match=r'ras.json" is not the result of a reproduction'):
        ledger.read_all(tmp_path)
    result.save(tmp_path / "ras.json")
    with pytest.raises(RunError, match=r'holds the result of "toy": rename it to toy.json'):
        ledger.read_all(tmp_path)
    with pytest.raises(RunError, match="sharewise reproduce"):
        Result.load(tmp_path / "none.json")


def test_the_table_counts_verdicts_and_leads_to_the_claims(result):
    table = ledger.render_table([result])
    assert table.splitlines()[0].endswith("| reproduced | direction only | inconclusive | refuted |")
    row = table.splitlines()[2]
    assert row.startswith("| [`toy`](docs/ledger.md#toy) [A toy](https://example.org/toy) | simulated | smoke, 5 |")
    assert row.endswith("| 2 |  |  | 1 |")
    odd = result.model_copy(update={"title": "a | b\nc"})
    assert ledger.render_table([odd]).count("\n") == 3 and "a \\| b c" in ledger.render_table([odd])


def test_the_page_tells_every_claim(result):
    page = ledger.render_page([result.model_copy(update={"remarks": ["Why not."]})])
    assert "## toy\n" in page and "Scale smoke, 5 seeds" in page and "Remarks:\n\n- Why not.\n" in page
    assert "| C is better | >= +0.0 % | -19." in page and "| **refuted** |" in page
    assert page.count("**reproduced**") == 2 and "Assumptions" not in page


def test_numbers_as_text(result):
    gain, _, bound = result.claims
    assert ledger.expected(gain) == ">= +10.0 %" and ledger.expected(bound) == "<= 1"
    assert ledger.interval(bound).startswith("0.82 [0.8")
    same = gain.model_copy(update={"within": 0.02, "kind": "equivalence", "ci95": None, "relative": False})
    assert ledger.expected(same) == "within ±0.02" and ledger.interval(same).startswith("+0.19")
    level = same.model_copy(update={"effect": 1.4e-18, "ci95": (-1e-16, 0.5)})
    assert ledger.interval(level) == "+0 [+0, +0.5]"
    band = bound.model_copy(update={"at_least": 0.5})
    assert ledger.expected(band) == ">= 0.5 and <= 1"


def test_only_the_place_between_the_markers_changes(result, tmp_path):
    page = tmp_path / "README.md"
    page.write_text(f"before\n{ledger.BEGIN}\nold\n{ledger.END}\nafter\n")
    assert ledger.update_readme(page, [result])
    assert page.read_text() == f"before\n{ledger.BEGIN}\n\n{ledger.render_table([result])}\n{ledger.END}\nafter\n"
    assert not ledger.update_readme(page, [result])
    for text in ("no markers", f"only {ledger.BEGIN}"):
        page.write_text(text)
        with pytest.raises(RunError, match="add the lines"):
            ledger.update_readme(page, [result])
        assert page.read_text() == text
    with pytest.raises(RunError, match="no file"):
        ledger.update_readme(tmp_path / "none.md", [result])


@pytest.mark.parametrize("kept", KEPT, ids=lambda r: r.id)
def test_the_ledger_follows_from_its_own_numbers_and_todays_claims(kept):
    """Nobody can soften a claim, or edit a verdict, without running again."""
    found = systems.get(kept.id)
    assert [c.claim for c in kept.claims] == list(found.claims)
    assert set(kept.arms) == set(found.arms(kept.scale))
    assert kept.scale != "smoke" and len(kept.seeds) >= FEWEST_SEEDS
    for claim in kept.claims:
        versus = None if claim.versus is None else kept.arms[claim.versus][claim.metric]
        effect, ci95, verdict = judge(claim.claim, kept.arms[claim.arm][claim.metric], versus)
        assert (claim.effect, claim.verdict) == (pytest.approx(effect), verdict)
        assert claim.ci95 == pytest.approx(ci95)


def test_the_readme_shows_the_ledger():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert ledger.BEGIN in text and ledger.END in text, "README.md has no place for the ledger's table"
    shown = text.partition(ledger.BEGIN)[2].partition(ledger.END)[0]
    assert shown == f"\n\n{ledger.render_table(KEPT)}\n", "run `sharewise ledger --update-readme README.md`"


def test_the_page_shows_the_ledger():
    page = (ROOT / ledger.PAGE).read_text(encoding="utf-8")
    assert page == ledger.render_page(KEPT), "run `sharewise ledger --page docs/ledger.md`"


def test_the_ledger_names_no_machine():
    for path in (ROOT / "ledger").glob("*.json"):
        text = path.read_text(encoding="utf-8")
        assert str(Path.home()) not in text and str(ROOT) not in text
        json.loads(text, parse_constant=pytest.fail)  # NaN and infinity are not JSON


@pytest.mark.parametrize("kept", KEPT, ids=lambda kept: kept.id)
def test_entries_are_of_the_systems_as_they_are(kept: Result) -> None:
    system = systems.get(kept.id)
    assert [judged.text for judged in kept.claims] == [claim.text for claim in system.claims]
    assert kept.remarks == list(system.remarks) and kept.assumptions == list(system.assumptions)
