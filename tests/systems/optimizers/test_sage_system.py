"""The systems sage and sage-speakers: their domains, their choice of checkpoints, their arms at smoke scale."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from sharewise.errors import DataError
from sharewise.systems import Result, get, reproduce
from sharewise.systems.optimizers import _domains, _sage_arms
from sharewise.systems.optimizers._domains import Split, digit_domains, speaker_domains
from sharewise.systems.optimizers._sage_arms import SCORES, Quadratics, rank_pairs
from sharewise.systems.optimizers._sage_tuning import settings

LEDGER = Path(__file__).parents[3] / "ledger"


def test_smoke_scale_runs_and_repeats() -> None:
    one = reproduce("sage", [0], scale="smoke")
    assert set(one.arms) == {*_sage_arms.RECIPES, *SCORES}
    again = get("sage").arms("smoke")["sage"](0)
    assert {metric: [value] for metric, value in again.items()} == one.arms["sage"]


def test_domains_are_as_described() -> None:
    domains = digit_domains(0)
    assert sum(len(d) for d in domains) == 1797 and domains[0].name == "0 degrees"
    assert all(d.inputs.shape[1] == 64 for d in domains)
    patterns = torch.tensor(np.random.default_rng(0).random((10, 64)) < 0.5).float() - 0.5
    for domain, agreement in zip(domains, _domains.AGREEMENTS, strict=True):
        shown = (domain.inputs @ patterns.T / patterns.square().sum(1)).argmax(1)  # which background fits best
        assert float((shown == domain.labels).float().mean()) == pytest.approx(agreement, abs=0.17)
    split = Split.of(list(domains), 3, 0)
    assert len(split.train) == len(split.valid) == 3 and split.held_out is domains[3]
    for part, rest, whole in zip(split.valid, split.train, domains, strict=False):
        assert len(part) == len(whole) // 5 and len(part) + len(rest) == len(whole)


def test_scores_of_a_quadratic_by_hand() -> None:
    # H = diag(1, 4), mu = (+-1, 0): x = 0, gradients -+(1, 0), tr(H^-1 Sigma) = 1; curvature 4 times 0.1^2
    problem = Quadratics(torch.tensor([1.0, 4.0]).double(), torch.tensor([[1.0, 0.0], [-1.0, 0.0]]).double())
    found = problem.scores()
    assert found["alignment_score"] == pytest.approx(1.0) and found["curvature_score"] == pytest.approx(0.04)
    # spread 1 in the first entry: (1 * (1 + 1/2) + 0.01 * 5) / 2
    assert problem.risk(torch.tensor([1.0, 0.0]).double()) == pytest.approx(0.775)
    assert [rank_pairs(score, 5)["right"] for score in SCORES] == [0.5, 0.5, 1.0]


def test_the_checkpoint_is_chosen_without_the_held_out_domain(monkeypatch: pytest.MonkeyPatch) -> None:
    split = Split.of(list(digit_domains(1)), 3, 1)
    values = {"valid": [0.5, 0.9, 0.7], "held": [0.8, 0.3, 0.9]}
    asked = {"valid": 0, "held": 0}

    def fake(model: object, domain: object) -> float:
        kind = "held" if domain is split.held_out else "valid"
        asked[kind] += 1
        place = (asked[kind] - 1) // (1 if kind == "held" else 3)
        return values[kind][place]

    monkeypatch.setattr(_sage_arms, "accuracy", fake)
    found = _sage_arms.train("erm", split, _sage_arms.Sizes(steps=3, every=1), 0)
    assert found == {"accuracy": 0.3, "oracle": 0.9, "valid": pytest.approx(0.9)}


def test_every_arm_tried_as_many_settings() -> None:
    for name in _sage_arms.RECIPES:
        assert len(settings(name)) == len(set(settings(name))) == 4
    assert set(_sage_arms.TUNED) == set(_sage_arms.RECIPES)
    assert all(_sage_arms.TUNED[name] in settings(name) for name in _sage_arms.TUNED)
    assert all(_sage_arms.TUNED_SPEAKERS[name] in settings(name) for name in _sage_arms.ONE_MEAN)


def test_speakers_are_read_from_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speaker_domains.cache_clear()
    (tmp_path / "fsdd").mkdir()
    rng = np.random.default_rng(0)
    rows = [(1200 * i, 1200, i % 10, i // 40) for i in range(240)]
    with gzip.open(tmp_path / "fsdd" / "index.csv.gz", "wt") as file:
        file.write("start,length,digit,speaker\n" + "".join(f"{a},{b},{c},{d}\n" for a, b, c, d in rows))
    monkeypatch.setenv("SHAREWISE_DATA", str(tmp_path))
    with pytest.raises(DataError, match="are missing"):
        speaker_domains()
    np.savez(tmp_path / "fsdd" / "audio.npz", audio=rng.integers(-3000, 3000, 240 * 1200).astype(np.int16))
    domains = speaker_domains()
    assert [d.name for d in domains] == [f"speaker {i}" for i in range(6)]
    assert domains[2].inputs.shape == (40, 320) and torch.isfinite(domains[2].inputs).all()
    assert domains[0].inputs.mean(1).abs().max() < 1e-4
    one = reproduce("sage-speakers", [7], scale="smoke")
    assert set(one.arms) == set(_sage_arms.ONE_MEAN)
    speaker_domains.cache_clear()


@pytest.mark.parametrize("id", ["sage", "sage-speakers"])
def test_ledger_and_remarks_agree(id: str) -> None:
    kept = Result.load(LEDGER / f"{id}.json")
    assert kept.remarks == list(get(id).remarks) and kept.reading == "ours"
    if id == "sage":
        found = get("sage").arms("default")["sum_score"](kept.seeds[0])
        assert kept.arms["sum_score"]["right"][0] == found["right"]
