"""The system madam: its quadratics, its ablations, and its arms at smoke scale."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from sharewise.systems import Result, get, reproduce
from sharewise.systems.optimizers import _madam_arms as arms
from sharewise.systems.optimizers._madam_arms import Pair, Sizes, mechanism

KEPT = Path(__file__).parents[3] / "ledger" / "madam.json"


def test_smoke_scale_runs_and_repeats() -> None:
    one = reproduce("madam", [0], scale="smoke")
    assert set(one.arms) == set(arms.ARMS)
    again = get("madam").arms("smoke")["madam"](0)
    assert {metric: [value] for metric, value in again.items()} == one.arms["madam"]


def test_the_ledger_holds_what_this_code_computes() -> None:
    kept = Result.load(KEPT)
    found = mechanism("madam", arms.DEFAULT, kept.seeds[0])
    for metric, value in found.items():
        assert kept.arms["madam"][metric][0] == pytest.approx(value, rel=1e-4), metric
    assert kept.remarks == list(get("madam").remarks)


def test_the_mechanism_and_each_ablation() -> None:
    ratio = {name: mechanism(name, Sizes(steps=240), 0)["size_ratio"] for name in ("adam", "madam", "madam_past")}
    assert ratio["adam"] > 4 and ratio["madam_past"] > 4 and ratio["madam"] < 1.15
    alike = {n: mechanism(n, Sizes(steps=240), 0, correlation=0.9, scale=1.0) for n in ("madam", "madam_diagonal")}
    assert alike["madam"]["size_ratio"] < 1.15 < alike["madam_diagonal"]["size_ratio"]


def test_points_of_the_front_are_where_the_gradient_vanishes() -> None:
    pair = Pair.draw(0)
    for weight in (0.1, 0.5):
        gradient = torch.tensor([[weight], [1 - weight]]) * pair.curvatures * (pair.best(weight) - pair.places)
        assert gradient.sum(0).abs().max() < 1e-4
        assert pair.excess(nn.Parameter(pair.best(weight)), weight) == pytest.approx(0, abs=1e-5)
        assert pair.excess(nn.Parameter(torch.zeros(50)), weight) > 0
    assert sorted(pair.curvatures[0].tolist()) == sorted(pair.curvatures[1].tolist())


def test_claims_are_those_of_the_sheet() -> None:
    claims = {(c.metric, c.arm, c.versus): c for c in get("madam").claims}
    assert claims["size_ratio", "adam", None].at_least == 4.0
    assert claims["size_ratio", "madam", None].at_most == 1.05
    assert claims["burst_excess", "madam", "adam"].margin == 0.0
