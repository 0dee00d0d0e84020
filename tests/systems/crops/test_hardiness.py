"""Ferguson's model against values computed by hand, and its bounds."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sharewise.systems.crops import FergusonHardiness, lte10, lte90
from sharewise.systems.crops._process import run

STOCK = FergusonHardiness.box.stock


def step(process: FergusonHardiness, state: list[float], warmth: float, theta: torch.Tensor = STOCK) -> list[float]:
    new = process.step(
        tuple(torch.tensor([s], dtype=torch.float64) for s in state),
        torch.tensor([warmth], dtype=torch.float64),
        torch.tensor([12.0], dtype=torch.float64),
        theta[None],
    )
    return [s.item() for s in new]


def test_cooling_day_by_hand() -> None:
    # 4 C is 10 below TENDO = 14; the place in the range is (-11.8 + 25.7) / 24.5 = 0.567347;
    # A = -10 * 0.10 * 0.567347, and chilling grows by 4 - 10.
    new = step(FergusonHardiness(), [-11.8, 0, 0, 0], 4.0)
    assert new == pytest.approx([-11.8 - 0.5673469, -6, -10, 0], abs=1e-6)


def test_heating_needs_an_earlier_cooling_day() -> None:
    assert step(FergusonHardiness(), [-11.8, 0, 0, 0], 20.0)[0] == -11.8
    # D = 6 * 0.10 * (1 - 0.567347), exponent 1 in endodormancy.
    assert step(FergusonHardiness(), [-11.8, 0, -1, 0], 20.0)[0] == pytest.approx(-11.8 + 0.2595918, abs=1e-6)


def test_ecodormant_day_by_hand() -> None:
    # TECO = 3: 5 degrees of heating, exponent 7: 0.567347^7 = 0.0189212; D = 5 * 0.08 * 0.9810788.
    new = step(FergusonHardiness(), [-11.8, -700, -1, 1], 8.0)
    assert new[0] == pytest.approx(-11.8 + 0.3924315, abs=1e-6)
    assert new[3] == 1


def test_dormancy_changes_at_its_bound() -> None:
    assert step(FergusonHardiness(), [-11.8, -594.5, -1, 0], 5.0)[3] == 0
    assert step(FergusonHardiness(), [-11.8, -595.0, -1, 0], 5.0)[3] == 1


def test_official_clamp_loses_the_lower_bound() -> None:
    # Day-to-day parameters may put HCMAX above the hardiness reached so far.
    theta = STOCK.clone()
    theta[1] = -20.0
    assert step(FergusonHardiness(), [-24.0, 0, -1, 0], 14.0, theta)[0] == -20.0
    assert step(FergusonHardiness(official_clamp=True), [-24.0, 0, -1, 0], 14.0, theta)[0] == -24.0
    # The upper bound holds either way.
    for process in (FergusonHardiness(), FergusonHardiness(official_clamp=True)):
        assert step(process, [-0.5, 0, -1, 0], 14.0)[0] == -1.2


def test_other_lethal_temperatures() -> None:
    assert lte10(torch.tensor(-20.0)).item() == pytest.approx(-18.511)
    assert lte90(torch.tensor(-20.0)).item() == pytest.approx(-21.178)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), sharpness=st.sampled_from([0.1, 1.0, 10.0]))
def test_bounds_hold_for_every_parameter_sequence(seed: int, sharpness: float) -> None:
    random = torch.Generator().manual_seed(seed)
    box = FergusonHardiness.box
    theta = box.cast(sharpness * torch.randn(1, 90, 3, len(box), generator=random, dtype=torch.float64))
    temperature = 5 + 12 * torch.randn(1, 90, 3, generator=random, dtype=torch.float64)
    output = run(FergusonHardiness(), temperature, temperature, theta)
    assert (output >= theta[..., 1]).all() and (output <= theta[..., 0]).all()


def test_exact_gradient_of_a_season() -> None:
    random = torch.Generator().manual_seed(1)
    box = FergusonHardiness.box
    raw = torch.randn(1, 12, 2, len(box), generator=random, dtype=torch.float64).requires_grad_()
    temperature = 5 + 8 * torch.randn(1, 12, 2, generator=random, dtype=torch.float64)

    def output(raw: torch.Tensor) -> torch.Tensor:
        return run(FergusonHardiness(), temperature, temperature, box.cast(raw))

    assert torch.autograd.gradcheck(output, raw, eps=1e-6, atol=1e-6)
