"""From the numbers of two arms to a word: did the claim hold here?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from ..errors import OptionError
from ._claim import Claim

Verdict = Literal["reproduced", "direction only", "inconclusive", "refuted", "too few seeds"]

FEWEST_SEEDS = 5
"""Below this a t interval says next to nothing, and no verdict is given."""


class Judgement(NamedTuple):
    """Mean effect over seeds, its 95 % interval (``None`` with one seed), and the verdict."""

    effect: float
    ci95: tuple[float, float] | None
    verdict: Verdict


def judge(claim: Claim, arm: Sequence[float], versus: Sequence[float] | None = None) -> Judgement:
    """The verdict on ``claim`` from one value a seed of its arm and of the arm it is compared with.

    With the mean effect ``m`` (defined in :class:`Claim`) and its 95 % t interval ``[low, high]`` over
    seeds, a *gain* of at least ``margin >= 0`` is

    - *reproduced* if ``m >= margin`` and ``low > 0``;
    - *direction only* if ``low > 0`` but ``m < margin``: better, by less than claimed;
    - *refuted* if ``high <= 0`` (not better, or worse), or ``low <= 0`` and ``high < margin`` (a gain of the
      claimed size is ruled out, and none is shown);
    - *inconclusive* otherwise.

    *Non-inferiority*, *equivalence* and *bounds* claim that the effect lies in a region
    (:attr:`Claim.region`): *reproduced* if the whole interval lies in it (for equivalence that is stricter
    than two one-sided tests at 5 %), *refuted* if it lies outside, else *inconclusive*.

    With fewer than 5 seeds the verdict is *too few seeds*. Raises :class:`OptionError` if the effect is not
    defined (unpaired or non-finite values, a relative effect against 0).
    """
    import numpy as np

    from ..study._paired import paired_effects, t_interval

    if (versus is None) != (claim.versus is None):
        raise OptionError(f'claim "{claim.text}" is judged from {"two arms" if claim.versus else "one arm"}')
    if versus is None:
        effects = np.asarray(arm, float)
    else:
        try:
            effects = paired_effects(arm, versus, relative=claim.relative, better=claim.better)
        except OptionError as error:
            raise OptionError(f'claim "{claim.text}": {error}') from None
    if len(effects) == 1:
        return Judgement(float(effects[0]), None, "too few seeds")
    mean, _, low, high, _ = t_interval(effects)
    if len(effects) < FEWEST_SEEDS:
        return Judgement(mean, (low, high), "too few seeds")
    return Judgement(mean, (low, high), _verdict(claim, mean, low, high))


def _verdict(claim: Claim, mean: float, low: float, high: float) -> Verdict:
    if claim.kind == "gain":
        if low > 0:
            return "reproduced" if mean >= claim.margin else "direction only"
        return "refuted" if high <= 0 or high < claim.margin else "inconclusive"
    least, most = claim.region
    if least <= low and high <= most:
        return "reproduced"
    return "refuted" if high < least or low > most else "inconclusive"
