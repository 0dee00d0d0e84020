"""Numbers and names as pages print them."""

from __future__ import annotations

import doctest
import math
import re

from hypothesis import example, given
from hypothesis import strategies as st

from sharewise.page import _text

NO_NUMBER = re.compile(r"\b(nan|NaN|None|null|undefined|inf|Infinity)\b")


def test_examples_in_the_docstrings_of_text() -> None:
    assert doctest.testmod(_text).failed == 0


@given(st.floats(allow_nan=True, allow_infinity=True))
@example(5e-324)
@example(-0.0)
@example(1.8e306)
def test_any_number_can_be_printed(value: float) -> None:
    for write in (_text.number, _text.signed, _text.percent, _text.share, _text.duration, _text.times, _text.count):
        text = write(value)
        assert text and not NO_NUMBER.search(text)
        assert "-" not in text, "a minus sign is not a hyphen"
        if not math.isfinite(value):
            assert text == _text.DASH


def test_rounding_follows_the_interval() -> None:
    assert _text.plus_minus(12.3456, 0.0123) == "12.346 ± 0.012"
    assert _text.plus_minus(1234.5, 21.0) == "1,234 ± 21"  # round half to even
    assert _text.plus_minus(0.5, 0.0) == "0.5000"
    assert _text.plus_minus(-1.0, 0.5) == "−1.00 ± 0.50"
    assert _text.plus_minus(5e9, 2e8) == "5 × 10⁹ ± 200,000,000"
    assert _text.number(9.999) == "10.0" and _text.number(-5e-324) == "−4.94 × 10⁻³²⁴"
    assert _text.signed(-1e7) == "−10,000,000" and _text.signed(9.999) == "+10.0"
    assert _text.share(1.0) == "100\u00a0%"


def test_names_are_cleaned_and_shortened_at_both_ends() -> None:
    assert _text.clean("a\x00b\u202ec\n d") == "a\ufffdb\ufffdc d"
    assert _text.clean("  ") == "(no name)"
    assert _text.shorten("abcdefghijklmnop", 10) == "abcdef…nop"
    assert _text.shorten("abc", 3) == "abc"
