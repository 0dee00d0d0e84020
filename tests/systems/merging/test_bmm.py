"""The system bmm: its search, its limits, its arms at smoke scale, and its ledger."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sharewise.systems import Result, get, reproduce
from sharewise.systems.merging import _bmm_arms

KEPT = Path(__file__).parents[3] / "ledger" / "bmm.json"


@pytest.fixture(scope="module")
def run():
    return _bmm_arms.run_of(_bmm_arms.SMOKE, 0)


def test_the_search_is_no_worse_on_validation_data_than_anchor_and_regmean(run) -> None:
    anchor = run.anchors["tsv"]
    merge = run.measured(anchor)
    found = run.accuracy(run.search(merge), "validation")
    ends = [run.accuracy(merge.merged(10.0**end), "validation") for end in _bmm_arms.RANGE]
    assert found >= max(ends)


def test_limits_hold_and_guesses_are_like_the_inputs(run) -> None:
    found = _bmm_arms.ARMS["limits"](run)
    assert found["to_regmean"] < 1e-6 and found["to_anchor"] == 0 and found["alike"] > 0.05


def test_draws_scatter_around_the_mean(run) -> None:
    found = _bmm_arms.ARMS["draws"](run)
    assert found["tsv"] == pytest.approx(found["tsv_mean"], abs=0.1) and found["tsv_nll"] != found["tsv_mean_nll"]


def test_averaged_predictions_by_hand(run) -> None:
    accuracy, surprise = _bmm_arms._averaged(run.bed, [run.bed.base, run.bed.base])
    assert accuracy == pytest.approx(run.accuracy(run.bed.base))
    losses = []
    for task, one in run.bed.tasks.items():
        test = one.parts["test"]
        logits = run.bed.logits(task, run.bed.base, test.inputs)
        losses.append(float(torch.nn.functional.cross_entropy(logits, test.labels)))
    assert surprise == pytest.approx(sum(losses) / 8, rel=1e-5)


def test_smoke_scale_runs_and_repeats() -> None:
    one = reproduce("bmm", [0], scale="smoke")
    assert set(one.arms) == set(_bmm_arms.ARMS)
    for arm in ("module", "draws"):
        assert {m: [v] for m, v in get("bmm").arms("smoke")[arm](0).items()} == one.arms[arm]
    better, anchor, regmean = (one.arms[a]["tsv"][0] for a in ("better_of_both", "anchor", "regmean"))
    assert better == max(anchor, regmean)


def test_claims_keep_the_margins() -> None:
    margins = {(c.metric, c.arm, c.versus): c.margin for c in get("bmm").claims}
    assert margins["tsv", "module", "better_of_both"] == 0.02
    assert margins["task_arithmetic", "module", "anchor"] == 0.04
    assert margins["task_arithmetic", "free", "anchor"] == 0.02 and margins["tsv", "free", "anchor"] == -0.005
    assert margins["mean", "module", "shared"] == 0.005


def test_the_ledger_is_of_this_system() -> None:
    kept = Result.load(KEPT)
    assert kept.remarks == list(get("bmm").remarks) and len(kept.seeds) >= 5
    assert kept.arms["better_of_both"]["tsv"] == [
        max(pair) for pair in zip(kept.arms["anchor"]["tsv"], kept.arms["regmean"]["tsv"], strict=True)
    ]
