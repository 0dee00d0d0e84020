"""From a table to a model that is saved, loaded, exported: the same predictions everywhere."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import polars as pl
import pytest
import torch

import sharewise as sw
from helpers.small import TASKS, SmallModel, splits
from sharewise.data import sets
from sharewise.errors import DataError, ModelError, OptionError

TARGETS = ["y1", "y2", "y3"]


@pytest.fixture(scope="module")
def table() -> pl.DataFrame:
    return sets.simulate_table(300, seed=0).with_columns(
        kind=pl.when(pl.col("x1") > 0.5)
        .then(pl.lit("<b>"))
        .when(pl.col("x2") > 0)
        .then(pl.lit("c"))
        .otherwise(pl.lit("d"))
    )


@pytest.fixture(scope="module")
def fitted(table: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> sw.Fitted:
    out = tmp_path_factory.mktemp("model")
    return sw.fit_table(table, [*TARGETS, "kind"], out=out, epochs=4, learning_rate=1e-2, progress=False)


def test_predictions_have_the_units_and_classes_of_the_table(fitted: sw.Fitted, table: pl.DataFrame) -> None:
    found = fitted.predict(table.drop(TARGETS))
    assert found.columns[:2] == ["y1", "y2"] and len(found) == 300
    assert set(found["kind"]) <= {"<b>", "c", "d"} and set(found["y3"]) <= set(table["y3"].drop_nulls())
    shares = found.select(pl.col("^kind: p.*$")).sum_horizontal()
    assert np.allclose(shares, 1)
    assert abs(found["y1"].mean() - table["y1"].mean()) < table["y1"].std()


def test_saved_and_loaded_predicts_the_same(fitted: sw.Fitted, table: pl.DataFrame, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    again = sw.load(tmp_path)
    assert again.predict(table).equals(fitted.predict(table))
    assert again.test == fitted.test and again.warnings == fitted.warnings
    assert not [p for p in tmp_path.iterdir() if p.suffix not in (".json", ".safetensors")]


def test_rows_are_predicted_one_by_one(fitted: sw.Fitted, table: pl.DataFrame) -> None:
    whole = fitted.predict(table)
    alone = pl.concat([fitted.predict(table[i]) for i in (0, 7)])
    for column in ("y1", "y2"):
        assert np.allclose(alone[column], whole[column][[0, 7]], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["onnx", "torch"])
def test_exports_predict_the_same_for_any_batch(
    kind: str, fitted: sw.Fitted, table: pl.DataFrame, tmp_path: Path
) -> None:
    path = tmp_path / "model"
    fitted.export(kind, path)
    source = fitted.preprocessor.source(table[:37])
    expected = fitted.predict(source)
    if kind == "onnx":
        session = onnxruntime.InferenceSession(str(path))
        wanted = {i.name for i in session.get_inputs()}
        outputs = session.run(None, {k: v.numpy() for k, v in source.all.inputs.items() if k in wanted})
        assert [o.name for o in session.get_outputs()] == [*TARGETS, "kind"]
        found = dict(zip([*TARGETS, "kind"], map(torch.from_numpy, outputs), strict=True))
    else:
        program = torch.export.load(path).module()
        found = dict(zip([*TARGETS, "kind"], program(source.all.inputs), strict=True))
    for name, value in expected.items():
        assert torch.allclose(found[name], value, rtol=1e-4, atol=1e-5), name


def test_wrong_use_is_refused(fitted: sw.Fitted, table: pl.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="onnx, torch"):
        fitted.export("onx", tmp_path / "m")
    with pytest.raises(DataError, match='"x1"'):
        fitted.predict(table.drop("x1"))
    plain = sw.fit(SmallModel(), TASKS, splits(), epochs=1, progress=False)
    with pytest.raises(DataError, match="not trained on a table"):
        plain.predict(table)
    with pytest.raises(ModelError, match="example input"):
        plain.export("onnx", tmp_path / "m")
    assert not list(tmp_path.iterdir())


class Terminal(io.StringIO):
    """Standard error with somebody watching."""

    def isatty(self) -> bool:
        return True


def test_the_bar_shows_losses_to_a_terminal_and_nothing_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream, shown in ((Terminal(), True), (io.StringIO(), False)):
        with monkeypatch.context() as context:
            context.setattr(sys, "stderr", stream)
            context.setattr("sharewise.train._progress.REFRESH_SECONDS", 0.0)
            sw.fit(SmallModel(), TASKS, splits(), epochs=2, batch_size=32)
        assert ("height" in stream.getvalue()) == shown
        assert bool(stream.getvalue()) == shown
