"""Features that give a target away, and features that only look like it."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from sharewise.data import TableSpec, find_leaks, inspect_table, load_splits
from sharewise.errors import DataError

N = 600
RNG = np.random.default_rng(0)
X = RNG.normal(size=N)
NUMBER = 50 + 10 * (X + RNG.normal(size=N))
CLASS = np.array(["low", "mid", "high"])[np.digitize(X + RNG.normal(size=N), (-1, 1))]
YES = RNG.random(N) < 0.3
SPEC = TableSpec(("number", "class", "yes"))


def found(**columns: Any) -> set[tuple[str, str]]:
    frame = pl.DataFrame({"x": X, "number": NUMBER, "class": CLASS, "yes": YES, **columns})
    return {(leak.column, leak.target) for leak in find_leaks(frame, inspect_table(frame, SPEC))}


def gaps(values: np.ndarray, share: float = 0.2) -> pl.Series:
    gone = pl.Series(np.random.default_rng(1).random(N) < share)
    return pl.select(pl.when(~gone).then(pl.lit(pl.Series(values)))).to_series()


@pytest.mark.parametrize(
    ("column", "target"),
    [
        (NUMBER, "number"),
        (3 - 2 * NUMBER, "number"),
        (np.exp(NUMBER / 10), "number"),
        (1e9 - np.argsort(np.argsort(NUMBER)) ** 3, "number"),
        (NUMBER + RNG.normal(size=N) * 0.01, "number"),
        (gaps(NUMBER), "number"),
        (np.char.add("code ", CLASS), "class"),
        (np.unique(CLASS, return_inverse=True)[1] * 7, "class"),
        (np.unique(CLASS, return_inverse=True)[1] + 0.1 * RNG.random(N), "class"),
        (YES.astype(int), "yes"),
        (np.where(YES, 5.0, 1.0) + RNG.random(N), "yes"),
        (np.where(YES, None, RNG.random(N)).astype(float), "yes"),
        (np.where(YES, "paid", "open"), "yes"),
        (pl.Series(np.where(YES, RNG.integers(0, 9, N).astype(str), None).tolist(), dtype=pl.String), "yes"),
        (np.where(YES, RNG.integers(0, 20, N), RNG.integers(20, 60, N)).astype(str), "yes"),
    ],
)
def test_leak(column: Any, target: str) -> None:
    assert ("leak", target) in found(leak=column)


def test_regression_from_a_category() -> None:
    level = RNG.integers(0, 12, N)
    frame = pl.DataFrame({"x": X, "level": [f"L{i}" for i in level], "code": level, "number": level * 3.0})
    leaks = find_leaks(frame, inspect_table(frame, TableSpec(("number",))))
    assert {leak.column for leak in leaks} == {"level", "code"}


@pytest.mark.parametrize(
    "column",
    [
        X,
        NUMBER + RNG.normal(size=N),
        RNG.permutation(N).astype(float),
        np.array([f"person {i}" for i in range(N)]),
        np.array([f"pair {i // 2}" for i in range(N)]),
        np.arange(N) // 3,
        np.where(RNG.random(N) < 0.05, ~YES, YES),
        np.where(RNG.random(N) < 0.03, "low", CLASS),
    ],
)
def test_no_leak(column: Any) -> None:
    assert found(leak=column) == set()


def test_pure_noise_raises_no_alarm() -> None:
    noise = {f"n{i}": np.random.default_rng(i).normal(size=N) for i in range(40)}
    codes = {f"c{i}": np.random.default_rng(i).integers(0, 150, N).astype(str) for i in range(40)}
    assert found(**noise, **codes) == set()


def test_rare_positives_are_not_called_predictable_for_being_rare() -> None:
    frame = pl.DataFrame({"x": X, "rare": np.arange(N) % 150 == 0, "c": ["a", "b"] * (N // 2)})
    assert find_leaks(frame, inspect_table(frame, TableSpec(("rare",)))) == []


def test_values_that_stand_once_prove_nothing() -> None:
    names = [f"person {i}" for i in range(N)]
    frame = pl.DataFrame({"name": names, "x": X, "number": NUMBER, "class": CLASS, "yes": YES})
    schema = inspect_table(frame, TableSpec(SPEC.targets, {"name": "category"}))
    assert "name" in {c.name for c in schema.features}
    assert find_leaks(frame, schema) == []


def test_a_few_positives_in_one_category_prove_nothing() -> None:
    for positives, reported in ((6, False), (24, True)):
        code = np.where(np.arange(N) < positives, "special", RNG.choice(list("abcd"), N))
        frame = pl.DataFrame({"x": X, "code": code, "rare": np.arange(N) < positives})
        assert bool(find_leaks(frame, inspect_table(frame, TableSpec(("rare",))))) is reported


def test_a_leak_is_reported_and_left_out_unless_wanted() -> None:
    frame = pl.DataFrame({"x": X, "copy": NUMBER * 2, "number": NUMBER, "yes": YES})
    spec = TableSpec(("number", "yes"))
    data = load_splits(frame, spec)
    assert data.preprocessor.columns == ["x"]
    assert data.schema.dropped["copy"] == "likely leak"
    (warning,) = [w for w in data.warnings if w.kind == "leak"]
    assert warning.column == "copy"
    assert 'predicts target "number" almost perfectly' in warning.text and "left out" in warning.text
    kept = load_splits(frame, spec, keep_leaks=True)
    assert kept.preprocessor.columns == ["x", "copy"]
    assert "it is used" in kept.warnings[0].text
    with pytest.raises(DataError, match="every feature gives a target away"):
        load_splits(frame.drop("x"), spec)


def test_targets_that_are_the_same_are_warned_about() -> None:
    frame = pl.DataFrame({"x": X, "number": NUMBER, "twice": NUMBER * 2, "yes": YES})
    texts = [w.text for w in load_splits(frame, TableSpec(("number", "twice", "yes"))).warnings]
    assert any('targets "number" and "twice" are almost the same' in t for t in texts)
