"""GradVac: hand-calculated values, the algorithm itself on rows, agreement with the peer, and the targets it keeps."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import Tensor
from torchjd.aggregation import GradVac as Peer

from helpers.matrices import matrices, rows
from sharewise.balance import GradVac, create
from sharewise.balance._gram import gram_matrix
from sharewise.errors import OptionError

PAIR = torch.tensor([[1.0, 0.0], [-3.0, 4.0]], dtype=torch.float64)  # cosine -0.6


def target(balancer: GradVac, one: str, other: str) -> float:
    return float(balancer.task_state.read("target", [one, other])[0, 1])


def aim_at(balancer: GradVac, targets: list[list[float]]) -> None:
    names = [str(i) for i in range(len(targets))]
    balancer.task_state.write("target", names, torch.tensor(targets, dtype=torch.float64))


def on_rows(matrix: Tensor, targets: Tensor, order: Tensor, beta: float, longest: float) -> Tensor:
    """Algorithm 1 of Wang et al. (2021) on the rows, with the bound on the length; moves ``targets`` in place."""
    g = matrix.double()
    total = torch.zeros(g.shape[1], dtype=torch.float64)
    for i in range(len(g)):
        v = g[i].clone()
        for j in order[i].tolist():
            length, other = float(v.norm()), float(g[j].norm())
            if other == 0 or length <= 1e-6 * float(g[i].norm()):
                continue
            phi, goal = max(-1.0, min(1.0, float(v @ g[j]) / length / other)), float(targets[i, j])
            sine, goal_sine = math.sqrt(1 - phi**2), max(math.sqrt(1 - goal**2), 1e-8)
            if phi < goal:
                a = length * (goal * sine - phi * goal_sine) / goal_sine
                v += min(a, longest * float(g[i].norm()) - length) * g[j] / other
            targets[i, j] += beta * (phi - goal)
        total += v
    return total


def test_two_conflicting_rows_by_hand() -> None:
    # At the first step targets are 0, so as PCGrad: v1 = g1 + 3/25 g2 = (0.64, 0.48), v2 = g2 + 3 g1 = (0, 4).
    balancer = create("gradvac", beta=0.5)
    assert balancer.aggregate(PAIR).tolist() == pytest.approx([0.64, 4.48])
    # Both cosines were -0.6, half of which is now the target: nothing is done at the second step.
    assert target(balancer, "0", "1") == pytest.approx(-0.3)
    # Now -0.6 < -0.3: a = (-0.3 * 0.8 + 0.6 s) / s with s = sqrt(1 - 0.09), times |g1| for v1 and |g2| for v2, along
    # the other unit row.
    s = math.sqrt(0.91)
    a = (-0.3 * 0.8 + 0.6 * s) / s
    want = [1 - 0.6 * a - 3 + 5 * a, 0.8 * a + 4]
    assert balancer.aggregate(PAIR).tolist() == pytest.approx(want)
    assert target(balancer, "0", "1") == pytest.approx(-0.45)


def test_orthogonal_rows_are_summed() -> None:
    balancer = create("gradvac")
    for _ in range(3):
        assert balancer.aggregate(torch.eye(4)).tolist() == [1.0, 1.0, 1.0, 1.0]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(0, 1000), st.floats(-0.99, 0.99), st.sampled_from([-6.0, 0.0, 6.0]))
def test_a_pair_reaches_its_target_if_it_is_above_the_cosine(seed: int, goal: float, exponent: float) -> None:
    matrix = rows(2, 5, seed=seed) * torch.tensor([[1.0], [10.0**exponent]], dtype=torch.float64)
    balancer = create("gradvac")
    aim_at(balancer, [[0.0, goal], [-1.0, 0.0]])  # only the first is turned
    weights = balancer.weights(matrix @ matrix.T)
    turned = weights[0] * matrix[0] + (weights[1] - 1) * matrix[1]
    before, after = (float(torch.cosine_similarity(v, matrix[1], dim=0)) for v in (matrix[0], turned))
    assert after == pytest.approx(max(before, goal), abs=1e-7)
    assert balancer.notes["projected"].tolist() == [[False, before < goal], [False, False]]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(matrices(), st.sampled_from([0.0, 0.3, 1.0]), st.booleans())
def test_equals_the_algorithm_on_rows_over_several_steps(matrix: Tensor, beta: float, shuffle: bool) -> None:
    balancer, twin = (create("gradvac", beta=beta, shuffle=shuffle, seed=3) for _ in range(2))
    targets = torch.zeros(len(matrix), len(matrix), dtype=torch.float64)
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        # Dependent rows leave vectors that are all rounding; noise in m more columns makes them independent.
        noise = torch.randn(len(matrix), len(matrix), generator=generator, dtype=torch.float64)
        noisy = torch.cat([matrix.double(), matrix.double().norm(dim=1, keepdim=True) * noise], dim=1)
        want = on_rows(noisy, targets, twin._order(len(matrix)), beta, 10.0)
        got = balancer.weights(noisy @ noisy.T) @ noisy
        assert float((got - want).norm()) <= 1e-5 * float(noisy.norm(dim=1).sum())


@settings(max_examples=60, deadline=None, derandomize=True)
@given(matrices())
def test_with_targets_of_zero_it_is_pcgrad(matrix: Tensor) -> None:
    gram = gram_matrix([matrix])
    ours, pcgrad = create("gradvac", beta=0.0, seed=5).weights(gram), create("pcgrad", seed=5).weights(gram)
    size = gram.diagonal().sqrt()
    assert float(((ours - pcgrad) * size).abs().max()) <= 1e-6 * float(size.sum())


@pytest.mark.parametrize("m", [2, 5, 20])
@pytest.mark.parametrize("shape", ["gaussian", "conflict"])
def test_agrees_with_the_peer_over_steps_in_the_same_orders(
    m: int, shape: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, peer = create("gradvac", beta=0.5), Peer(beta=0.5)
    others = torch.tensor([[j for j in range(m) if j != i] for i in range(m)])
    for step in range(4):
        matrix = rows(m, 40, shape, spread=1, seed=step)
        torch.manual_seed(step)
        theirs = peer(matrix)
        torch.manual_seed(step)
        order = torch.stack([others[i, torch.randperm(m - 1)] for i in range(m)])
        monkeypatch.setattr(ours, "_order", lambda count, order=order: order)
        assert float(torch.cosine_similarity(ours.aggregate(matrix), theirs, dim=0)) >= 1 - 1e-5


def test_targets_near_one_do_not_blow_up() -> None:
    # The tasks were one for a long time; now all gradients are at right angles to each other.
    m = 40
    balancer = create("gradvac")
    aim_at(balancer, torch.ones(m, m).tolist())
    direction = balancer.aggregate(torch.eye(m, dtype=torch.float64))
    # Each v, of a row of norm 1, is at most 10 long.
    assert 10 < float(direction.norm()) <= 10 * m
    free = create("gradvac", longest=math.inf)
    aim_at(free, (0.9 * torch.ones(m, m)).tolist())
    assert float(free.aggregate(torch.eye(m, dtype=torch.float64)).norm()) > 1e10


def test_pairs_without_an_angle_are_left_alone() -> None:
    balancer = create("gradvac", beta=0.5)
    aim_at(balancer, [[0.7, 0.7], [0.7, 0.7]])
    matrix = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    assert balancer.aggregate(matrix).tolist() == [3.0, 4.0]
    assert target(balancer, "0", "1") == target(balancer, "1", "0") == pytest.approx(0.7)


def test_opposite_rows_cancel() -> None:
    for norm in (1.0, 1e6):
        matrix = torch.tensor([[3.0, 4.0], [-3.0 * norm, -4.0 * norm]], dtype=torch.float64)
        assert float(create("gradvac").aggregate(matrix).norm()) <= 1e-6 * norm


def test_a_task_that_is_absent_keeps_its_targets() -> None:
    balancer = create("gradvac", beta=0.5)
    balancer.aggregate(PAIR, names=["a", "b"])
    before = target(balancer, "a", "b")
    third = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    balancer.aggregate(torch.cat([PAIR[:1], third]), names=["a", "c"])
    assert target(balancer, "a", "b") == before == pytest.approx(-0.3)
    assert target(balancer, "a", "c") == pytest.approx(0.5 / math.sqrt(5))
    assert target(balancer, "b", "c") == 0.0


def test_resumed_it_continues_bit_for_bit_with_its_targets() -> None:
    whole, first = create("gradvac", beta=0.3), create("gradvac", beta=0.3)
    for step in range(6):
        if step == 3:
            saved, first = load(save(first.state_dict())), create("gradvac", beta=0.3, seed=9)
            first.load_state_dict(saved)
        matrix = rows(5, 20, "conflict", seed=step)
        assert torch.equal(whole.aggregate(matrix), first.aggregate(matrix))
    assert bool(whole.task_state.tensors["target"].any())


def test_an_overflow_is_passed_on_and_spares_the_targets() -> None:
    balancer = create("gradvac", beta=0.5)
    balancer.aggregate(PAIR)
    for i, j, value in ((0, 0, math.inf), (0, 1, math.nan)):
        broken = PAIR @ PAIR.T
        broken[i, j] = broken[j, i] = value
        assert bool(balancer.weights(broken).isnan().any())
    assert target(balancer, "0", "1") == target(balancer, "1", "0") == pytest.approx(-0.3)


def test_orders() -> None:
    assert create("gradvac", shuffle=False)._order(3).tolist() == [[1, 2], [0, 2], [0, 1]]
    drawn = create("gradvac")._order(20)
    assert drawn.shape == (20, 19)
    assert all(sorted([*row, i]) == list(range(20)) for i, row in enumerate(drawn.tolist()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": 1.5}, "beta must be between 0 and 1, got 1.5"),
        ({"beta": math.nan}, "beta must be between 0 and 1"),
        ({"longest": 0.5}, "longest must be at least 1, got 0.5"),
    ],
)
def test_options_out_of_range(options: dict, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        create("gradvac", **options)
