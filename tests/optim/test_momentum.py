"""Momentum before the optimizer: hand-calculated values, absences, resume, wrong input."""

from __future__ import annotations

import math

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from sharewise.errors import ModelError, OptionError
from sharewise.optim import GradientMomentum


def parameter(*values: float, grad: list[float] | None = None) -> Tensor:
    p = nn.Parameter(torch.tensor(values, dtype=torch.float64))
    p.grad = None if grad is None else torch.tensor(grad, dtype=torch.float64)
    return p


def feed(momentum: GradientMomentum, p: Tensor, *grad: float) -> list[float]:
    p.grad = torch.tensor(grad, dtype=p.dtype)
    momentum.apply()
    return p.grad.tolist()


def test_three_steps_by_hand() -> None:
    # beta = 1/2: m1 = 4/2 = 2, over 1 - 1/2: 4. m2 = 1 + 1/2 = 3/2, over 3/4: 2. m3 = 3/4 - 4 = -13/4, over 7/8: -26/7
    p = parameter(0.0)
    momentum = GradientMomentum([p], beta=0.5)
    assert feed(momentum, p, 4.0) == pytest.approx([4.0])
    assert feed(momentum, p, 1.0) == pytest.approx([2.0])
    assert feed(momentum, p, -8.0) == pytest.approx([-26 / 7])


def test_beta_0_changes_nothing() -> None:
    p = parameter(0.0, 1.0)
    momentum = GradientMomentum([p], beta=0.0)
    for gradient in ((1.0, 2.0), (-3.0, 0.5)):
        assert feed(momentum, p, *gradient) == list(gradient)


def test_the_mean_of_a_constant_gradient_is_the_gradient() -> None:
    p = parameter(0.0, 0.0)
    momentum = GradientMomentum([p])
    for _ in range(20):
        assert feed(momentum, p, 3.0, -1.0) == pytest.approx([3.0, -1.0])


def test_lion_by_hand() -> None:
    # |p| = 5, u = (0, -2) with norm 2: ratio 5/2; with clip 2 it is 2
    p = parameter(3.0, 4.0)
    assert feed(GradientMomentum([p], form="lion", coefficient=0.1), p, 0.0, -2.0) == pytest.approx([0.0, -0.25])
    assert feed(GradientMomentum([p], form="lion", coefficient=0.1, clip=2.0), p, 0.0, -2.0) == pytest.approx(
        [0.0, -0.2]
    )


@pytest.mark.parametrize(("values", "gradient"), [((0.0, 0.0), (1.0, -1.0)), ((1.0, 2.0), (0.0, 0.0))])
def test_lion_without_a_norm_takes_the_ratio_1(values: tuple[float, float], gradient: tuple[float, float]) -> None:
    p = parameter(*values)
    want = [0.1 * math.copysign(1, g) if g else 0.0 for g in gradient]
    assert feed(GradientMomentum([p], form="lion", coefficient=0.1), p, *gradient) == pytest.approx(want)


def test_lion_is_one_ratio_a_parameter() -> None:
    first, second = parameter(3.0, 4.0, grad=[1.0, 0.0]), parameter(6.0, grad=[-2.0])
    GradientMomentum([first, second], form="lion", coefficient=1.0).apply()
    assert first.grad is not None and second.grad is not None
    assert first.grad.tolist() == pytest.approx([5.0, 0.0])
    assert second.grad.tolist() == pytest.approx([-3.0])


def test_a_parameter_without_gradient_keeps_its_mean_and_its_step() -> None:
    p, absent = parameter(0.0), parameter(0.0)
    momentum = GradientMomentum([p, absent], beta=0.5)
    absent.grad = torch.tensor([4.0], dtype=torch.float64)
    feed(momentum, p, 1.0)
    absent.grad = None
    feed(momentum, p, 1.0)
    assert absent.grad is None
    absent.grad = torch.tensor([1.0], dtype=torch.float64)
    feed(momentum, p, 1.0)
    assert absent.grad.tolist() == pytest.approx([2.0])  # its second step, as in the test by hand


def test_a_gradient_that_is_not_finite_passes_and_is_not_remembered() -> None:
    p = parameter(0.0)
    momentum = GradientMomentum([p], beta=0.5)
    feed(momentum, p, 4.0)
    assert math.isinf(feed(momentum, p, math.inf)[0])
    assert feed(momentum, p, 1.0) == pytest.approx([2.0])


def test_half_precision_keeps_its_mean_in_float32() -> None:
    p = nn.Parameter(torch.zeros(1, dtype=torch.bfloat16))
    momentum = GradientMomentum([p], beta=0.999)
    for _ in range(400):
        p.grad = torch.full((1,), 1.0, dtype=torch.bfloat16)
        momentum.apply()
    assert momentum.state_dict()["mean.0"].dtype == torch.float32
    assert momentum.state_dict()["mean.0"].item() == pytest.approx(1 - 0.999**400, rel=1e-4)
    assert p.grad is not None and p.grad.dtype == torch.bfloat16 and p.grad.item() == 1.0


def test_resumed_it_continues_bit_for_bit() -> None:
    whole, halves = parameter(1.0, 2.0), parameter(1.0, 2.0)
    first, second = GradientMomentum([whole], form="lion"), GradientMomentum([halves], form="lion")
    draws = torch.randn(6, 2, generator=torch.Generator().manual_seed(0)).tolist()
    for step, gradient in enumerate(draws):
        if step == 3:
            saved = load(save(second.state_dict()))
            second = GradientMomentum([halves], form="lion")
            second.load_state_dict(saved)
        assert feed(first, whole, *gradient) == feed(second, halves, *gradient)


def test_the_saved_state_does_not_move_on() -> None:
    p = parameter(0.0)
    momentum = GradientMomentum([p])
    feed(momentum, p, 1.0)
    saved = momentum.state_dict()
    before = saved["mean.0"].clone()
    feed(momentum, p, 5.0)
    assert torch.equal(saved["mean.0"], before)


def test_wrong_input() -> None:
    p = parameter(0.0)
    with pytest.raises(ModelError, match=r"no parameters given: pass model\.parameters"):
        GradientMomentum([])
    with pytest.raises(OptionError, match=r"beta must lie in \[0, 1\), got 1"):
        GradientMomentum([p], beta=1.0)
    with pytest.raises(OptionError, match='form must be "mean" or "lion", got "adam"'):
        GradientMomentum([p], form="adam")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="clip and coefficient must be above 0"):
        GradientMomentum([p], clip=0.0)
    other = GradientMomentum([parameter(1.0, 2.0)])
    feed(other, other.parameters[0], 1.0, 1.0)
    with pytest.raises(ModelError, match=r"parameter 0 has shape \[2\], the parameter \[1\]"):
        GradientMomentum([p]).load_state_dict(other.state_dict())
    with pytest.raises(ModelError, match="the state is of 1 parameters, here are 2"):
        GradientMomentum([p, parameter(1.0)]).load_state_dict(other.state_dict())


def test_with_a_sum_it_is_adam_without_its_first_moment() -> None:
    # beta1 of AdamW on the raw gradient, and the same running mean before it, differ only in the second moment: with
    # beta2 = 0 both divide by the size of what they are given, so the first moves by m / |g|, the second by sign(m).
    p = parameter(0.0)
    optimizer = torch.optim.Adam([p], lr=1.0, betas=(0.0, 0.0))
    momentum = GradientMomentum([p], beta=0.5)
    feed(momentum, p, 4.0)
    optimizer.step()
    feed(momentum, p, -1.0)
    optimizer.step()
    assert p.item() == pytest.approx(-2.0)
