"""ExcessMTL: weight goes to the tasks that are still far from their optimum."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor
from torchjd.aggregation import ExcessMTL

from helpers.matrices import matrices, rows
from sharewise.balance import create
from sharewise.errors import OptionError


def test_value_by_hand() -> None:
    # Step 1: e = 9 / 3 + 16 / 4 = 7 and 1 / 1 = 1, the yardsticks; weights stay 1.
    balancer = create("excess_mtl", eta=0.7)
    first = balancer.aggregate(torch.tensor([[3.0, 4.0], [1.0, 0.0]], dtype=torch.float64))
    assert first.tolist() == pytest.approx([4.0, 4.0])
    # Step 2: a = (9 + 16, 16 + 9) -> e = 16 / 5 + 9 / 5 = 5, that is 5/7 of the start; a = (1, 4) -> e = 4 / 2 = 2.
    second = balancer.aggregate(torch.tensor([[4.0, 3.0], [0.0, 2.0]], dtype=torch.float64))
    a, b = math.exp(0.7 * 5 / 7), math.exp(0.7 * 2)
    a, b = 2 * a / (a + b), 2 * b / (a + b)
    assert balancer.notes["weights"].tolist() == pytest.approx([a, b])
    assert second.tolist() == pytest.approx([4 * a, 3 * a + 2 * b])


@settings(max_examples=40, deadline=None, derandomize=True)
@given(matrix=matrices())
def test_weights_are_positive_and_sum_to_m(matrix: Tensor) -> None:
    balancer = create("excess_mtl")
    for step in range(4):
        balancer.aggregate(matrix * (1 + step % 3))
        weights = balancer.notes["weights"]
        assert float(weights.sum()) == pytest.approx(len(matrix))
        assert float(weights.min()) > 0


def test_weight_goes_to_the_task_that_does_not_converge() -> None:
    balancer = create("excess_mtl", eta=0.1)
    matrix, last = rows(3, 40), 1.0
    for step in range(1, 30):
        matrix[0] *= 0.7  # on its way
        matrix[2] = rows(1, 40, seed=step)[0]  # as far as ever
        balancer.aggregate(matrix)
        weights = balancer.notes["weights"]
        if step > 3:
            assert float(weights[2]) > last
            assert float(weights[0]) == float(weights.min())
        last = float(weights[2])


@pytest.mark.parametrize("m", [2, 5, 20])
def test_parity_with_torchjd(m: int) -> None:
    # TorchJD multiplies raw values at its first step unless that is a warm-up; its weights sum to 1.
    ours, theirs = create("excess_mtl", eta=0.3), ExcessMTL(robust_step_size=0.3, n_warmup_steps=1)
    for step in range(8):
        matrix = rows(m, 60, "conflict", spread=1, seed=step)
        a, b = ours.aggregate(matrix), theirs(matrix)
        assert float(torch.cosine_similarity(a, b, dim=0)) >= 1 - 1e-5
        assert torch.allclose(a, m * b, rtol=1e-3, atol=1e-3 * float(a.abs().max()))


def test_units_of_a_loss_do_not_matter() -> None:
    # TorchJD's epsilon beneath the root rules where gradients are small: weights then depend on the units.
    def weights(scale: float) -> tuple[Tensor, Tensor]:
        ours, theirs = create("excess_mtl", eta=1.0), ExcessMTL(robust_step_size=1.0, n_warmup_steps=1)
        for step in range(3):
            matrix = rows(2, 60, seed=step)
            matrix[0] *= scale
            ours.aggregate(matrix)
            theirs_now = theirs.weighting(matrix)
        return ours.notes["weights"] / 2, theirs_now

    plain, small = weights(1.0), weights(1e-6)
    assert torch.allclose(plain[0], small[0], rtol=1e-9)
    assert float((plain[1] - small[1]).abs().max()) > 0.01


def test_a_yardstick_of_several_steps() -> None:
    # e = 2 and 2 while warm (a = 4 -> 4 / 2; a = 16 -> 12 / 4 = 3): the yardstick is (2 + 3) / 2.
    balancer = create("excess_mtl", warmup=2)
    for value in (2.0, 12**0.5, 1.0):
        balancer.aggregate(torch.tensor([[value]], dtype=torch.float64), names="a")
    assert balancer.task_state.read("start", "a").tolist() == pytest.approx([2.5])


def test_a_task_without_gradient_waits_for_its_yardstick() -> None:
    balancer = create("excess_mtl")
    matrix = rows(2, 10)
    for row in (torch.zeros(10, dtype=torch.float64), matrix[1], matrix[1]):
        balancer.aggregate(torch.stack([matrix[0], row]))
        assert bool(balancer.notes["weights"].isfinite().all())
    assert float(balancer.task_state.read("start", ["1"])) == pytest.approx(float(matrix[1].abs().sum()))


def test_an_absent_task_keeps_its_weight() -> None:
    balancer = create("excess_mtl", eta=0.5)
    for step in range(4):
        balancer.aggregate(rows(3, 30, seed=step), names="abc")
    before = balancer.task_state.read("log_weight", "abc")
    for step in range(4):
        balancer.aggregate(rows(2, 30, seed=step), names="ca")
    after = balancer.task_state.read("log_weight", "abc")
    assert after[1] == before[1]
    assert float(after.exp().sum()) == pytest.approx(3.0)
    assert not torch.allclose(after, before)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"eta": 0.0}, "eta must be a positive number"), ({"warmup": 0}, "warmup must be a whole number of steps >= 1")],
)
def test_options_outside_their_range(options: dict[str, float], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        create("excess_mtl", **options)


def test_plain_squares_give_what_the_safe_way_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, safe = create("excess_mtl"), create("excess_mtl")
    for step, scale in enumerate((1.0, 1e-3, 1e30, 1e-30, 1.0)):
        matrix = rows(3, 50, seed=step).float() * scale
        got = plain.aggregate(matrix)
        with monkeypatch.context() as patch:
            patch.setattr("sharewise.balance._excess_mtl._squares_fit", lambda _: False)
            assert torch.allclose(got, safe.aggregate(matrix), rtol=1e-5), scale
