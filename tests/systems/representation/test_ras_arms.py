"""The comparison the ledger quotes: what its numbers mean, and that today's code still gives them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sharewise.systems import Result, get
from sharewise.systems.representation import _ras_arms as arms
from sharewise.systems.representation import errors, single_task

KEPT = Path(__file__).parents[3] / "ledger" / "ras.json"


@pytest.mark.parametrize("name", ["stl", "ras", "spectral_known_r", "ras_top_r"])
def test_the_ledger_holds_what_this_code_computes(name):
    kept, found = Result.load(KEPT), arms.scenario_metrics(arms.methods(arms.FULL)[name], arms.FULL, 0)
    assert kept.seeds[0] == 0
    for metric, value in found.items():
        assert kept.arms[name][metric][0] == pytest.approx(value, rel=1e-5), metric


def test_single_task_learning_against_itself_is_one():
    alone = arms.methods(arms.SMOKE)["stl"]
    found = arms.scenario_metrics(alone, arms.SMOKE, 0) | arms.grid_metrics(alone, arms.SMOKE, 0)
    assert found["structured_inlier_ratio"] == found["grid_worst_ratio"] == found["grid_ratio_of_worst"] == 1.0
    assert "structured_rank" not in found and "clean_outlier" not in found


def test_grid_metrics_by_hand():
    # An estimate of zero errs by the length of the truth, 2, in every task and every cell.
    nothing = arms.grid_metrics(lambda tasks: arms.Fit(np.zeros((20, 12))), arms.SMOKE, 0)
    ratios = []
    for outliers in ("random", "subspace"):
        for eps in arms.SMOKE.grid_eps:
            for h in arms.SMOKE.grid_h:
                drawn = arms.SMOKE.draw(0, eps, outliers, h)
                ratios.append(2 / errors(single_task(drawn.tasks), drawn))
    assert nothing["grid_worst_ratio"] == pytest.approx(np.mean([r.max() for r in ratios]))
    assert nothing["grid_ratio_of_worst"] == pytest.approx(np.mean([r.min() for r in ratios]))
    assert nothing["grid_worst_ratio_large_h"] == pytest.approx(np.mean([r.max() for r in ratios[1::2]]))


def test_scenarios_of_a_seed_are_independent_and_repeatable():
    one, same = arms.FULL.draw(0, 0.8, "random"), arms.FULL.draw(0, 0.8, "random")
    assert (one.tasks.y == same.tasks.y).all()
    others = [arms.FULL.draw(*how) for how in ((1, 0.8, "random"), (0, 0.5, "random"), (0, 0.8, "subspace"))]
    assert all(abs(one.tasks.y[0, 0] - other.tasks.y[0, 0]) > 1e-12 for other in others)


def test_remarks_quote_the_ledger():
    kept, text = Result.load(KEPT), " ".join(get("ras").remarks)

    def mean(arm: str, metric: str) -> float:
        return float(np.mean(kept.arms[arm][metric]))

    assert kept.remarks == list(get("ras").remarks)
    assert f"by {100 * (1 - mean('ras_cv', 'grid_mean_ratio')):.0f} %" in text
    assert f"{100 * (mean('ras_cv', 'grid_worst_ratio') - 1):.0f} % worse" in text
    assert f"({100 * (mean('ras_cv', 'grid_worst_ratio_large_h') - 1):.0f} % at h = 0.8)" in text
    large = [f"{mean(arm, 'grid_worst_ratio_large_h'):.2f}" for arm in ("ras", "squared")]
    assert "at h = 0.8 is {} against {}".format(*large) in text
    lost = [100 * (mean(arm, "few_outlier") / mean("stl", "few_outlier") - 1) for arm in ("ras", "squared")]
    assert "lose {:.0f} % against {:.0f} %".format(*lost) in text
