"""OWO-FMTL: prices come to rest at u^-a, move by little, stay in bounds, and remember by name."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sharewise.balance import OWOFMTL, alpha_fairness, create
from sharewise.errors import OptionError

ALPHAS = st.sampled_from([0.5, 1.0, 2.0, 4.0, 16.0])
LOSSES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=12)


def prices(balancer: OWOFMTL) -> torch.Tensor:
    return balancer.notes["prices"]


def test_two_steps_by_hand() -> None:
    # alpha 2, range 1 to 5: both start at v = 3. Losses 1 and 3 are utilities 4 and 2; u / v - 1 = 1/3 and -1/3; so the
    # prices go from 1/9 to exp(-1/30) / 9 and exp(1/30) / 9, and the second step's weights are 2 / (1 + exp(+-1/15)).
    balancer = OWOFMTL(alpha=2.0, ceiling=5.0, u_min=1.0, rate=0.1)
    losses = torch.tensor([1.0, 3.0], dtype=torch.float64)
    assert balancer.weights(losses).tolist() == [1.0, 1.0]
    assert prices(balancer).tolist() == pytest.approx([math.exp(-1 / 30) / 9, math.exp(1 / 30) / 9])
    assert balancer.notes["utilities"].tolist() == [4.0, 2.0]
    second = [2 / (1 + math.exp(1 / 15)), 2 / (1 + math.exp(-1 / 15))]
    assert balancer.weights(losses).tolist() == pytest.approx(second)


def test_additive_step_by_hand() -> None:
    # s = 0.1 * 5^-1 / (5 - 1) = 0.005; w = 1/3, u - v = 4 - 3: 1/3 - 0.005
    balancer = OWOFMTL(alpha=1.0, ceiling=5.0, u_min=1.0, rate=0.1, step="additive")
    balancer.weights(torch.tensor([1.0, 3.0]))
    assert prices(balancer).tolist() == pytest.approx([1 / 3 - 0.005, 1 / 3 + 0.005])


@pytest.mark.parametrize(
    ("step", "alpha"),
    [*(("multiplicative", a) for a in (0.5, 1.0, 2.0, 4.0, 16.0)), *(("additive", a) for a in (0.5, 1.0, 2.0))],
)
def test_prices_rest_at_the_fair_ones(step: str, alpha: float) -> None:
    balancer = OWOFMTL(alpha=alpha, rate=0.5, step=step)
    for _ in range(4000):
        weights = balancer.weights(torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64))
    fair = torch.tensor([5.0, 4.0, 2.0], dtype=torch.float64) ** -alpha
    assert torch.allclose(prices(balancer), fair, rtol=1e-3)
    assert torch.allclose(weights, 3 * fair / fair.sum(), rtol=1e-3)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(LOSSES, ALPHAS, st.floats(0.01, 0.5), st.sampled_from(["multiplicative", "additive"]), st.integers(1, 5))
def test_small_moves_within_bounds(losses: list[float], alpha: float, rate: float, step: str, steps: int) -> None:
    balancer = OWOFMTL(alpha=alpha, rate=rate, step=step)
    values, before = torch.tensor(losses, dtype=torch.float64), None
    for _ in range(steps):
        weights = balancer.weights(values)
        assert float(weights.sum()) == pytest.approx(len(losses)) and bool((weights >= 0).all())
        now = prices(balancer)
        assert bool((now >= 6.0**-alpha * (1 - 1e-9)).all()) and bool((now <= 0.5**-alpha * (1 + 1e-9)).all())
        if before is not None:
            assert bool(((now / before).log().abs() <= -math.log1p(-rate) + 1e-9).all())
        before = now


def test_alpha_zero_is_equal_weighting() -> None:
    balancer = OWOFMTL(alpha=0.0)
    for losses in ([1.0, 5.0], [0.0, 3.0]):
        assert balancer.weights(torch.tensor(losses)).tolist() == [1.0, 1.0]


def test_it_is_the_past_that_counts() -> None:
    balancer = OWOFMTL(alpha=4.0)
    for _ in range(200):
        balancer.weights(torch.tensor([1.0, 4.0]))
    low, high = balancer.weights(torch.tensor([4.0, 1.0])).tolist()  # this step alone would favour the first
    assert high > 2 * low


def test_absent_joining_and_reset() -> None:
    balancer = OWOFMTL(alpha=2.0)
    for _ in range(50):
        balancer.weights(torch.tensor([1.0, 4.0]), names=["a", "b"])
    kept = balancer.task_state.read("log_price", ["a", "b"])
    joined = balancer.weights(torch.tensor([1.0, 4.0, 2.0], dtype=torch.float64), names=["a", "b", "new"])
    assert float(joined[2]) == pytest.approx(float((joined[0] * joined[1]).sqrt()))
    balancer.weights(torch.tensor([2.0]), names=["new"])
    later = balancer.task_state.read("log_price", ["a", "b"])
    assert not torch.equal(kept, later)
    balancer.weights(torch.tensor([2.0]), names=["new"])
    assert torch.equal(balancer.task_state.read("log_price", ["a", "b"]), later)
    balancer.reset()
    assert balancer.weights(torch.tensor([1.0, 4.0]), names=["a", "b"]).tolist() == [1.0, 1.0]


def test_a_loss_that_is_not_a_number_leaves_its_price() -> None:
    balancer = OWOFMTL()
    balancer.weights(torch.tensor([1.0, 4.0]))
    before = prices(balancer)
    balancer.weights(torch.tensor([math.nan, math.inf]))
    after = prices(balancer)
    assert after[0] == before[0] and after[1] > before[1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"alpha": -1.0}, "alpha must be between 0 and 64"),
        ({"alpha": math.inf}, "say 16, stands for max-min"),
        ({"u_min": 0.0}, "0 < u_min < u_max"),
        ({"ceiling": 0.4}, "0 < u_min < u_max"),
        ({"rate": 1.0}, "rate is the largest relative move"),
        ({"step": "mirror"}, '"mirror" is not known'),
    ],
)
def test_wrong_options(options: dict, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        create("owo_fmtl", **options)


def test_alpha_fairness_by_hand() -> None:
    u = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    # (u - 1) summed; logs of 1, 2, 4; 1 - 1 / u summed; the smallest
    for alpha, value in ((0.0, 4.0), (1.0, 3 * math.log(2)), (2.0, 1.25), (math.inf, 1.0)):
        assert float(alpha_fairness(u, alpha)) == pytest.approx(value)
    assert float(alpha_fairness(u, 1 + 1e-9)) == pytest.approx(3 * math.log(2))
    with pytest.raises(OptionError, match="positive utilities"):
        alpha_fairness(torch.tensor([0.0, 1.0]), 2.0)
    with pytest.raises(OptionError, match="alpha must be"):
        alpha_fairness(u, -1.0)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.floats(0.5, 6.0), min_size=2, max_size=6), ALPHAS)
def test_prices_are_the_gradient_of_fairness(u: list[float], alpha: float) -> None:
    x = torch.tensor(u, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(alpha_fairness(x, alpha), x)
    assert torch.allclose(slope, x.detach() ** -alpha)
