"""From tables to tensors."""

from __future__ import annotations

import datetime
import json
import math

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sharewise.data import Preprocessor, TableSpec, inspect_table
from sharewise.data.sets import simulate_table
from sharewise.errors import DataError, TaskError

SPEC = TableSpec(("y1", "y2", "y3"))


def fitted(frame: pl.DataFrame, spec: TableSpec = SPEC) -> Preprocessor:
    return Preprocessor.fit(frame, inspect_table(frame, spec))


def column(values: list[object], **more: list[object]) -> tuple[pl.DataFrame, Preprocessor]:
    """One feature ``x`` of these values, repeated to fill 60 rows, and a target."""
    repeat = 60 // len(values)
    frame = pl.DataFrame({"x": values * repeat, "y": [float(i % 7) for i in range(len(values) * repeat)]})
    return frame, fitted(frame, TableSpec(("y",)))


def test_numbers_by_hand() -> None:
    """Median 3, quartiles 2 and 4: z = (x - 3) / 2, input = z / sqrt(1 + z^2 / 9)."""
    frame, p = column([1.0, 2.0, 3.0, 4.0, 1_000.0, None])
    (number,) = p.numbers
    assert (number.fill, number.loc, number.scale) == (3.0, 3.0, 2.0)
    inputs = p.encode(frame.head(6))
    expected = [-1 / math.sqrt(1 + 1 / 9), -0.5 / math.sqrt(1 + 1 / 36), 0.0, 0.5 / math.sqrt(1 + 1 / 36)]
    assert torch.allclose(inputs["numeric"][:4, 0], torch.tensor(expected))
    assert 2.99 < inputs["numeric"][4, 0] < 3.0
    assert inputs["numeric"][5, 0] == 0.0
    assert inputs["missing"].tolist() == [[0], [0], [0], [0], [0], [1]]
    assert inputs["category"].shape == (6, 0)
    assert {k: v.dtype for k, v in inputs.items()} == {
        "numeric": torch.float32,
        "missing": torch.float32,
        "category": torch.int64,
    }


def test_numbers_mostly_one_value_use_their_range() -> None:
    """Quartiles 0 and 0, so the scale is (8 - 0) / 2."""
    frame, p = column([0.0, 0.0, 0.0, 0.0, 0.0, 8.0])
    assert p.numbers[0].scale == 4.0
    assert p.encode(frame.head(6))["numeric"][5, 0] == pytest.approx(2 / math.sqrt(1 + 4 / 9))


def test_edges_hold_equally_many_rows() -> None:
    frame = pl.DataFrame({"x": np.random.default_rng(0).normal(size=4_800), "y": np.arange(4_800.0)})
    p = fitted(frame.sample(fraction=1.0, shuffle=True, seed=0), TableSpec(("y",)))
    (edges,) = p.bins
    assert len(edges) == 49 and edges == sorted(edges)
    x = p.encode(frame)["numeric"][:, 0].double().numpy()
    counts, _ = np.histogram(x, edges)
    assert counts.sum() == 4_800 and abs(counts - 100).max() <= 2


def test_categories_rare_and_unknown() -> None:
    values = ["a"] * 30 + ["b"] * 25 + ["c"] + [None] * 4
    _frame, p = column(values)
    (category,) = p.categories
    assert (category.values, category.other, category.size) == (("a", "b"), True, 4)
    assert p.cardinalities == [4]
    later = pl.DataFrame({"x": ["b", "c", None, "new"]})
    assert p.encode(later)["category"][:, 0].tolist() == [2, 3, 0, 3]
    assert p.indicators == ()


def test_unknown_category_is_code_zero_where_none_was_rare() -> None:
    _, p = column(["a", "b", "b"])
    assert p.encode(pl.DataFrame({"x": ["new", "b", None]}))["category"][:, 0].tolist() == [0, 1, 0]


def test_numbers_as_categories_do_not_depend_on_their_storage() -> None:
    frame = pl.DataFrame({"x": [1, 2, 3] * 20, "y": [float(i) for i in range(60)]})
    p = fitted(frame, TableSpec(("y",), {"x": "category"}))
    assert p.categories[0].values == ("1", "2", "3")
    later = pl.DataFrame({"x": [3.0, None, 1.0]})
    assert p.encode(later)["category"][:, 0].tolist() == [3, 0, 1]


def test_booleans_in_words() -> None:
    frame = pl.DataFrame({"x": ["Yes", "no", None] * 20, "y": [float(i) for i in range(60)]})
    p = fitted(frame, TableSpec(("y",), {"x": "boolean"}))
    numeric = p.encode(frame.head(3))["numeric"][:, 0]
    assert numeric[0] > numeric[1]
    with pytest.raises(DataError, match="holds 'perhaps' in row 1, which is no boolean"):
        p.encode(pl.DataFrame({"x": ["perhaps"]}))


def test_dates_by_hand() -> None:
    days = [datetime.date(2020, 1, 6) + datetime.timedelta(days=i) for i in range(60)]  # a Monday first
    frame = pl.DataFrame({"x": days, "y": [float(i) for i in range(60)]})
    p = fitted(frame, TableSpec(("y",)))
    names = [n.name for n in p.numbers]
    assert names == ["x: days", "x: month sin", "x: month cos", "x: weekday sin", "x: weekday cos"]
    raw = p.arrays(frame.head(2))[0]
    assert raw[0, 0] == (datetime.date(2020, 1, 6) - datetime.date(1970, 1, 1)).days
    assert raw[0, 1:].tolist() == [0.0, 1.0, 0.0, 1.0]  # January, Monday
    assert raw[1, 3] == pytest.approx(math.sin(2 * math.pi / 7))
    as_text = frame.with_columns(pl.col("x").cast(pl.String))
    assert torch.equal(p.encode(frame)["numeric"], p.encode(as_text)["numeric"])


def test_targets_keep_the_users_units_and_missing_labels_are_masked() -> None:
    frame = pl.DataFrame(
        {
            "x": [float(i) for i in range(60)],
            "price": [100.0, 200.0, None] * 20,
            "sold": ["no", None, "yes"] * 20,
            "kind": ["c", "a", "b"] * 20,
        }
    )
    p = fitted(frame, TableSpec(("price", "sold", "kind"), {"price": "regression"}))
    targets, observed = p.targets(frame.head(3))
    assert targets["price"].tolist() == [100.0, 200.0, 0.0]
    assert observed["price"].tolist() == [True, True, False]
    assert targets["sold"].tolist() == [0.0, 0.0, 1.0] and targets["sold"].dtype == torch.float32
    assert observed["sold"].tolist() == [True, False, True]
    assert targets["kind"].tolist() == [2, 0, 1] and targets["kind"].dtype == torch.int64
    assert set(observed) == {"price", "sold"}
    price, sold, kind = p.tasks()
    assert (price.loc, price.scale) == (150.0, 50.0)
    assert (sold.kind, sold.classes) == ("binary", ("no", "yes"))
    assert (kind.kind, kind.classes, kind.size) == ("multiclass", ("a", "b", "c"), 3)


def test_a_class_no_training_row_has_is_no_label() -> None:
    frame = pl.DataFrame({"x": [float(i) for i in range(60)], "y": ["a", "b", "c"] * 20, "z": [1, 2] * 30})
    p = fitted(frame, TableSpec(("y", "z")))
    later = pl.DataFrame({"y": ["b", "d"], "z": [1.0, 3.0]})
    targets, observed = p.targets(later)
    assert targets["y"].tolist() == [1, 0] and observed["y"].tolist() == [True, False]
    assert targets["z"].tolist() == [0.0, 0.0] and observed["z"].tolist() == [True, False]


def test_predicting_needs_features_only() -> None:
    frame = simulate_table(300, 3)
    p = fitted(frame)
    features = frame.drop("y1", "y2", "y3").with_columns(pl.lit("x").alias("extra"))
    a, b = p.encode(frame), p.encode(features)
    assert all(torch.equal(a[k], b[k]) for k in a)
    with pytest.raises(DataError, match='no column "x3"'):
        p.encode(features.drop("x3"))
    with pytest.raises(DataError, match='no column "y1"'):
        p.targets(features)
    with pytest.raises(DataError, match="column \"x2\" holds 'abc' in row 1, which is no number"):
        p.encode(features.with_columns(pl.lit("abc").alias("x2")))
    with pytest.raises(DataError, match='"x2" holds an infinite value in row 1'):
        p.encode(features.with_columns(pl.lit(float("inf")).alias("x2")))
    as_text = features.with_columns(pl.col("x2").cast(pl.String))
    assert torch.equal(p.encode(as_text)["numeric"], a["numeric"])


def test_rows_are_encoded_one_by_one() -> None:
    frame = simulate_table(200, 3)
    p = fitted(frame)
    whole = p.encode(frame)
    parts = [p.encode(frame.slice(i, 1)) for i in range(0, 200, 7)]
    for key, value in whole.items():
        assert torch.equal(torch.cat([q[key] for q in parts]), value[::7])


def test_long_tables_are_encoded_in_blocks_and_errors_name_the_row() -> None:
    frame = simulate_table(40_000, 3)
    p = fitted(frame)
    whole = p.encode(frame)
    for begin in (0, 16_380, 39_990):
        few = p.encode(frame.slice(begin, 10))
        assert all(torch.equal(whole[k][begin : begin + 10], few[k]) for k in few)
    bad = frame.with_columns(x2=pl.when(pl.int_range(40_000) == 33_332).then(pl.lit("abc")).otherwise(pl.lit("1")))
    with pytest.raises(DataError, match="'abc' in row 33333"):
        p.encode(bad)


def test_constant_columns_are_left_out() -> None:
    frame = simulate_table(300, 3)
    schema = inspect_table(frame, SPEC)
    train = frame.with_columns(x1=pl.lit(2.0), colour=pl.lit("red"), x2=pl.lit(None, dtype=pl.Float64))
    p = Preprocessor.fit(train, schema)
    assert not {"x1", "colour", "x2"} & set(p.columns)
    half = frame.with_columns(x1=pl.when(pl.col("member")).then(2.0))
    p = Preprocessor.fit(half, schema)
    assert "x1" not in {n.column for n in p.numbers}
    assert "x1" in p.indicators


def test_one_class_among_training_rows_is_refused_by_name() -> None:
    frame = simulate_table(300, 3)
    schema = inspect_table(frame, SPEC)
    with pytest.raises(TaskError, match='target "y3" has 1 class in the training rows'):
        Preprocessor.fit(frame.with_columns(y3=pl.lit("no")), schema)
    with pytest.raises(TaskError, match='target "y1" is constant in the training rows'):
        Preprocessor.fit(frame.with_columns(y1=pl.lit(1.5)), schema)


def test_weights() -> None:
    frame = simulate_table(300, 3).with_columns(w=pl.int_range(300) % 3)
    p = fitted(frame, TableSpec(SPEC.targets, weight="w"))
    assert "w" not in p.columns
    weight = p.source(frame).all.weight
    assert weight is not None and weight[:4].tolist() == [0.0, 1.0, 2.0, 0.0]


@given(seed=st.integers(0, 10_000), rows=st.integers(40, 200), share=st.floats(0.0, 0.5))
@settings(max_examples=25, deadline=None)
def test_json_gives_an_equal_object_back(seed: int, rows: int, share: float) -> None:
    frame = simulate_table(rows, 3, missing=share, unlabelled=0.1, seed=seed)
    p = fitted(frame)
    back = Preprocessor.from_json(p.to_json())
    assert back == p
    a, b = p.source(frame).all, back.source(frame).all
    assert all(torch.equal(a.inputs[k], b.inputs[k]) for k in a.inputs)
    assert all(torch.equal(a.targets[k], b.targets[k]) for k in a.targets)
    json.loads(p.to_json(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


@pytest.mark.parametrize("text", ["", "{}", '{"format": 99}', "[1]", '{"format": 1, "numbers": [{"a": 1}]}'])
def test_other_json_is_refused(text: str) -> None:
    with pytest.raises(DataError):
        Preprocessor.from_json(text)


def test_arrays_for_trees() -> None:
    frame = simulate_table(300, 3)
    p = fitted(frame)
    features, mask = p.arrays(frame)
    assert features.dtype == np.float64 and features.shape == (300, len(mask))
    assert mask == [False] * len(p.numbers) + [True]
    assert np.isnan(features[:, 0]).sum() == frame["x1"].null_count()
    assert np.isnan(features[:, -1]).sum() == frame["colour"].null_count()
    assert np.nanmax(features[:, -1]) == p.categories[0].size - 2
    assert np.array_equal(features[:, 1], frame["x2"].to_numpy())


@pytest.mark.parametrize("dtype", [pl.Null, pl.String, pl.Float64, pl.Int8, pl.Boolean])
def test_columns_without_any_value_can_be_encoded(dtype: type[pl.DataType]) -> None:
    p = fitted(simulate_table(300, 3))
    nothing = pl.DataFrame({c: pl.Series([None] * 4, dtype=dtype) for c in p.columns})
    inputs = p.encode(nothing)
    assert (inputs["missing"] == 1).all() and (inputs["category"] == 0).all()
    assert torch.isfinite(inputs["numeric"]).all()
