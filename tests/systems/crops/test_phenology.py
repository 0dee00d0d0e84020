"""The stage machine against days computed by hand, and its one promise: no stage goes backwards."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sharewise.systems.crops import GDDPhenology, backward_share
from sharewise.systems.crops._process import run

STOCK = GDDPhenology.box.stock


def season(warmth: float, days: int, light: float = 15.0, theta: torch.Tensor = STOCK) -> torch.Tensor:
    """Stages of a season with the same weather every day, ``[days]``."""
    temperature = torch.full((1, days, 1), warmth, dtype=torch.float64)
    output = run(GDDPhenology(), temperature, torch.full_like(temperature, light), theta.expand(1, days, 1, len(theta)))
    return output[0, :, 0]


def first(stages: torch.Tensor, stage: int) -> int:
    """The day, counted from 1, on which ``stage`` is first reached."""
    return int((stages >= stage).nonzero()[0]) + 1


def test_days_by_hand() -> None:
    # 18.19 C over a base of 8.19 C gives 10 degree days a day.
    # Budbreak: 107 degree days, on day 11, with a stage of 110/107 = 1.0280.
    # Bloom: 0.9720 * 223 / 10 = 21.7, so 22 days later, at 1.0280 + 220/223 = 2.0146.
    # Veraison: 0.9854 * 659 / 10 = 64.9, so 65 days later, at 2.0146 + 650/659 = 3.0009.
    # Ripe: 0.9991 * 581 / 10 = 58.05, so 59 days later.
    stages = season(18.19, 200)
    assert [first(stages, k) for k in (1, 2, 3, 4)] == [11, 33, 98, 157]
    assert stages[:10].eq(0).all()


def test_budbreak_comes_on_the_day_the_heat_is_complete() -> None:
    process = GDDPhenology()
    theta = STOCK.clone()
    theta[2] = 100
    warm = torch.tensor([18.19], dtype=torch.float64)
    state = process.start(warm)
    for day in range(1, 12):
        state = process.step(state, warm, warm, theta[None])
        assert state[1].item() == pytest.approx(min(10 * day, 100))
        assert state[2].item() == (day >= 10)


def test_heat_is_limited_and_never_negative() -> None:
    # 8.19 + 25 C and more all give the ceiling of 25 degree days: 5 days to 107, with 125.
    assert first(season(60.0, 20), 1) == first(season(33.19, 20), 1) == 5
    assert season(-20.0, 50).eq(0).all()
    assert season(8.19, 50).eq(0).all()


def test_short_days_end_the_season_from_veraison_on() -> None:
    process = GDDPhenology()
    theta = STOCK.expand(1, -1)
    warm, short = torch.tensor([18.19], dtype=torch.float64), torch.tensor([12.7], dtype=torch.float64)
    state = process.start(warm)
    for expected in [0.0] * 10 + [1.0] * 22 + [2.0] * 65:
        state = process.step(state, warm, short, theta)
        assert state[2].item() == expected
    state = process.step(state, warm, short, theta)
    assert state[2].item() == 3
    state = process.step(state, warm, short, theta)
    assert state[2].item() == 5
    state = process.step(state, warm, short + 5, theta)
    assert state[2].item() == 5, "endodormancy does not end within a season"


def test_straight_through_floor() -> None:
    level = torch.tensor([0.2, 1.9, 3.0], requires_grad=True)
    output = GDDPhenology().output(level)
    assert output.tolist() == [0, 1, 3]
    output.sum().backward()
    assert level.grad is not None and level.grad.tolist() == [1, 1, 1]


def test_gradient_by_hand() -> None:
    # Before budbreak the level is sum(TEMP - TBASEM) / TSUMEM: after 5 days of 10 degree days at TSUMEM 100
    # its slopes are -5/100 to TBASEM and -50/100^2 to TSUMEM, spread evenly over the days.
    theta = STOCK.clone()
    theta[2] = 100
    daily = theta.repeat(1, 5, 1, 1).requires_grad_()
    temperature = torch.full((1, 5, 1), 18.19, dtype=torch.float64)
    run(GDDPhenology(), temperature, temperature, daily)[0, -1, 0].backward()
    assert daily.grad is not None
    torch.testing.assert_close(daily.grad[0, :, 0, 0], torch.full((5,), -0.01, dtype=torch.float64), rtol=1e-9, atol=0)
    torch.testing.assert_close(daily.grad[0, :, 0, 2], torch.full((5,), -0.001, dtype=torch.float64), rtol=1e-9, atol=0)
    assert daily.grad[0, :, 0, [1, 3, 4, 5, 6]].eq(0).all()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), sharpness=st.sampled_from([0.1, 1.0, 10.0]), shift=st.floats(-15, 25))
def test_no_parameter_sequence_moves_a_stage_backwards(seed: int, sharpness: float, shift: float) -> None:
    random = torch.Generator().manual_seed(seed)
    days = 120
    raw = sharpness * torch.randn(1, days, 3, 7, generator=random)
    temperature = shift + 12 * torch.randn(1, days, 3, generator=random)
    light = 8 + 8 * torch.rand(1, days, 3, generator=random)
    output = run(GDDPhenology(), temperature, light, GDDPhenology.box.cast(raw))
    assert (output.diff(dim=1) >= 0).all()
    assert backward_share(output[0].T.numpy()) == 0
