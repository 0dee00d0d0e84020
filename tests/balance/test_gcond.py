"""GCond: hand-calculated values, the paper's steps on rows, accumulation, arbitration, resume, wrong input."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import Tensor

import sharewise as sw
from helpers.matrices import matrices, rows
from sharewise.balance import GCond
from sharewise.balance._arbitration import Thresholds, strengths
from sharewise.errors import BalanceError, OptionError

PAPER = Thresholds(-0.8, -0.5, 0.0)


def pair(cosine: float, first: float = 1.0, second: float = 1.0) -> Tensor:
    """Two rows of these norms with this cosine, in the plane; a third column is empty."""
    sine = math.sqrt(1 - cosine**2)
    return torch.tensor([[first, 0.0, 0.0], [second * cosine, second * sine, 0.0]], dtype=torch.float64)


class OnRows:
    """The paper's steps as they are written, on the rows, remembered by position."""

    def __init__(self, thresholds: Sequence[float] = PAPER, power: float = 2.0, window: int = 0) -> None:
        self.thresholds, self.power, self.window = thresholds, power, window
        self.before: Tensor | None = None
        self.mean: Tensor | None = None
        self.winners: list[int] = []
        self.margin = math.inf  # the narrowest decision so far: below it rounding decides

    def angle(self, c: float) -> float:
        critical, main, weak = self.thresholds
        if c <= critical:
            return math.pi
        if c < main:
            return math.pi / 2 + math.pi / 2 * ((c - main) / (critical - main)) ** self.power
        return math.pi / 2 * (1 - (c - main) / (weak - main))

    def narrowest(self, *gaps: float) -> None:
        self.margin = min(self.margin, *gaps) if gaps else self.margin

    def step(self, matrix: Tensor) -> Tensor:
        raw = matrix.double()
        norms = raw.norm(dim=1)
        self.mean = 0.95 * (torch.ones_like(norms) if self.mean is None else self.mean) + 0.05 * norms
        before = torch.zeros_like(raw) if self.before is None else self.before
        stability = torch.nn.functional.cosine_similarity(raw, before, dim=1, eps=1e-300).clamp_min(0)
        strength = norms / self.mean
        g = raw.clone()
        for _ in range(2 * len(g)):
            left = [float(v.norm() / n) if n > 0 else 0.0 for v, n in zip(g, norms, strict=True)]
            pairs = [
                (float(g[i] @ g[j] / g[i].norm() / g[j].norm()), i, j)
                for i in range(len(g))
                for j in range(i + 1, len(g))
                if min(left[i], left[j]) > 1e-3
            ]
            self.narrowest(*(abs(rest - 1e-3) for rest in left if rest > 0))
            self.narrowest(*(abs(c - t) for c, _, _ in pairs for t in self.thresholds))
            if not pairs or min(pairs)[0] >= self.thresholds[2]:
                break
            c, i, j = min(pairs)
            self.narrowest(*(other - c for other, *where in pairs if where != [i, j]), 1 + c)
            share = strength[[i, j]] / strength[[i, j]].sum()
            score = 0.8 * stability[[i, j]] + 0.2 * share
            self.narrowest(abs(float(score[0] - score[1])))
            w, l = (i, j) if score[0] >= score[1] else (j, i)  # noqa: E741
            last = self.winners[-self.window :] if self.window else []
            if len(last) == self.window > 0 and len(set(last)) == 1 and last[0] in (i, j):
                w, l = (j, i) if last[0] == i else (i, j)  # noqa: E741
            self.winners.append(w)
            alpha = self.angle(max(c, -1.0))
            s_w, s_l = math.sin(alpha), math.sin(min(alpha, math.pi / 2))
            g_w, g_l = g[w].clone(), g[l].clone()
            g[w] = g_w - s_w * (g_w @ g_l) / (g_l @ g_l) * g_l
            g[l] = g_l - s_l * (g_w @ g_l) / (g_w @ g_w) * g_w
        self.before = raw
        return g.sum(0)


def test_strengths_at_and_between_the_thresholds() -> None:
    # half way from weak to main the angle is pi/4; half way from main to critical it is pi/2 + pi/2 (1/2)^2 = 5 pi / 8
    assert strengths(-0.25, PAPER, 2.0) == pytest.approx((math.sqrt(0.5), math.sqrt(0.5)))
    assert strengths(-0.65, PAPER, 2.0) == pytest.approx((math.sin(5 * math.pi / 8), 1.0))
    assert strengths(-0.65, PAPER, 1.0) == pytest.approx((math.sqrt(0.5), 1.0))
    assert strengths(-0.5, PAPER, 2.0) == (1.0, 1.0)
    assert strengths(-0.8, PAPER, 2.0) == strengths(-1.0, PAPER, 2.0) == (0.0, 1.0)
    assert strengths(-1e-12, PAPER, 2.0) == pytest.approx((0.0, 0.0), abs=1e-11)


def test_moderate_conflict_by_hand() -> None:
    # g1 = 2 u, g2 = v with cos -0.6. First step: stability 0; r1 = 2 / 1.05 > r2 = 1, so 1 wins. The angle is
    # pi/2 + pi/2 (0.1 / 0.3)^2, s_w = cos(pi / 18). <g1, g2> = -1.2.
    # g1 <- g1 + s_w 1.2 g2 = (2 - 0.72 s_w, 0.96 s_w); g2 <- g2 + 1.2 / 4 g1 = (0, 0.8).
    part = math.cos(math.pi / 18)
    out = GCond(changes=1).aggregate(pair(-0.6, first=2.0))
    assert out.tolist() == pytest.approx([2 - 0.72 * part, 0.8 + 0.96 * part, 0.0])


def test_critical_conflict_leaves_the_winner_by_hand() -> None:
    # cos -0.8: the loser (row 1, the shorter) keeps what is orthogonal to the winner, (0, 0.6) turned and scaled
    balancer = GCond()
    matrix = pair(-0.8, second=5.0)
    out = balancer.aggregate(matrix)
    loser = matrix[0] - (matrix[0] @ matrix[1]) / 25 * matrix[1]
    assert out.tolist() == pytest.approx((matrix[1] + loser).tolist())
    assert balancer.decision is not None
    assert balancer.decision.won.tolist() == [[0, 0], [1, 0]]
    assert balancer.decision.lost.tolist() == [[False, True], [False, False]]


def test_mild_conflict_by_hand_takes_several_changes() -> None:
    # c = -0.25: both lose s = sqrt(1/2) of the part along the other; with unit rows the first change gives
    # (1 + s/4 ...) symmetric rows, whose inner product is c (1 - 2 s + s^2 c^2) > 0: one change is enough.
    s = math.sqrt(0.5)
    matrix = pair(-0.25)
    want = (1 + 0.25 * s) * (matrix[0] + matrix[1])
    assert GCond().aggregate(matrix).tolist() == pytest.approx(want.tolist())
    # c = -0.05: s = sin(0.05 pi) < 1/2, so the product stays below 0 and more changes follow.
    balancer = GCond()
    balancer.aggregate(pair(-0.05))
    assert balancer.decision is not None and int(balancer.decision.won.sum()) == 4  # 2 m


def test_without_conflict_it_is_the_plain_sum_exactly() -> None:
    matrix = rows(5, 30, spread=3).abs()
    balancer = GCond()
    assert torch.equal(balancer.aggregate(matrix), torch.ones(5, dtype=torch.float64) @ matrix)
    assert balancer.decision is not None and balancer.decision.weights.tolist() == [1.0] * 5
    assert not balancer.decision.lost.any()


def test_the_worst_pair_comes_first() -> None:
    # rows 1 and 2 are opposite, row 0 conflicts with row 1 more mildly: one change touches rows 1 and 2 alone
    matrix = torch.tensor([[1.0, 0.0], [-0.3, 1.0], [0.3, -1.1]], dtype=torch.float64)
    balancer = GCond(changes=1)
    balancer.aggregate(matrix)
    assert balancer.decision is not None
    assert balancer.decision.won.sum(1).tolist() == [0, 0, 1]
    assert balancer.decision.lost[0].sum() == 0


@settings(max_examples=200, deadline=None, derandomize=True)
@given(matrices(most=8), st.integers(0, 3))
def test_equals_the_papers_steps_on_rows(matrix: Tensor, window: int) -> None:
    balancer, reference = GCond(window=window), OnRows(window=window)
    noise = torch.Generator().manual_seed(0)
    for _ in range(3):
        size = float(matrix.double().norm(dim=1).sum())
        got, want = balancer.aggregate(matrix), reference.step(matrix)
        if reference.margin < 1e-6:
            return
        allowed = {torch.float64: 1e-7, torch.float32: 1e-5, torch.bfloat16: 2e-2}[matrix.dtype]
        assert (got.double() - want).norm() <= allowed * size
        scale = matrix.double().norm(dim=1, keepdim=True) / math.sqrt(matrix.shape[1])
        matrix = (matrix + 0.5 * scale * torch.randn(matrix.shape, generator=noise, dtype=torch.float64)).to(matrix)


def test_the_comparison_with_the_papers_steps_compares() -> None:
    compared = 0
    for seed in range(40):
        reference = OnRows()
        matrix = rows(5, 12, "conflict" if seed % 2 else "gaussian", spread=3, seed=seed)
        want = reference.step(matrix)
        if reference.margin >= 1e-6 and reference.winners:
            compared += 1
            assert torch.allclose(GCond().aggregate(matrix), want, rtol=0, atol=1e-9 * float(matrix.norm(dim=1).sum()))
    assert compared >= 35


def test_stability_decides_for_the_steady_task() -> None:
    # Both tasks have unit norms in every step, so strength is equal; task 1 keeps its direction, task 0 turns.
    balancer = GCond()
    steady = torch.tensor([-0.6, 0.8, 0.0], dtype=torch.float64)
    for first in ([0.0, 0.0, 1.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]):
        balancer.aggregate(torch.stack([torch.tensor(first, dtype=torch.float64), steady]))
    assert balancer.decision is not None
    assert balancer.decision.stability.tolist() == pytest.approx([0.0, 1.0])
    assert balancer.decision.won.tolist() == [[0, 0], [1, 0]]


def test_to_turn_back_is_no_worse_than_to_turn_aside() -> None:
    # Task 0 turns back (cosine -1), task 1 aside (cosine 0): both score 0 in stability, and task 0 is the louder.
    balancer = GCond()
    balancer.aggregate(torch.tensor([[-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64))
    balancer.aggregate(pair(-0.9, first=2.0))
    assert balancer.decision is not None
    assert balancer.decision.stability.tolist() == pytest.approx([-1.0, 0.0])
    assert balancer.decision.won.tolist() == [[0, 1], [0, 0]]


def test_strength_is_the_norm_over_its_running_mean() -> None:
    # Both turn by 90 degrees, so stability is 0. Task 0 is long but as long as ever; task 1 has grown: it wins.
    turn = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    balancer = GCond()
    for _ in range(100):
        balancer.aggregate(turn * torch.tensor([[100.0], [1.0]]))
    balancer.aggregate(pair(-0.9, first=100.0, second=1.5))
    assert balancer.decision is not None and balancer.decision.won.tolist() == [[0, 0], [1, 0]]


def test_the_running_mean_of_norms_by_hand() -> None:
    balancer = GCond()
    balancer.aggregate(pair(0.0, first=3.0, second=0.5), names=["a", "b"])
    assert balancer.task_state.read("norm", ["a", "b"]).tolist() == pytest.approx([1.1, 0.975])


def test_who_has_won_too_often_loses() -> None:
    balancer = GCond(window=2)
    winners = []
    for _ in range(7):
        balancer.aggregate(pair(-0.9, first=2.0))
        assert balancer.decision is not None
        winners.append(int(balancer.decision.won.sum(1).argmax()))
    assert winners == [0, 0, 1, 0, 0, 1, 0]


def test_a_win_of_another_pair_breaks_the_row() -> None:
    balancer = GCond(window=2)
    ours, other = pair(-0.9, first=2.0), pair(-0.9, first=2.0)
    balancer.aggregate(ours, names=["a", "b"])
    balancer.aggregate(other, names=["c", "d"])
    balancer.aggregate(ours, names=["a", "b"])
    assert balancer.decision is not None and balancer.decision.won.tolist() == [[0, 1], [0, 0]]
    assert balancer.task_state.read("streak", ["a", "b", "c"]).tolist() == [1.0, 0.0, 0.0]


def test_norm_cap_shortens_before_anything_else() -> None:
    matrix = pair(-0.9, first=20.0, second=1.0)
    capped = GCond(norm_cap=0.5, arbitration=(1, 0)).aggregate(matrix)
    want = GCond(arbitration=(1, 0)).aggregate(pair(-0.9, first=0.5, second=0.5))
    assert capped.tolist() == pytest.approx(want.tolist())
    assert torch.equal(GCond(norm_cap=50.0).aggregate(matrix), GCond().aggregate(matrix))
    # Running means 0.95 + 1 and 0.95 + 0.02: r = 20 / 1.95 > 0.4 / 0.97, but shortened 0.5 / 1.95 < 0.4 / 0.97
    for cap, winner in ((None, 0), (0.5, 1)):
        balancer = GCond(norm_cap=cap)
        balancer.aggregate(pair(-0.9, first=20.0, second=0.4))
        assert balancer.decision is not None and int(balancer.decision.won[winner].sum()) == 1


def test_stepped_zones_by_hand() -> None:
    # critical: the loser is gone. moderate: the loser alone, g2 <- (0, 0.8). mild: both fully, as PCGrad.
    assert GCond(zones="stepped").aggregate(pair(-0.9, first=2.0)).tolist() == pytest.approx([2.0, 0.0, 0.0])
    assert GCond(zones="stepped").aggregate(pair(-0.6, first=2.0)).tolist() == pytest.approx([2.0, 0.8, 0.0])
    mild = pair(-0.3, first=2.0)
    stepped = GCond(zones="stepped")
    assert torch.allclose(stepped.aggregate(mild), sw.balance.create("pcgrad").aggregate(mild))
    assert float(stepped.task_state.read("streak", ["0", "1"]).sum()) == 0  # nobody was chosen


def test_previous_resolved_remembers_what_was_made_of_the_gradient() -> None:
    matrix = pair(-0.9, first=2.0)
    kept = {}
    for previous in ("raw", "resolved"):
        balancer = GCond(previous=previous)
        balancer.aggregate(matrix)
        kept[previous] = balancer.row_state.tensors["last"]
    assert torch.equal(kept["raw"], matrix)
    loser = matrix[1] - (matrix[1] @ matrix[0]) / 4 * matrix[0]
    assert torch.allclose(kept["resolved"], torch.stack([matrix[0], loser]))


@pytest.mark.parametrize("order", [["a", "b"], ["b", "a"]])
def test_accumulated_in_any_way_it_decides_as_on_the_sums(order: list[str]) -> None:
    parts = [rows(2, 40, "conflict", seed=s) for s in range(6)]
    total = torch.stack(parts).sum(0)
    want = GCond().aggregate(total, names=["a", "b"])
    together, apart = GCond(accumulate=6), GCond(accumulate=12)
    for part in parts[:-1]:
        assert not together.aggregate(part, names=["a", "b"]).any()
    assert torch.allclose(together.aggregate(parts[-1], names=["a", "b"]), want, rtol=1e-9)
    calls = [(name, part[i : i + 1]) for part in parts for i, name in enumerate(("a", "b"))]
    calls.sort(key=lambda call: order.index(call[0]))
    for name, row in calls[:-1]:
        assert not apart.aggregate(row, names=[name]).any()
    assert torch.allclose(apart.aggregate(calls[-1][1], names=[calls[-1][0]]), want, rtol=1e-9)
    assert apart.decision is not None and set(apart.decision.names) == {"a", "b"}


def test_a_step_begins_with_empty_sums_and_without_absent_tasks() -> None:
    balancer = GCond(accumulate=2)
    first = rows(3, 10, "conflict")
    for _ in range(2):
        balancer.aggregate(first, names=["a", "b", "c"])
    before = balancer.row_state.tensors["last"].clone()
    balancer.aggregate(first[:1], names=["c"])
    out = balancer.aggregate(first[:1], names=["c"])
    assert torch.equal(out, 2 * first[0])
    assert balancer.decision is not None and balancer.decision.names == ("c",)
    assert torch.equal(balancer.row_state.tensors["last"][:2], before[:2])


def test_resumed_within_an_accumulation_it_continues_bit_for_bit() -> None:
    options: dict[str, Any] = {"accumulate": 3, "window": 2, "norm_cap": 5.0}
    whole, first = GCond(**options), GCond(**options)
    for step in range(12):
        if step == 7:
            saved = load(save(first.state_dict()))
            first = GCond(**options)
            first.load_state_dict(saved)
        matrix = rows(3, 20, "conflict", seed=step)
        assert torch.equal(whole.aggregate(matrix), first.aggregate(matrix))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(matrices(most=2))
def test_a_critical_winner_loses_nothing(matrix: Tensor) -> None:
    balancer = GCond()
    out = balancer.aggregate(matrix).double()
    assert balancer.decision is not None
    if len(matrix) == 2 and balancer.decision.cosines[0, 1] <= -0.8 and int(balancer.decision.won.sum()) == 1:
        winner = int(balancer.decision.won.sum(1).argmax())
        row = matrix[winner].double()
        slack = {torch.float64: 1e-9, torch.float32: 1e-5, torch.bfloat16: 2e-2}[matrix.dtype]
        assert float(out @ row) >= float(row @ row) - slack * float(row.norm() * matrix.double().norm(dim=1).sum())


@pytest.mark.parametrize("m", [40, 100])
def test_many_tasks_in_any_order(m: int) -> None:
    matrix = rows(m, 300, "conflict", spread=6)
    order = torch.randperm(m, generator=torch.Generator().manual_seed(0)).tolist()
    names = [str(i) for i in range(m)]
    one, other = GCond(), GCond()
    for _ in range(2):
        got = one.aggregate(matrix, names=names)
        want = other.aggregate(matrix[order], names=[names[i] for i in order])
        assert torch.allclose(got, want, rtol=0, atol=1e-9 * float(matrix.norm(dim=1).sum()))


def test_zero_and_opposite_rows() -> None:
    out = GCond().aggregate(torch.tensor([[0.0, 0.0], [3.0, 4.0], [-6.0, -8.0]]))
    assert out.tolist() == pytest.approx([-6.0, -8.0])  # the longer one wins, nothing is left of the other
    assert not GCond().aggregate(torch.zeros(3, 4)).any()


def test_thresholds_may_move() -> None:
    balancer = GCond(thresholds=(-0.8, -0.5, 0.1))
    assert float((balancer.aggregate(pair(0.05)) - pair(0.05).sum(0)).norm()) > 0
    balancer.thresholds = (-0.8, -0.5, -0.1)
    assert torch.equal(balancer.aggregate(pair(-0.05)), pair(-0.05).sum(0))


def test_a_row_that_is_not_finite_passes_and_nothing_of_it_is_remembered() -> None:
    whole, balancer = GCond(accumulate=2), GCond(accumulate=2)
    matrix = rows(2, 10, "conflict")
    bad = matrix.clone()
    bad[0, 0] = math.inf
    for _ in range(2):
        whole.aggregate(matrix), balancer.aggregate(matrix)
    balancer.aggregate(bad)
    assert not balancer.aggregate(matrix).isfinite().all()
    for _ in range(2):
        want, got = whole.aggregate(matrix), balancer.aggregate(matrix)
    assert torch.equal(got, want)


def test_through_backward_it_tells_observers() -> None:
    x = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    matrix = pair(-0.9, first=2.0)
    balance = sw.backward({"a": matrix[0] @ x, "b": matrix[1] @ x}, GCond(), shared=[x])
    assert x.grad is not None
    assert torch.allclose(x.grad, GCond().aggregate(matrix))
    assert balance.notes["projected"].tolist() == [[False, False], [True, False]]
    assert balance.notes["won"].tolist() == [[0, 1], [0, 0]]


def test_through_backward_with_a_task_a_call() -> None:
    x = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    matrix, balancer = pair(-0.9, first=2.0), GCond(accumulate=2)
    for i, name in enumerate("ab"):
        balance = sw.backward({name: matrix[i] @ x}, balancer, shared=[x])
        assert balance.notes == {}
    assert x.grad is not None
    assert torch.allclose(x.grad, GCond().aggregate(matrix))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"accumulate": 0}, "accumulate must be at least 1 call, got 0"),
        ({"thresholds": (-0.5, -0.8, 0)}, "thresholds must be three cosines"),
        ({"thresholds": (-0.5, 0)}, "thresholds must be three cosines"),
        ({"thresholds": (-1.5, -0.8, 0)}, "thresholds must be three cosines"),
        ({"power": 0.0}, "power must be above 0, got 0"),
        ({"changes": 0}, "changes must be at least 1"),
        ({"arbitration": (0, 0)}, "arbitration must be two weights"),
        ({"arbitration": (1, -1)}, "arbitration must be two weights"),
        ({"arbitration": (1,)}, "arbitration must be two weights"),
        ({"window": -1}, "window must be a number of wins"),
        ({"norm_cap": 0.0}, "norm_cap must be above 0"),
        ({"previous": "last"}, 'previous must be "raw" or "resolved", got "last"'),
        ({"zones": "hard"}, 'zones must be "smooth" or "stepped", got "hard"'),
    ],
)
def test_options_out_of_range(option: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        GCond(**option)


def test_other_parameters_are_refused() -> None:
    balancer = GCond()
    balancer.aggregate(rows(2, 10))
    with pytest.raises(BalanceError, match="the gradient rows have 12 entries, but the balancer remembers rows of 10"):
        balancer.aggregate(rows(2, 12))


def test_without_stability_nothing_is_remembered_of_the_rows() -> None:
    balancer = GCond(arbitration=(0, 1))
    balancer.aggregate(rows(2, 10))
    balancer.aggregate(rows(2, 12))
    assert not [key for key in balancer.state_dict() if key.startswith("row_state")]
