"""Paired statistics: how much better one arm is than another on the same seeds and the same rows.

Everywhere an *effect* is positive when the arm is better, and relative effects are fractions (0.01 = 1 %).

References:
    [NB] Nadeau, Bengio. Inference for the generalization error. Machine Learning 52, 2003.
    [Ow] Owen. The pigeonhole bootstrap. Annals of Applied Statistics 1(2), 2007.
    [Ru] Rubin. The Bayesian bootstrap. Annals of Statistics 9(1), 1981.
    [Ho] Holm. A simple sequentially rejective multiple test procedure. Scand. J. Statistics 6, 1979.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import OptionError

Array = npt.NDArray[np.float64]

MOST_GROUPS = 20_000
"""More rows than this are gathered at random in as many groups before the bootstrap; see there."""
CELLS_AT_ONCE = 4_000_000
"""Bootstrap weights held in memory at a time (32 MB)."""


class Estimate(NamedTuple):
    """A mean with its standard error and interval; ``df`` are the degrees of freedom of its t quantile."""

    mean: float
    se: float
    low: float
    high: float
    df: float


class Paired(NamedTuple):
    """What two arms did on the same test rows under one seed.

    ``rows`` int [n]: which row of the table each value belongs to, so that a row tested under several
    seeds is known to be one row; ``arm``, ``versus`` float [n]: the value (a loss) of either arm on the
    row; ``weight`` float [n] or ``None`` for equal weights.
    """

    rows: npt.ArrayLike
    arm: npt.ArrayLike
    versus: npt.ArrayLike
    weight: npt.ArrayLike | None = None


def paired_effects(
    arm: npt.ArrayLike,
    versus: npt.ArrayLike,
    *,
    relative: bool = True,
    better: Literal["lower", "higher"] = "lower",
) -> Array:
    """How much better ``arm`` is than ``versus``, element by element.

    ``versus - arm`` for ``better="lower"``, the negative of it for ``"higher"``; divided by ``|versus|`` if
    ``relative``. Raises :class:`OptionError` on unequal shapes, values that are not finite, and a relative
    effect against 0.
    """
    a, b = np.asarray(arm, float), np.asarray(versus, float)
    if a.shape != b.shape:
        raise OptionError(f"paired values differ in shape: {a.shape} and {b.shape}; give one pair a seed")
    if better not in ("lower", "higher"):
        raise OptionError(f'better is {better!r}, expected "lower" or "higher"')
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise OptionError("paired values hold NaN or infinity: an effect needs finite metrics in both arms")
    gain = b - a if better == "lower" else a - b
    if not relative:
        return gain
    if (b == 0).any():
        raise OptionError("a relative effect against a value of 0 is not defined: use an absolute one")
    return gain / np.abs(b)


def t_interval(x: npt.ArrayLike, level: float = 0.95) -> Estimate:
    """Mean of independent values ``x`` [k >= 2] with Student's interval, k - 1 degrees of freedom."""
    return _interval(x, 0.0, level)


def corrected_t_interval(x: npt.ArrayLike, test_per_train: float, level: float = 0.95) -> Estimate:
    """Mean of ``x`` [k >= 2] over random splits of one data set with overlapping training rows ([NB], 3).

    The variance of the mean is taken as ``(1/k + test_per_train) s^2``, where ``test_per_train`` is the
    number of test rows over that of training rows: values from overlapping splits are correlated, and the
    plain interval of :func:`t_interval` would be too short.
    """
    if not (test_per_train > 0 and math.isfinite(test_per_train)):
        raise OptionError(f"test_per_train is {test_per_train}, expected test rows / training rows > 0")
    return _interval(x, test_per_train, level)


def _interval(x: npt.ArrayLike, extra: float, level: float) -> Estimate:
    values = np.asarray(x, float)
    if values.ndim != 1 or len(values) < 2:
        raise OptionError(f"an interval needs two or more values in one row, found shape {values.shape}")
    if not np.isfinite(values).all():
        raise OptionError("an interval needs finite values, found NaN or infinity")
    k = len(values)
    # Equal values: exactly no spread, not the rounding of their mean.
    spread = 0.0 if (values == values[0]).all() else float(values.std(ddof=1))
    mean = float(values[0]) if spread == 0 else float(values.mean())
    return _around(mean, spread * math.sqrt(1 / k + extra), k - 1, level)


def _around(mean: float, se: float, df: float, level: float) -> Estimate:
    from scipy.special import stdtrit

    if not 0 < level < 1:
        raise OptionError(f"level is {level}, expected a number between 0 and 1")
    half = float(stdtrit(df, 0.5 + level / 2)) * se
    return Estimate(mean, se, mean - half, mean + half, df)


def two_sided_p(effect: float, se: float, df: float) -> float:
    """p-value of "no effect" against an effect in either direction (Student's t)."""
    from scipy.special import stdtr

    if se == 0:
        return 1.0 if effect == 0 else 0.0
    return float(2 * stdtr(df, -abs(effect) / se))


def noninferiority_p(effect: float, se: float, margin: float, df: float) -> float:
    """One-sided p-value of "worse by ``margin`` or more", that is of ``effect <= -margin``.

    ``margin >= 0`` in the unit of ``effect``; small values say: not worse than the margin allows.
    """
    from scipy.special import stdtr

    if margin < 0:
        raise OptionError(f"margin is {margin}, expected the tolerated loss as a number >= 0")
    if se == 0:
        return 0.0 if effect > -margin else 1.0
    return float(stdtr(df, -(effect + margin) / se))


def holm(pvalues: npt.ArrayLike) -> Array:
    """p-values adjusted so that the chance of any false rejection among them stays below the level [Ho].

    ``pvalues`` [m] in any order, the answer in the same order; each is at least its unadjusted value.
    """
    p = np.asarray(pvalues, float)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise OptionError("p-values must form one row of numbers between 0 and 1")
    order = np.argsort(p, kind="stable")
    steps = p[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0) if len(p) else steps
    return adjusted


def crossed_bootstrap(
    samples: Sequence[Paired],
    *,
    root: bool = False,
    relative: bool = True,
    better: Literal["lower", "higher"] = "lower",
    clusters: npt.ArrayLike | None = None,
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """The mean effect over seeds, with the uncertainty of both the seeds and the test rows.

    With one :class:`Paired` a seed, the statistic is ``mean_s effect(M_arm,s, M_versus,s)``, where ``M`` is
    the (weighted) mean of the values over the rows of seed s, or its square root (``root=True``: squared
    errors in, change of RMSE out), and the effect that of :func:`paired_effects`. Seeds are drawn with
    replacement and, crossed with them, rows get random weights of mean and variance 1 (exponential: [Ru]);
    a row that is in several seeds' test sets has the same weight in all of them. Drawing both ways is
    conservative where a row's effect differs between seeds [Ow]. Drawing k of k seeds shows only the share
    (k-1)/k of their variance, so the standard error is the spread of the draws times ``sqrt(k / (k-1))``;
    the interval is symmetric, with the t quantile of k - 1 degrees of freedom.

    ``clusters`` int [rows of the table]: rows of one cluster (a patient, a site) get one common weight.
    More than 20,000 rows or clusters are first gathered at random in 20,000 groups, which leaves the
    expected variance as it is. It does not see that training sets overlap ([NB]): splits of a small table
    deserve some distrust.

    Cost: ``draws`` x min(rows, 20,000) random numbers. Raises :class:`OptionError` for fewer than two
    seeds, fewer than two rows or clusters, unequal lengths or values that are not finite.
    """
    if len(samples) < 2:
        raise OptionError(f"the bootstrap over seeds needs two or more seeds, found {len(samples)}")
    if draws < 2:
        raise OptionError(f"draws is {draws}, expected 2 or more (2000 is usual)")
    rng = np.random.default_rng(seed)
    totals = _totals([_checked(s) for s in samples], clusters, rng)
    k = len(samples)

    def effects(sums: Array) -> Array:
        values, weight = sums[..., :2, :], sums[..., 2, :]
        means = values / weight[..., None, :]
        if root:
            means = np.sqrt(means)
        return paired_effects(means[..., 0, :], means[..., 1, :], relative=relative, better=better)

    drawn = np.empty(draws)
    size = max(1, CELLS_AT_ONCE // len(totals))
    for start in range(0, draws, size):
        n = min(size, draws - start)
        sums = rng.standard_exponential((n, len(totals))) @ totals
        picked = rng.multinomial(k, np.full(k, 1 / k), size=n)
        drawn[start : start + n] = (picked * effects(sums.reshape(n, 3, k))).sum(axis=1) / k
    mean = float(effects(totals.sum(axis=0).reshape(3, k)).mean())
    return _around(mean, float(drawn.std(ddof=1)) * math.sqrt(k / (k - 1)), k - 1, level)


def _checked(sample: Paired) -> tuple[npt.NDArray[np.int64], Array, Array, Array]:
    rows = np.asarray(sample.rows)
    a, b = np.asarray(sample.arm, float), np.asarray(sample.versus, float)
    w = np.ones(len(rows)) if sample.weight is None else np.asarray(sample.weight, float)
    if rows.ndim != 1 or not np.issubdtype(rows.dtype, np.integer) or not len(rows):
        raise OptionError(f"rows must be one row of integers, found shape {rows.shape} of {rows.dtype}")
    if not (a.shape == b.shape == w.shape == rows.shape):
        lengths = ", ".join(str(x.shape) for x in (rows, a, b, w))
        raise OptionError(f"rows, arm, versus and weight of one seed differ in length: {lengths}")
    if not np.isfinite([a, b, w]).all() or (w < 0).any() or not w.any():
        raise OptionError("values must be finite, and weights not negative and not all 0")
    return rows.astype(np.int64), a, b, w


def _totals(
    samples: list[tuple[npt.NDArray[np.int64], Array, Array, Array]],
    clusters: npt.ArrayLike | None,
    rng: np.random.Generator,
) -> Array:
    """Per row or cluster [u] and seed [k]: weighted sums of both arms' values and of the weights, [u, 3k]."""
    every = np.concatenate([s[0] for s in samples])
    if clusters is not None:
        known = np.asarray(clusters)
        if known.ndim != 1 or every.min() < 0 or every.max() >= len(known):
            raise OptionError("clusters must give one cluster for every row of the table, by row number")
        every = known[every]
    names, codes = np.unique(every, return_inverse=True)
    if len(names) < 2:
        raise OptionError("the bootstrap over rows needs two or more rows or clusters, found 1")
    if len(names) > MOST_GROUPS:
        codes = (rng.permutation(len(names)) % MOST_GROUPS)[codes]
    u, k = min(len(names), MOST_GROUPS), len(samples)
    totals, start = np.zeros((u, 3, k)), 0
    for s, (rows, a, b, w) in enumerate(samples):
        here = codes[start : start + len(rows)]
        start += len(rows)
        for column, values in enumerate((w * a, w * b, w)):
            totals[:, column, s] = np.bincount(here, values, minlength=u)
    return totals.reshape(u, 3 * k)
