"""Numbers and names as the page prints them: rounded, signed, cleaned, and never "nan" or "None"."""

from __future__ import annotations

import math
import re

DASH = "–"
_MINUS = "−"
_SPACE = "\u00a0"
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
# Control characters break XML, and direction overrides turn the text around them backwards.
_INVISIBLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff]")


def known(value: float | None) -> bool:
    """Whether there is a finite number to show."""
    return value is not None and math.isfinite(value)


def _fixed(value: float, decimals: int, sign: bool = False) -> str:
    text = f"{value:{'+' if sign else ''},.{decimals}f}"
    if not text.strip("+-0.,"):
        text = text.lstrip("+-")
    return text.replace("-", _MINUS)


def number(value: float | None, digits: int = 3) -> str:
    """``value`` to ``digits`` significant digits.

    >>> number(412000), number(0.012345), number(1.5e-9), number(None)
    ('412,000', '0.0123', '1.5 × 10⁻⁹', '–')
    """
    if value is None or not math.isfinite(value):
        return DASH
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    power = int(exponent)
    if -4 <= power < 9:
        return _fixed(value, max(0, min(digits - 1 - power, 8)))
    mantissa = (mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa).replace("-", _MINUS)
    return f"{mantissa} × 10{str(power).translate(_SUPERSCRIPT)}"


def count(value: float | None) -> str:
    """How many; a mean of counts keeps one decimal.

    >>> count(4406), count(2.0), count(2.5)
    ('4,406', '2', '2.5')
    """
    if value is None or not math.isfinite(value):
        return DASH
    return _fixed(value, 0 if value == round(value) or abs(value) >= 100 else 1)


def plus_minus(mean: float | None, half: float | None) -> str:
    """A mean and the half width of its interval, both to the interval's second digit.

    >>> plus_minus(2.34567, 0.0312), plus_minus(2.34567, None)
    ('2.346 ± 0.031', '2.346')
    """
    if mean is None or not math.isfinite(mean):
        return DASH
    if half is None or not math.isfinite(half) or half <= 0:
        return number(mean, 4)
    decimals = 1 - math.floor(math.log10(half))
    if not 0 <= decimals <= 6:
        return f"{number(mean)} ± {number(half, 2)}"
    return f"{_fixed(mean, decimals)} ± {_fixed(half, decimals)}"


def signed(value: float | None) -> str:
    """A change with its sign, two decimals below ten.

    >>> signed(0.784), signed(-12.34), signed(-0.001)
    ('+0.78', '−12.3', '0.00')
    """
    if value is None or not math.isfinite(value):
        return DASH
    size = abs(value)
    if size >= 1e6:
        return ("+" if value > 0 else "") + number(value)
    return _fixed(value, 2 if size < 9.995 else 1 if size < 99.95 else 0, sign=True)


def percent(value: float | None) -> str:
    """A signed change in per cent."""
    return signed(value) + _SPACE + "%" if known(value) else DASH


def interval(low: float | None, high: float | None) -> str:
    """``low to high``, both signed."""
    return f"{signed(low)} to {signed(high)}" if known(low) and known(high) else DASH


def share(value: float | None) -> str:
    """A share of one as per cent; what is not none is never shown as 0 %.

    >>> share(0.031), share(0.0), share(0.00002)
    ('3.1\\xa0%', '0\\xa0%', '< 0.1\\xa0%')
    """
    if value is None or not math.isfinite(100 * value):
        return DASH
    if 0 < value < 0.001:
        return f"< 0.1{_SPACE}%"
    return _fixed(100 * value, 1).removesuffix(".0") + _SPACE + "%"


def probability(value: float | None) -> str:
    """A p value."""
    if value is None or not math.isfinite(value):
        return DASH
    return "< 0.001" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def duration(seconds: float | None) -> str:
    """Time a person can read.

    >>> duration(0.0042), duration(58.2), duration(164.2), duration(7300)
    ('4.2\\xa0ms', '58.2\\xa0s', '2\\xa0min 44\\xa0s', '2\\xa0h 1\\xa0min')
    """
    if seconds is None or not math.isfinite(seconds):
        return DASH
    if abs(seconds) < 1:
        return f"{number(1000 * seconds, 2)}{_SPACE}ms"
    if seconds < 59.95:
        return f"{_fixed(seconds, 1)}{_SPACE}s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}{_SPACE}min" + (f" {whole % 60}{_SPACE}s" if whole % 60 else "")
    return f"{whole // 3600}{_SPACE}h {whole % 3600 // 60}{_SPACE}min"


def times(factor: float | None) -> str:
    """How many times cheaper, in words.

    >>> times(5.91), times(0.5), times(1.01)
    ('5.9× cheaper', '2.0× dearer', 'as cheap')
    """
    if factor is None or not math.isfinite(factor) or factor <= 0:
        return DASH
    if 0.95 < factor < 1.05:
        return "as cheap"
    ratio, word = (factor, "cheaper") if factor > 1 else (1 / factor, "dearer")
    if not math.isfinite(ratio):
        return DASH
    return f"{number(ratio, 2 if ratio < 10 else 3)}× {word}"


def clean(name: str) -> str:
    """A user's string without characters that cannot be shown; white space is squeezed to single spaces."""
    return " ".join(_INVISIBLE.sub("\ufffd", name).split()) or "(no name)"


def prose(text: str) -> str:
    """A cleaned sentence in which no line ends between a number and its per cent sign."""
    return clean(text).replace(" %", _SPACE + "%")


def shorten(name: str, length: int) -> str:
    """At most ``length`` characters: the start and, as names often differ there, the end."""
    name = clean(name)
    if len(name) <= length:
        return name
    tail = max(1, length // 3)
    return f"{name[: length - tail - 1].rstrip()}…{name[-tail:].lstrip()}"


def for_plot(name: str, length: int | None = None) -> str:
    """A user's string as text for plotly, which reads some HTML tags and entities in its labels."""
    name = clean(name) if length is None else shorten(name, length)
    return name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
