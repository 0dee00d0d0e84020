"""The system model-merging: its tuning, its ablations, its arms at smoke scale, and its ledger."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sharewise.merge import merge_states
from sharewise.systems import Result, get, reproduce
from sharewise.systems.merging import _ablations, _arms
from sharewise.systems.merging._digits import SMOKE_SIZES, digits_bed
from sharewise.systems.merging._tuned import Chosen, Way, candidates, choose, mean, report, scaled, sizes
from sharewise.systems.merging._ways import WAYS

KEPT = Path(__file__).parents[3] / "ledger" / "model-merging.json"


@pytest.fixture(scope="module")
def bed():
    return digits_bed(0, SMOKE_SIZES)


def test_every_method_stays_within_the_budget() -> None:
    for name, way in WAYS.items():
        tried = len(way.options) * (len(sizes(len(way.options))) if way.sized else 1)
        assert tried <= 48, name
        assert not way.sized or tried == 48, name
    assert sizes(1)[0] == pytest.approx(0.1) and sizes(3)[-1] == pytest.approx(8) and len(sizes(3)) == 16


def test_the_size_is_the_method_s_own_lambda(bed) -> None:
    one = merge_states("task_arithmetic", bed.experts, bed.base, weight=1.0)
    half = merge_states("task_arithmetic", bed.experts, bed.base, weight=1.0, **{"lambda": 0.5})
    for name, value in scaled(bed.base, one, 0.5).items():
        torch.testing.assert_close(value, half[name], rtol=1e-5, atol=1e-6)


def test_choices_look_at_validation_data_alone(bed) -> None:
    tried = [
        ({"size": 0.0}, bed.for_all(bed.base)),
        ({"size": 1.0}, bed.experts),
        ({"size": 2.0}, bed.experts),
    ]
    found = choose(bed, iter(tried))
    assert found.setting == {"size": 1.0}  # the first of equals
    assert found.validation == pytest.approx(mean(bed.accuracies(bed.experts, "validation")))
    assert choose(bed, iter(tried), 5).validation == pytest.approx(mean(bed.accuracies(bed.experts, "validation", 5)))


def test_settings_that_vary_are_recorded(bed) -> None:
    way = Way("ties", ({"density": 0.1, "weight": 1.0}, {"density": 0.5, "weight": 1.0}))
    settings = [setting for setting, _ in candidates(bed, way, budget=4)]
    assert settings == [{"density": d, "size": pytest.approx(s)} for d in (0.1, 0.5) for s in (0.1, 8.0)]


def test_reports_by_hand(bed) -> None:
    experts = bed.accuracies(bed.experts, "test")
    halved = {task: a / 2 for task, a in experts.items()}
    found = report(bed, halved, Chosen({"size": 0.3}, 0.7, {}))
    assert found["normalised"] == pytest.approx(0.5) and found["worst_drop"] == pytest.approx(max(experts.values()) / 2)
    assert found["accuracy"] == pytest.approx(mean(experts) / 2) and found["size"] == 0.3 and found["validation"] == 0.7


def test_ablations_take_out_one_part(bed) -> None:
    # With orthogonal columns already, nothing is lost; in general only the Procrustes step differs from TSV-M.
    rows = torch.stack([torch.diag(torch.tensor([5.0, 0, 0, 0])), torch.diag(torch.tensor([0, 3.0, 0, 0]))])
    torch.testing.assert_close(_ablations.truncated_sum(rows), rows.sum(0))
    rank_two = torch.stack([torch.diag(torch.tensor([5.0, 1, 0.5, 0.1])), torch.diag(torch.tensor([0, 3.0, 2, 0.2]))])
    wanted = torch.diag(torch.tensor([5.0, 4, 2, 0]))
    torch.testing.assert_close(_ablations.truncated_sum(rank_two), wanted, rtol=1e-5, atol=1e-5)
    total = merge_states("task_arithmetic", bed.experts, bed.base, weight=1.0)
    average = merge_states("linear", bed.experts, bed.base, weight=1.0)
    for name, value in _ablations.spectral(bed, _ablations.plain_sum).items():
        torch.testing.assert_close(value, (total if value.ndim == 2 else average)[name], rtol=1e-4, atol=1e-5)
    emr = merge_states("emr", bed.experts, bed.base, task="parity")
    bare = _ablations.unrescaled_emr(bed)["parity"]
    ratios = torch.cat([((emr[n] - b) / (bare[n] - b)).flatten() for n, b in bed.base.items()])
    ratios = ratios[ratios.isfinite() & (ratios != 0)]
    assert abs(float(ratios.median()) - 1) > 0.01 and float(ratios.quantile(0.9) / ratios.quantile(0.1)) < 1.01
    one = _ablations.shuffled(bed, total, torch.Generator().manual_seed(0))
    for name, base in bed.base.items():
        deltas = [(s[name] - base).flatten().sort().values for s in (one, total)]
        torch.testing.assert_close(*deltas, rtol=1e-4, atol=1e-5)


def test_smoke_scale_runs_and_repeats() -> None:
    one = reproduce("model-merging", [0], scale="smoke")
    assert set(one.arms) == set(_arms.ARMS)
    for arm in ("evolution", "wemoe", "twin"):
        torch.manual_seed(0)
        again = get("model-merging").arms("smoke")[arm](0)
        assert {metric: [value] for metric, value in again.items()} == one.arms[arm]
    assert one.arms["regmean_plus_plus_unmerged"] == one.arms["regmean"]


def test_claims_keep_the_margins() -> None:
    margins = {(c.arm, c.versus): c.margin for c in get("model-merging").claims}
    assert margins["tsv", "task_arithmetic"] == 0.05 and margins["regmean_plus_plus", "regmean"] == 0.02
    assert margins["tsv", "tsv_not_orthogonal"] == 0.08 and margins["emr", "emr_not_rescaled"] == 0.01


@pytest.mark.skipif(not KEPT.exists(), reason="not in the ledger yet")
def test_the_ledger_holds_what_this_code_computes() -> None:
    kept = Result.load(KEPT)
    assert kept.remarks == list(get("model-merging").remarks)
    for arm in ("base", "tsv", "emr"):
        for metric, value in get("model-merging").arms("default")[arm](kept.seeds[0]).items():
            assert kept.arms[arm][metric][0] == pytest.approx(value, abs=0.01), (arm, metric)
