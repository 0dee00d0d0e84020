"""What a table holds, and what is refused."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import polars as pl
import pytest

from sharewise.data import TableSpec, inspect_table
from sharewise.errors import DataError, SharewiseError, TaskError

N = 400


def table(**more: Any) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    columns: dict[str, Any] = {
        "x": rng.normal(size=N),
        "count": rng.integers(0, 9, N),
        "colour": np.array(["red", "green", "blue"])[rng.integers(0, 3, N)],
        "member": rng.random(N) < 0.5,
        "price": rng.normal(size=N),
        "sold": np.array(["no", "yes"])[rng.integers(0, 2, N)],
        "kind": np.array(["a", "b", "c"])[rng.integers(0, 3, N)],
    }
    return pl.DataFrame(columns | more)


def spec(**more: Any) -> TableSpec:
    return TableSpec(**({"targets": ("price", "sold", "kind")} | more))


def test_kinds() -> None:
    days = [datetime.date(2020, 1, 1) + datetime.timedelta(days=i % 97) for i in range(N)]
    frame = table(
        day=days,
        moment=[f"{d} 12:30:00" for d in days],
        note=[f"text {i}" for i in range(N)],
        number=list(range(7, N + 7)),
        lists=[[1, 2]] * N,
        nothing=[None] * N,
        same=["x"] * N,
        only=["x", None] * (N // 2),
    )
    schema = inspect_table(frame, spec())
    assert {c.name: c.kind for c in schema.features} == {
        "x": "number",
        "count": "number",
        "colour": "category",
        "member": "boolean",
        "day": "date",
        "moment": "date",
        "only": "category",
    }
    assert {t.name: t.kind for t in schema.targets} == {
        "price": "regression",
        "sold": "binary",
        "kind": "multiclass",
    }
    assert schema.targets[1].classes == ("no", "yes")
    assert schema.targets[2].classes == ("a", "b", "c")
    assert schema.dropped["same"] == schema.dropped["nothing"] == "constant"
    warned = {w.column: w.text for w in schema.warnings}
    assert set(warned) == {"note", "number", "lists"}
    assert "free text or an identifier (400 distinct values in 400 rows)" in warned["note"]
    assert "counts the rows" in warned["number"]


@pytest.mark.parametrize(
    ("name", "left_out"), [("customer_id", True), ("ID", True), ("orderId", True), ("paid", False)]
)
def test_identifiers_are_left_out_by_name_and_values(name: str, left_out: bool) -> None:
    numbers = np.random.default_rng(0).permutation(10_000)[:N]
    schema = inspect_table(table(**{name: numbers}), spec())
    assert (name in schema.dropped) is left_out
    assert any("identifier" in w.text for w in schema.warnings) is left_out
    wanted = inspect_table(table(**{name: numbers}), spec(kinds={name: "number"}))
    assert name in {c.name for c in wanted.features}
    repeated = inspect_table(table(**{name: numbers // 100}), spec())
    assert name in {c.name for c in repeated.features}


def test_overrides() -> None:
    kinds = {"count": "category", "colour": "drop", "sold": "multiclass", "x": "number"}
    schema = inspect_table(table(), spec(kinds=kinds))
    assert {c.name: c.kind for c in schema.features} == {"x": "number", "count": "category", "member": "boolean"}
    assert schema.targets[1].kind == "multiclass"
    text = table(code=[str(i % 7) for i in range(N)])
    chosen = inspect_table(text, spec(kinds={"code": "number"})).features
    assert {c.name: c.kind for c in chosen}["code"] == "number"


def test_two_numbers_make_a_binary_target_unless_told_otherwise() -> None:
    frame = table(price=[1.0, 2.0] * (N // 2))
    assert inspect_table(frame, spec()).targets[0].kind == "binary"
    assert inspect_table(frame, spec()).targets[0].classes == (1, 2)
    assert inspect_table(frame, spec(kinds={"price": "regression"})).targets[0].kind == "regression"


def test_missing_labels_are_counted() -> None:
    frame = table().with_columns(pl.when(pl.int_range(N) % 4 > 0).then("price").alias("price"))
    target = inspect_table(frame, spec()).targets[0]
    assert (target.labels, target.missing) == (300, 0.25)


def infinite() -> pl.DataFrame:
    values = np.zeros(N)
    values[:3] = (1.0, 2.0, np.inf)
    return table(x=values)


@pytest.mark.parametrize(
    ("frame", "options", "error", "message"),
    [
        (table(), {"targets": ("pirce",)}, TaskError, 'unknown target "pirce": the table has no such column; did you'),
        (table(), {"drop": ("colors",)}, DataError, 'unknown drop column "colors"'),
        (table(), {"group": "grp"}, DataError, 'unknown group column "grp"'),
        (table(), {"time": "grp"}, DataError, 'unknown time column "grp"'),
        (table(), {"weight": "grp"}, DataError, 'unknown weight column "grp"'),
        (table(), {"kinds": {"grp": "number"}}, DataError, 'unknown kind column "grp"'),
        (table(price=[1.0] * N), {}, TaskError, 'target "price" is constant: every label is 1.0'),
        (table(sold=["yes", None] * (N // 2)), {}, TaskError, "one class"),
        (table(price=[1.0, 2.0, 3.0] * 9 + [None] * (N - 27)), {}, TaskError, "has 27 labels, at least 30"),
        (table(price=[None] * N), {}, TaskError, "has 0 labels, at least 30"),
        (infinite(), {}, DataError, 'column "x" holds an infinite value in row 3'),
        (table(price=[np.inf] + [1.0, 2.0] * 199 + [1.0]), {}, DataError, '"price" holds an infinite value in row 1'),
        (table(site=["a"] * N), {"group": "site"}, DataError, 'group column "site" holds one group only'),
        (table(site=["a", None] * (N // 2)), {"group": "site"}, DataError, '"site" has 200 missing values'),
        (table(w=[-1.0] + [1.0] * (N - 1)), {"weight": "w"}, DataError, 'weight column "w" is negative in row 1'),
        (table(w=[1.0, None] * (N // 2)), {"weight": "w"}, DataError, "is missing in row 2"),
        (table(w=[0.0] * N), {"weight": "w"}, DataError, "is zero everywhere"),
        (table(w=["a"] * N), {"weight": "w"}, DataError, "holds 'a' in row 1, which is no number"),
        (table(), {"kinds": {"kind": "binary"}}, TaskError, "has 3 distinct values, a binary task has 2"),
        (table(), {"kinds": {"kind": "regression"}}, DataError, "in row 1, which is no number"),
        (table(), {"kinds": {"colour": "number"}}, DataError, "holds"),
        (table(), {"kinds": {"colour": "date"}}, DataError, "no date in ISO form"),
        (table(kind=[f"k{i}" for i in range(N)]), {}, TaskError, "free text or an identifier"),
        (table(kind=[datetime.date(2020, 1, 1 + i % 9) for i in range(N)]), {}, TaskError, "holds Date"),
        (
            table().with_columns(pl.lit(1).alias(c) for c in ("x", "count", "colour", "member")),
            {},
            DataError,
            "all features are constant",
        ),
        (table(), {"drop": ("x", "count", "colour", "member")}, DataError, "no feature is left"),
    ],
)
def test_refused(frame: pl.DataFrame, options: dict[str, Any], error: type[SharewiseError], message: str) -> None:
    with pytest.raises(error) as caught:
        inspect_table(frame, spec(**options))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"targets": ()}, "no target given"),
        ({"targets": ("a", "b", "a")}, 'target "a" is given twice'),
        ({"targets": "a", "group": "a"}, "given as target and as group"),
        ({"targets": "a", "time": "a"}, "given as target and as time"),
        ({"targets": "a", "weight": "a"}, "given as target and as weight"),
        ({"targets": "a", "drop": ("a",)}, "given as target and as a column to drop"),
        ({"targets": "a", "kinds": {"a": "number"}}, "a target is one of regression, binary, multiclass"),
        ({"targets": "a", "kinds": {"b": "numbr"}}, 'did you mean "number"?'),
        ({"targets": "a", "kinds": {"b": "regression"}}, "a feature is one of"),
    ],
)
def test_contradictory_specification(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SharewiseError) as caught:
        TableSpec(**options)
    assert message in str(caught.value)


def test_tiny_tasks_and_rare_classes_are_warned_about() -> None:
    rare = ["a"] * 300 + ["b"] * 95 + ["c"] * 5
    frame = table(kind=rare, price=[float(i) for i in range(150)] + [None] * 250)
    found = {w.column: w for w in inspect_table(frame, spec()).warnings}
    assert found["price"].kind == found["kind"].kind == "tiny task"
    assert '"c" (5)' in found["kind"].text


def test_features_are_decided_by_the_training_rows_alone() -> None:
    words = ["a", "b"] * 150 + [f"w{i}" for i in range(100)]
    frame = table(word=words, flat=[1] * 300 + list(range(100)))
    schema = inspect_table(frame, spec(), rows=np.arange(300))
    assert "word" in {c.name for c in schema.features}
    assert schema.dropped["flat"] == "constant"
    everything = inspect_table(frame, spec())
    assert "word" in everything.dropped or "word" in {c.name for c in everything.features}
    assert "flat" in {c.name for c in everything.features}
