"""Each verdict, from numbers made for it; the boundaries between them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharewise.errors import OptionError
from sharewise.systems import Claim, judge

GAIN = Claim("gain", "m", "a", "b", margin=0.1, relative=False)
ANY = Claim("any", "m", "a", "b", relative=False)
NOT_WORSE = Claim("not worse", "m", "a", "b", margin=-0.05, relative=False)
SAME = Claim("same", "m", "a", "b", within=0.05, relative=False)
# Effects -2d, -d, 0, d, 2d around a mean: s^2 = 2.5 d^2, so the interval is the mean +- 2.7764 sqrt(d^2 / 2).
HALF = 2.7764451 * 0.5**0.5


def effects(mean: float, half: float) -> list[float]:
    """Five effects with this mean and this half-width of the interval."""
    return [mean + k * half / HALF for k in (-2, -1, 0, 1, 2)]


def verdict(claim: Claim, values: list[float]) -> str:
    """Effects as the arm's fall below 0 of the other."""
    if claim.versus is None:
        return judge(claim, values).verdict
    return judge(claim, [-v for v in values], [0.0] * len(values)).verdict


@pytest.mark.parametrize(
    ("claim", "mean", "half", "wanted"),
    [
        (GAIN, 0.12, 0.05, "reproduced"),
        (GAIN, 0.12, 0.11, "reproduced"),  # below the margin in part, but clear of 0
        (GAIN, 0.12, 0.13, "inconclusive"),
        (GAIN, 0.08, 0.05, "direction only"),
        (GAIN, 0.02, 0.01, "direction only"),  # the claimed size is ruled out, the direction shown
        (GAIN, 0.02, 0.05, "refuted"),  # no effect shown, 0.1 ruled out
        (GAIN, 0.02, 0.09, "inconclusive"),  # 0.1 is still possible
        (GAIN, -0.05, 0.02, "refuted"),
        (ANY, 0.01, 0.005, "reproduced"),
        (ANY, 0.01, 0.02, "inconclusive"),
        (ANY, -0.01, 0.02, "inconclusive"),
        (ANY, -0.01, 0.005, "refuted"),
        (ANY, 0.0, 0.0, "refuted"),  # exactly equal in every seed is not better
        (NOT_WORSE, 0.0, 0.04, "reproduced"),
        (NOT_WORSE, 0.3, 0.1, "reproduced"),
        (NOT_WORSE, -0.03, 0.04, "inconclusive"),
        (NOT_WORSE, -0.1, 0.04, "refuted"),
        (SAME, 0.01, 0.03, "reproduced"),
        (SAME, 0.0, 0.06, "inconclusive"),
        (SAME, 0.1, 0.04, "refuted"),
        (SAME, -0.1, 0.04, "refuted"),
        (Claim("low", "m", "a", at_most=1.05), 1.0, 0.04, "reproduced"),
        (Claim("low", "m", "a", at_most=1.05), 1.04, 0.04, "inconclusive"),
        (Claim("low", "m", "a", at_most=1.05), 1.10, 0.04, "refuted"),
        (Claim("none", "m", "a", at_most=0.0), 0.0, 0.0, "reproduced"),
        (Claim("some", "m", "a", at_least=0.75), 0.8, 0.04, "reproduced"),
        (Claim("band", "m", "a", at_least=0.85, at_most=0.95), 0.9, 0.04, "reproduced"),
        (Claim("band", "m", "a", at_least=0.85, at_most=0.95), 0.8, 0.04, "refuted"),
    ],
)
def test_verdicts(claim, mean, half, wanted):
    assert verdict(claim, effects(mean, half)) == wanted


def test_effect_and_interval_by_hand():
    found = judge(GAIN, [-1.0, -2.0, -3.0, -4.0, -5.0], [0.0] * 5)
    assert found.effect == 3
    assert found.ci95 == pytest.approx((3 - 1.9632432, 3 + 1.9632432))
    relative = Claim("twice as wrong", "m", "bad", "good", better="higher", margin=1.0)
    found = judge(relative, [2.0, 4.4, 6.0, 8.4, 10.0], [1.0, 2.0, 3.0, 4.0, 5.0])
    assert found.effect == pytest.approx(1.06) and found.verdict == "reproduced"


def test_few_seeds_give_numbers_but_no_verdict():
    assert judge(GAIN, [-1.0], [0.0]) == (1.0, None, "too few seeds")
    four = judge(GAIN, [-1.0] * 4, [0.0] * 4)
    assert four == (1.0, (1.0, 1.0), "too few seeds")
    assert judge(GAIN, [-1.0] * 5, [0.0] * 5).verdict == "reproduced"


@given(st.lists(st.floats(-10, 10), min_size=5, max_size=12), st.floats(0.01, 100))
def test_the_unit_of_a_metric_does_not_decide(values, scale):
    claim = Claim("gain", "m", "a", "b", margin=0.1)
    versus = [abs(v) + 1.0 for v in values]
    one, other = judge(claim, values, versus), judge(claim, [scale * v for v in values], [scale * v for v in versus])
    assert other.effect == pytest.approx(one.effect, abs=1e-9)
    assert one.ci95 == pytest.approx(other.ci95, abs=1e-9)


@given(st.lists(st.floats(-10, 10), min_size=5, max_size=12))
def test_a_claim_and_its_contrary_are_never_both_reproduced(values):
    zero = [0.0] * len(values)
    both = {
        judge(Claim("x", "m", "a", "b", better=b, relative=False), values, zero).verdict for b in ("lower", "higher")
    }
    assert both in ({"reproduced", "refuted"}, {"inconclusive"}, {"refuted"})


def test_what_cannot_be_judged_is_named():
    with pytest.raises(OptionError, match=r'claim "gain".*against a value of 0'):
        judge(Claim("gain", "m", "a", "b"), [1.0] * 5, [0.0] * 5)
    with pytest.raises(OptionError, match="one arm"):
        judge(Claim("low", "m", "a", at_most=1.0), [1.0] * 5, [0.0] * 5)
    with pytest.raises(OptionError, match="two arms"):
        judge(GAIN, [1.0] * 5)
