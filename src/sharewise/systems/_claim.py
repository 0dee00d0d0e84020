"""What a system says about itself: the paper it follows and sentences with a number that a run can test."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ..errors import OptionError

Evidence = Literal["full text", "partial text", "abstract"]
Better = Literal["lower", "higher"]


@dataclass(frozen=True)
class Paper:
    """The publication a system follows, and how much of it was read (``evidence``)."""

    title: str
    authors: str
    year: int
    venue: str
    url: str
    evidence: Evidence

    def __post_init__(self) -> None:
        if self.evidence not in ("full text", "partial text", "abstract"):
            raise OptionError(
                f'paper "{self.title}": evidence is {self.evidence!r}, expected "full text", "partial text" '
                'or "abstract"'
            )


@dataclass(frozen=True)
class Claim:
    """A sentence with a number that the arms of a system confirm or refute.

    The *effect* of a claim is computed per seed, both arms on the same seed:

    ========================= =========================================================================
    ``relative=True``         ``(versus - arm) / |versus|`` (``better="lower"``), the sign turned for
                              ``"higher"``; 0.35 means that the error fell by 35 %
    ``relative=False``        ``versus - arm``, or ``arm - versus`` for ``better="higher"``
    ``versus=None``           the metric of ``arm`` itself
    ========================= =========================================================================

    ``better`` is the direction in which the sentence says that ``arm`` moves the metric. "B is at least
    twice as wrong as A" is thus ``arm="B", versus="A", better="higher", margin=1.0``. Four kinds of
    sentence, told apart by what is given:

    - *gain*: ``versus`` and ``margin >= 0``: the mean effect is at least ``margin``;
    - *non-inferiority*: ``versus`` and ``margin < 0``: ``arm`` loses less than ``-margin``;
    - *equivalence*: ``versus`` and ``within``: the effect lies between ``-within`` and ``within``;
    - *bound*: no ``versus``, but ``at_most`` and/or ``at_least`` for the metric of ``arm`` alone.

    How each becomes a verdict: :func:`sharewise.systems.judge`. Raises :class:`OptionError` where the
    fields do not make one of the four kinds.
    """

    text: str
    metric: str
    arm: str
    versus: str | None = None
    better: Better = "lower"
    margin: float = 0.0
    relative: bool = True
    within: float | None = None
    at_most: float | None = None
    at_least: float | None = None

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            raise OptionError(f'claim "{self.text}": {problem}')

    def _problem(self) -> str | None:
        bounds = [b for b in (self.at_most, self.at_least) if b is not None]
        numbers = [self.margin, *bounds, *([] if self.within is None else [self.within])]
        if not all(math.isfinite(n) for n in numbers):
            return "margin and bounds must be finite numbers"
        if self.better not in ("lower", "higher"):
            return f'better is {self.better!r}, expected "lower" or "higher"'
        if self.versus is None:
            if not bounds:
                return "names no arm to compare with: give versus, or at_most / at_least for a bound"
            if self.margin or self.within is not None:
                return "a bound on one arm has no margin and no within: put the number in at_most / at_least"
            if len(bounds) == 2 and bounds[0] < bounds[1]:
                return f"at_most {bounds[0]} lies below at_least {bounds[1]}"
            return None
        if bounds:
            return "at_most / at_least bound one arm alone: drop versus, or use margin / within"
        if self.versus == self.arm:
            return f'compares the arm "{self.arm}" with itself'
        if self.within is not None and (self.margin or self.within <= 0):
            return "equivalence needs within > 0 and no margin"
        return None

    @property
    def kind(self) -> Literal["gain", "non-inferiority", "equivalence", "bound"]:
        """Which of the four kinds of sentence this is."""
        if self.versus is None:
            return "bound"
        if self.within is not None:
            return "equivalence"
        return "gain" if self.margin >= 0 else "non-inferiority"

    @property
    def region(self) -> tuple[float, float]:
        """The effects that make the sentence true, both ends included."""
        if self.kind == "bound":
            low = -math.inf if self.at_least is None else self.at_least
            return low, math.inf if self.at_most is None else self.at_most
        if self.within is not None:
            return -self.within, self.within
        return self.margin, math.inf

    def to_dict(self) -> dict[str, Any]:
        """The fields that were set, for JSON."""
        fields = {k: v for k, v in asdict(self).items() if k in ("margin", "versus") or v is not None}
        return {**fields, "kind": self.kind}
