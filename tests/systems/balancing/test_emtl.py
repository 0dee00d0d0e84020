"""The system emtl: its users, its optimum in hindsight, its policies, and its arms at smoke scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sharewise.errors import OptionError
from sharewise.systems import Result, get, reproduce
from sharewise.systems.balancing import _emtl_arms, _emtl_convex, _emtl_deep
from sharewise.systems.balancing._emtl_tuning import TRIALS
from sharewise.systems.balancing._fair_baselines import SlotFair, WorstUser
from sharewise.systems.balancing._horizon import equity, horizon_means
from sharewise.systems.balancing._policies import POLICIES, Policy
from sharewise.systems.balancing._users import Users, drifting_users, hindsight_optimum, welfare

SIZES = _emtl_arms.SMOKE
KEPT = Path(__file__).parents[3] / "ledger" / "emtl.json"


def test_the_ledger_holds_what_this_code_computes() -> None:
    kept = Result.load(KEPT)
    found = _emtl_convex.run(POLICIES["owo_fmtl"], kept.seeds[0], _emtl_arms.DEFAULT.convex)
    for metric, value in found.items():
        assert kept.arms["owo_fmtl"][metric][0] == pytest.approx(value, rel=1e-5, abs=1e-9), metric
    assert kept.remarks == list(get("emtl").remarks)


def test_smoke_scale_runs_and_repeats() -> None:
    one = reproduce("emtl", [0], scale="smoke")
    assert set(one.arms) == set(POLICIES)
    for arm in ("owo_fmtl", "uncertainty"):
        again = get("emtl").arms("smoke")[arm](0)
        assert {metric: [value] for metric, value in again.items()} == one.arms[arm]


def test_alpha_zero_is_equal_weighting_to_the_last_bit() -> None:
    none = _emtl_convex.run(Policy(options={"alpha": 0.0}), 3, SIZES.convex)
    assert none == _emtl_convex.run(Policy("equal"), 3, SIZES.convex)


def test_each_ablation_changes_what_it_says() -> None:
    users = drifting_users(0, 8)
    runs = {
        name: _emtl_convex.learn(POLICIES[name], users, 0, SIZES.convex) for name in ("owo_fmtl", "owo_fmtl_no_outer")
    }
    # without an outer loop every round starts at 0: a utility of 6 - (2^2 + noise^2) / 2
    starts = runs["owo_fmtl_no_outer"][:: SIZES.convex.steps]
    assert starts == pytest.approx(np.broadcast_to(4 - users.noise**2 / 2, starts.shape))
    assert runs["owo_fmtl"][:3] == pytest.approx(runs["owo_fmtl_no_outer"][:3])
    assert (runs["owo_fmtl"][3] != runs["owo_fmtl_no_outer"][3]).all()
    forgets = _emtl_convex.learn(POLICIES["owo_fmtl_forgets"], users, 0, SIZES.convex)
    assert (forgets[:4] == runs["owo_fmtl"][:4]).all() and (forgets[5] != runs["owo_fmtl"][5]).any()


def test_users_are_as_described() -> None:
    users = drifting_users(1, 40)
    assert np.linalg.norm(users.targets, axis=2) == pytest.approx(np.full((40, 6), 2.0))
    near = np.linalg.norm(users.targets[0, :4, None] - users.targets[0, None, :4], axis=-1) / 2
    assert near.max() <= 0.6 and users.present.all()
    steps = np.linalg.norm(np.diff(users.targets, axis=0), axis=-1) / 2
    assert steps.mean() == pytest.approx(0.02 * np.sqrt(19), rel=0.1)  # along the sphere: 19 of 20 directions
    switched = drifting_users(1, 40, "switch")
    jumps = np.linalg.norm(np.diff(switched.targets, axis=0), axis=-1).max(1) > 1
    assert set(np.flatnonzero(jumps) + 1) <= {10, 20, 30} and jumps.any()
    churn = drifting_users(1, 40, "churn").present
    assert churn.sum(0).tolist() == [30, 40, 40, 40, 30, 30]
    with pytest.raises(OptionError, match='"drift", "switch" or "churn"'):
        drifting_users(0, 40, "jump")  # type: ignore[arg-type]


def test_the_optimum_in_hindsight() -> None:
    # Two users at +-1 without noise and one round: by symmetry the fairest model is 0, with utilities 6 - 1/2.
    users = Users(np.array([[[1.0], [-1.0]]]), np.zeros(2), np.ones((1, 2), dtype=bool))
    x, best = hindsight_optimum(users, 2.0, 6.0, (0.5, 6.0))
    assert x == pytest.approx([0.0], abs=1e-5) and best == pytest.approx(2 * (1 - 1 / 5.5))
    drawn = drifting_users(0, 20)
    x, best = hindsight_optimum(drawn, 2.0, 6.0, (0.5, 6.0))
    rng = np.random.default_rng(0)
    for _ in range(20):
        other = x + 0.1 * rng.standard_normal(len(x))
        u = np.mean([6 - drawn.losses(other, t) for t in range(20)], axis=0)
        assert welfare(u, 2.0) < best


def test_expected_losses_are_those_of_many_samples() -> None:
    users = drifting_users(2, 4)
    x = np.random.default_rng(0).standard_normal(20)
    z = np.random.default_rng(1).standard_normal((40_000, 20))
    e = np.random.default_rng(2).standard_normal((40_000, 6))
    sampled = ((z @ x)[:, None] - z @ users.targets[3].T - users.noise * e) ** 2 / 2
    assert users.losses(x, 3) == pytest.approx(sampled.mean(0), rel=0.05)


def test_horizon_means_count_presence() -> None:
    u = np.array([[1.0, 9.0], [3.0, 2.0], [5.0, 4.0], [7.0, 9.0]])
    here = np.array([[1, 0], [1, 1], [1, 1], [1, 0]], dtype=bool)
    assert horizon_means(u, here).tolist() == [4.0, 3.0]
    assert horizon_means(u, here, 0.25).tolist() == [1.0]
    found = equity(np.array([1.0, 3.0]), 1.0)
    assert (
        found["gap"] == 2.0
        and found["jain"] == pytest.approx(16 / 20)
        and found["fairness"] == pytest.approx(np.log(3))
    )


def test_baselines_by_hand() -> None:
    losses = torch.tensor([4.0, 2.0])  # utilities 2 and 4: weights 2 (1/4, 1/16) / (5/16)
    assert SlotFair().weights(losses).tolist() == pytest.approx([1.6, 0.4])
    assert WorstUser().weights(losses).tolist() == [2.0, 0.0]


def test_what_users_of_the_network_see() -> None:
    images, labels = _emtl_deep.digits()
    assert images.shape == (6, 1797, 1, 8, 8) and labels.shape == (1797,)
    assert torch.equal(images[1], 1 - images[0])
    quarter = images[0].rot90(1, (2, 3))
    assert torch.allclose(images[5], quarter, atol=1e-5) or torch.allclose(images[5], quarter.flip(2, 3), atol=1e-5)


def test_methods_with_rates_had_as_many_trials() -> None:
    assert {len(tried) for tried in TRIALS.values()} == {6}
    assert all(POLICIES[arm] in tried for arm, tried in TRIALS.items())


def test_claims_keep_the_margins() -> None:
    margins = {(c.metric, c.arm, c.versus): c.margin for c in get("emtl").claims}
    assert margins["gap", "owo_fmtl", "equal"] == 0.25
    assert margins["mean_utility", "owo_fmtl", "equal"] == -0.015
    assert margins["mean_utility", "owo_fmtl_no_outer", "owo_fmtl"] == 0.02
