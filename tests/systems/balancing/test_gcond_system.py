"""The registered system: every arm at smoke scale, equal budgets, and the noise that accumulation is for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sharewise.systems import Result, get, reproduce
from sharewise.systems.balancing import true_gradients, zone, zone_rate
from sharewise.systems.balancing._gcond_arms import ALONE, DEFAULT, PAPER, RECIPES, SMOKE, network, recipe_of, schedule
from sharewise.systems.balancing._gcond_tuning import RATES


def test_smoke_scale_runs_and_repeats() -> None:
    one = reproduce("gcond", [0], scale="smoke")
    for arm in ("gcond", "pcgrad", "estimates"):
        again = get("gcond").arms("smoke")[arm](0)
        assert {metric: [value] for metric, value in again.items()} == one.arms[arm]
    assert set(one.arms) == {
        "sum", "sum-momentum", "pcgrad", "cagrad", "graddrop", "gradnorm", "pcgrad-accumulated", "pcgrad-every-batch",
        "gcond", "gcond-sequential", "gcond-one-batch", "gcond-raw", "single-task", "sum-low", "sum-momentum-low",
        "gcond-low", "estimates",
    }  # fmt: skip
    passes = {arm: metrics["passes"][0] for arm, metrics in one.arms.items() if "passes" in metrics}
    assert passes["gcond"] == passes["sum"] == SMOKE.steps * SMOKE.batches
    assert passes["gcond-sequential"] == passes["pcgrad"] == passes["pcgrad-every-batch"] == 2 * passes["gcond"]


def test_registration_imports_nothing_heavy() -> None:
    code = "import sys, sharewise.systems as s; s.get('gcond'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_arms_differ_in_what_their_name_says() -> None:
    assert RECIPES["sum-momentum"].inner and not RECIPES["sum"].inner and not RECIPES["gcond-raw"].inner
    assert RECIPES["gcond"].mode == "stochastic" and RECIPES["gcond-one-batch"].mode == "each"
    assert recipe_of("sum-low", DEFAULT).lr == recipe_of("gcond-low", DEFAULT).lr == RECIPES["sum"].lr / 10
    assert recipe_of("gcond", PAPER).lr == 2e-4
    first, second = network(SMOKE, 0).state_dict(), network(SMOKE, 0).state_dict()
    assert all(bool((first[key] == second[key]).all()) for key in first)


def test_all_arms_tried_the_same_rates_and_none_stopped_at_an_end() -> None:
    for arm, recipe in {**RECIPES, **ALONE}.items():
        assert recipe.lr in RATES[1:-1], arm


def test_schedule_by_hand() -> None:
    # 15 steps: 2 of warm-up, then a cosine from 1 down to 1/200 at step 15
    assert schedule(0, 15) == 0.5 and schedule(1, 15) == schedule(2, 15) == 1.0
    assert schedule(15, 15) == pytest.approx(0.005)
    assert schedule(2 + 13 // 2 + 0, 15) > schedule(14, 15) > 0.005


def test_zones() -> None:
    assert [zone(c) for c in (-0.9, -0.8, -0.65, -0.5, -0.1, 0.0, 0.3)] == [
        "critical", "critical", "moderate", "mild", "mild", "none", "none",
    ]  # fmt: skip
    rows = true_gradients(-0.65, 10)
    assert float(rows[0] @ rows[1]) == pytest.approx(-0.65) and rows.norm(dim=1).tolist() == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize("cosine", [-0.9, -0.65, -0.25, 0.3])
def test_more_batches_show_the_kind_of_conflict(cosine: float) -> None:
    # Noise of five times the gradient's length: at K = 1 cosines shrink by 1 + 25, and nothing looks worse than mild.
    rates = [zone_rate(cosine, k, count=100) for k in (1, 8, 512)]
    assert rates == sorted(rates) and rates[-1] == 1.0
    if cosine < -0.5:
        assert rates[0] == 0.0


def test_remarks_and_page_quote_the_ledger() -> None:
    root = Path(__file__).parents[3]
    kept, text = Result.load(root / "ledger" / "gcond.json"), " ".join(get("gcond").remarks)
    assert kept.remarks == list(get("gcond").remarks)
    mean = {arm: {metric: float(np.mean(v)) for metric, v in metrics.items()} for arm, metrics in kept.arms.items()}
    l1 = {arm: f"{metrics['l1']:.3f}" for arm, metrics in mean.items() if "l1" in metrics}
    control = f"({l1['sum']}; {l1['sum-momentum']} with GCond's momentum)"
    assert f"L1 of {l1['gcond']} is above the weighted sum's {control}" in text
    assert f"PCGrad's ({l1['pcgrad']}) and GradNorm's ({l1['gradnorm']})" in text
    assert f"from {l1['sum-low']} to {l1['sum-momentum-low']}, all of GCond to {l1['gcond-low']}" in text
    shares = [f"{100 * mean[arm]['conflicts']:.0f} %" for arm in ("gcond", "gcond-sequential")]
    assert "{} of the steps meet a conflict in the stochastic mode, {} in".format(*shares) in text
    assert f"reaches {l1['pcgrad-every-batch']}" in text
    effects = {(c.metric, c.versus): f"{-100 * c.effect:.1f} %" for c in kept.claims if c.arm == "gcond"}
    stochastic = [effects[metric, "gcond-sequential"] for metric in ("l1", "ssim")]
    assert "it is {} and {} behind".format(*stochastic) in text
    assert f"is {effects['l1', 'gcond-one-batch']} ahead" in text
    ratios = kept.arms["estimates"]["variance_ratio"]
    assert f"by {min(ratios):.0f} to {max(ratios):.0f} times" in text
    assert f"(the median is {np.median(ratios):.0f})" in text
    assert f"the ratio is {mean['estimates']['variance_ratio_late']:.1f}" in text
    page = (root / "docs" / "systems" / "gcond.md").read_text(encoding="utf-8")
    rows = [[cell.strip(" *`") for cell in line.split("|")] for line in page.splitlines() if line.startswith("|")]
    for arm in l1:
        assert any(row[1] == arm and row[3:5] == [l1[arm], f"{mean[arm]['ssim']:.3f}"] for row in rows), arm
