"""The registered system: every arm at smoke scale, its contract, and equal budgets."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sharewise.systems import get, reproduce
from sharewise.systems.crops._arms import HARDINESS, PAPER, PHENOLOGY, SMOKE, estimator, first_seasons
from sharewise.systems.crops._seasons import Seasons
from sharewise.systems.crops._simulator import simulate
from sharewise.systems.crops._weather import seattle


def test_smoke_scale_runs_and_repeats() -> None:
    one = reproduce("crop-hybrid", [0], scale="smoke")
    for arm in ("dmc-mtl", "dmc-stl", "gru"):
        again = get("crop-hybrid").arms("smoke")[arm](0)
        assert {metric: [value] for metric, value in again.items()} == one.arms[arm]
    assert set(one.arms) >= {"stock", "constant", "gru", "pinn", "dmc-mtl", "dmc-stl", "dmc-mtl-daily", "dmc-mtl-few"}
    for arm, metrics in one.arms.items():
        if arm.startswith("dmc") or arm in ("stock", "constant", "temperature-response"):
            assert metrics["backward_transitions"] == [0.0]
    assert "lte50_rmse" in one.arms["dmc-mtl"]


def test_registration_imports_nothing_heavy() -> None:
    code = "import sys, sharewise.systems as s; s.get('crop-hybrid'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_learned_arms_share_one_budget() -> None:
    for process, table in (("phenology", PHENOLOGY), ("hardiness", HARDINESS)):
        budgets = set()
        for arm in table:
            s = estimator(process, arm, SMOKE, 0).settings
            budgets.add((s.epochs, s.batch, s.hidden, s.lr_factor))
        assert len(budgets) == 1


def test_paper_scale_is_the_papers() -> None:
    s = estimator("phenology", "dmc-mtl", PAPER, 0).settings
    assert (s.hidden, s.epochs, s.batch, s.lr, s.lr_factor, s.every) == (1024, 400, 12, 2e-4, 0.95, 1)


def test_claims_are_those_of_the_sheet() -> None:
    margins = {(c.arm, c.versus, c.metric): c.margin for c in get("crop-hybrid").claims}
    assert margins["dmc-mtl", "stock", "onset_rmse"] == 0.40
    assert margins["dmc-mtl", "dmc-stl", "onset_rmse"] == 0.10


@pytest.fixture(scope="module")
def collection() -> Seasons:
    return simulate("phenology", seattle(), 0, cultivars=3, train=3, validation=1, test=1).train


def test_few_seasons(collection: Seasons) -> None:
    few = first_seasons(collection, 2)
    assert len(few) == 6 and [few.cultivar.count(c) for c in few.cultivars] == [2, 2, 2]
