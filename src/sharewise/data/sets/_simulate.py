"""A table made up for tests and examples."""

from __future__ import annotations

import numpy as np
import polars as pl


def simulate_table(
    n: int = 1_000,
    targets: int = 4,
    *,
    features: int = 8,
    related: float = 0.8,
    missing: float = 0.05,
    unlabelled: float = 0.1,
    noise: float = 0.5,
    seed: int = 0,
) -> pl.DataFrame:
    """A simulated table with numbers, a category, a truth value and a date as features.

    Args:
        n: rows.
        targets: columns ``y1``, ``y2``, ...; the first half (rounded up) are related, the others unrelated.
            Every third one is binary ("no"/"yes"), the others are numbers.
        features: number columns ``x1``, ``x2``, ...
        related: share of the signal that related targets have in common, 0 to 1; unrelated ones share
            nothing.
        missing: share of missing values in ``x1`` and ``colour``.
        unlabelled: share of missing labels in each target.
        noise: standard deviation of the noise; the signal has 1.
        seed: the table is a function of the arguments.
    """
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, features))
    colour = rng.integers(0, 5, n)
    member = rng.random(n) < 0.4
    common = _signal(x, colour, rng)
    table = {f"x{i + 1}": pl.Series(x[:, i].round(4)) for i in range(features)}
    table["colour"] = pl.Series(np.array(["red", "green", "blue", "grey", "black"])[colour])
    table["member"] = pl.Series(member)
    days = pl.Series(rng.integers(0, 1_500, n), dtype=pl.Int32)
    table["joined"] = (days + 18_262).cast(pl.Date)
    for name in ("x1", "colour"):
        table[name] = _gaps(table[name], missing, rng)
    for t in range(targets):
        share = related if t < (targets + 1) // 2 else 0.0
        own = _signal(x, colour, rng) + 0.5 * member
        signal = np.sqrt(share) * common + np.sqrt(1 - share) * own + noise * rng.normal(size=n)
        labels = pl.Series(np.where(signal > 0.3, "yes", "no")) if t % 3 == 2 else pl.Series(signal.round(4) * 10 + 50)
        table[f"y{t + 1}"] = _gaps(labels, unlabelled, rng)
    return pl.DataFrame(table)


def _signal(x: np.ndarray, colour: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A smooth random function of the features with mean 0 and standard deviation 1."""
    hidden = np.tanh(x @ rng.normal(size=(x.shape[1], 6)) / np.sqrt(x.shape[1]) * 1.5)
    value = hidden @ rng.normal(size=6) + rng.normal(size=5)[colour] * 0.5
    return (value - value.mean()) / value.std()


def _gaps(series: pl.Series, share: float, rng: np.random.Generator) -> pl.Series:
    gone = pl.Series(rng.random(len(series)) < share)
    return pl.select(pl.when(~gone).then(pl.lit(series))).to_series()
