"""The system son-goku: its simulator, its budget, its arms at smoke scale, and what the ledger holds."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

import pytest
import torch

from sharewise.balance import create
from sharewise.schedule import AllTasks, RoundRobin, SonGoku, cosines
from sharewise.systems import Result, get, reproduce
from sharewise.systems.scheduling import Budget, DigitTasks, GroupedTasks, edge_accuracy, train
from sharewise.systems.scheduling._son_goku_arms import PLANS, SIZES, _simulated, noisy_edges

ROOT = Path(__file__).parents[3]


def test_smoke_scale_runs_and_repeats() -> None:
    one = reproduce("son-goku", [0], scale="smoke")
    assert set(one.arms) == set(PLANS)
    again = get("son-goku").arms("smoke")["son_goku"](0)
    assert {metric: [value] for metric, value in again.items()} == one.arms["son_goku"]


def test_gradients_have_the_cosines_of_the_heads_while_residuals_are_large() -> None:
    problem = GroupedTasks(0, batch=4096, rate=0.1)
    assert (problem.heads @ problem.heads.T)[0, :4].tolist() == pytest.approx([1.0, 0.8, 0.8, -0.4], abs=1e-5)
    rows = problem.gradients(problem.names)
    measured = cosines(rows @ rows.T)
    assert measured == pytest.approx((problem.heads @ problem.heads.T).double(), abs=0.05)
    together, alone = rows.sum(0).norm(), rows.norm(dim=1).sum()
    assert together < 0.2 * alone  # the sum over all tasks nearly cancels


def test_gradients_are_those_of_autograd() -> None:
    problem, twin = (GroupedTasks(3, batch=8, rate=0.1) for _ in range(2))
    for p in (problem, twin):
        p.trunk = torch.full_like(p.trunk, 0.1)
    found = problem.gradients(["task 4"])
    x, noise = twin._normal(1, 8, 32)[0], twin._normal(1, 8)[0]
    trunk = twin.trunk.clone().requires_grad_()
    (x @ (twin.heads[4] @ trunk) - x @ twin.target - 0.3 * noise).square().mean().backward()
    assert found.view_as(trunk) == pytest.approx(trunk.grad, abs=1e-5)


def test_a_trunk_without_any_error_exists() -> None:
    problem = GroupedTasks(1, batch=8, rate=0.1)
    assert problem.excess() == pytest.approx(1.0, abs=1e-5)  # at zero: the target's square
    problem.trunk = torch.linalg.pinv(problem.heads) @ problem.target.expand(9, -1)
    assert problem.excess() == pytest.approx(0.0, abs=1e-5)


def test_a_change_moves_the_last_of_each_group_to_the_next() -> None:
    problem = GroupedTasks(1, batch=8, rate=0.1)
    heads = problem.heads.clone()
    problem.change()
    assert problem.group == [0, 0, 1, 1, 1, 2, 2, 2, 0]
    assert torch.equal(problem.heads[[2, 5, 8]], heads[[5, 8, 2]])
    gram = problem.heads @ problem.heads.T
    assert torch.equal(gram < 0, problem.true_edges())


def test_edge_accuracy_by_hand() -> None:
    true = GroupedTasks(0, batch=8, rate=0.1).true_edges()
    assert edge_accuracy(true, true) == 1.0
    assert edge_accuracy(torch.zeros_like(true), true) == 0.25  # 9 of the 36 pairs are within a group


def test_the_budget_counts_task_gradients_once() -> None:
    budget = Budget(gradients=90)
    joint = train(GroupedTasks(0, batch=8, rate=0.01), AllTasks(NAMES), budget)
    assert (joint.steps, joint.gradients) == (10, 90)
    one = train(GroupedTasks(0, batch=8, rate=0.01), RoundRobin(NAMES), budget)
    assert (one.steps, one.gradients) == (90, 90)
    # a refresh costs 9 and feeds its own step; the eight steps after it cost the three tasks of a group each
    schedule = SonGoku(NAMES, refresh=9, tau=0.15, tau_start=0.15, follow=True)
    problem = GroupedTasks(0, batch=256, rate=0.001)
    done = train(problem, schedule, Budget(gradients=99), watch=lambda: None)
    assert [len(c) for c in schedule.classes] == [3, 3, 3]
    assert (done.steps, done.gradients) == (27, 99)
    free = train(
        GroupedTasks(0, batch=256, rate=0.001),
        SonGoku(NAMES, refresh=9, tau=0.15, tau_start=0.15),
        Budget(gradients=99),
        free_probes=True,
    )
    assert free.steps == 33


NAMES = [f"task {k}" for k in range(9)]


def test_half_time_comes_once_and_steps_can_be_the_budget() -> None:
    called = []
    done = train(
        GroupedTasks(0, batch=8, rate=0.01),
        AllTasks(NAMES),
        Budget(steps=8),
        balancer=create("pcgrad"),
        half_time=lambda: called.append(1),
    )
    assert (done.steps, called) == (8, [1])


def test_a_run_that_diverges_says_so() -> None:
    done = train(GroupedTasks(0, batch=8, rate=1e30), SonGoku(NAMES, refresh=2), Budget(steps=50))
    assert not done.finite


def test_heads_of_absent_digit_tasks_stand_still() -> None:
    problem = DigitTasks(0, batch=32, rate=1e-2)
    problem.step(problem.names, problem.gradients(problem.names).sum(0))  # Adam has a momentum for all now
    before = {n: [p.detach().clone() for p in problem.heads[n].parameters()] for n in problem.names}
    problem.step(["digit"], problem.gradients(["digit"]).sum(0))
    moved = [
        n
        for n in problem.names
        if not all(torch.equal(a, b) for a, b in zip(before[n], problem.heads[n].parameters(), strict=True))
    ]
    assert moved == ["digit"]


def test_digit_labels() -> None:
    problem = DigitTasks(0, batch=32, rate=1e-2)
    digit = problem._labels["digit"]
    assert torch.equal(problem._labels["parity"], digit % 2) and torch.equal(
        problem._labels["large"], (digit > 4).long()
    )
    assert sorted(problem._labels["shuffled"].tolist()) == sorted(digit.tolist())
    assert {(int(a), int(b)) for a, b in zip(digit, problem._labels["mirrored"], strict=True)} == {
        (0, 1), (1, 0), (2, 3), (3, 2), (4, 5), (5, 4), (6, 7), (7, 6), (8, 9), (9, 8)
    }  # fmt: skip
    train_rows, valid, test = (set(part.tolist()) for part in problem._parts)
    assert not (train_rows & valid or train_rows & test or valid & test) and len(test) == 400


def test_memory_finds_the_edges_that_noise_hides() -> None:
    sizes = SIZES["default"]
    assert noisy_edges(PLANS["son_goku"], sizes, 0) > noisy_edges(PLANS["no_memory"], sizes, 0)


def test_the_ledger_holds_what_this_code_computes() -> None:
    kept = Result.load(ROOT / "ledger" / "son-goku.json")
    plan, sizes = PLANS["joint"], SIZES["default"]
    error, _ = _simulated(plan, sizes, kept.seeds[0], Budget(gradients=sizes.gradients))
    assert kept.arms["joint"]["error"][0] == pytest.approx(error, rel=1e-3)
    assert kept.arms["no_memory"]["noisy_edges"][0] == noisy_edges(PLANS["no_memory"], sizes, kept.seeds[0])
    assert kept.remarks == list(get("son-goku").remarks)


def test_the_page_quotes_the_ledger() -> None:
    kept = Result.load(ROOT / "ledger" / "son-goku.json")
    page = (ROOT / "docs" / "systems" / "son-goku.md").read_text(encoding="utf-8")
    for arm, metrics in kept.arms.items():
        (row,) = [line for line in page.splitlines() if f"`{arm}`" in line and line.count("|") == 8]
        assert f"| {1000 * fmean(metrics['error']):.2f} |" in row
        assert row.endswith(f"| {100 * fmean(metrics['digits_error']):.1f} % |")
    verdicts = [claim.verdict for claim in kept.claims]
    assert (verdicts.count("reproduced"), verdicts.count("inconclusive")) == (4, 6)


def test_claims_keep_the_margins() -> None:
    margins = {(c.metric, c.arm, c.versus): c.margin for c in get("son-goku").claims}
    assert margins["error", "son_goku", "joint"] == margins["error", "son_goku", "random_groups"] == 0.1
    assert margins["noisy_edges", "no_memory", "son_goku"] == margins["changed_error", "static", "son_goku"] == 0.1
    assert next(c for c in get("son-goku").claims if c.metric == "edges").at_least == 0.9
