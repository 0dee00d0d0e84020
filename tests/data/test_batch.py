"""Batches and the sources in memory."""

from __future__ import annotations

import functools
import operator
import subprocess
import sys

import pytest
import torch

from sharewise.data import Batch, LoaderSource, Source, TensorSource
from sharewise.errors import DataError


def batch(n: int, masked: bool = False, weighted: bool = False) -> Batch:
    observed = {"a": torch.arange(n) % 2 == 0} if masked else {}
    inputs = {"x": torch.arange(n).float()[:, None], "more": (torch.zeros(n, 2), [torch.ones(n)])}
    return Batch(
        inputs, {"a": torch.arange(n), "b": torch.ones(n, 3)}, observed, torch.ones(n) * 2 if weighted else None
    )


def test_select_and_join_undo_each_other() -> None:
    whole = batch(10, masked=True, weighted=True)
    again = Batch.join([whole.select(slice(0, 3)), whole.select(torch.arange(3, 10))])
    assert torch.equal(again.inputs["x"], whole.inputs["x"])
    assert torch.equal(again.inputs["more"][1][0], whole.inputs["more"][1][0])
    assert torch.equal(again.observed["a"], whole.observed["a"])
    assert again.weight is not None and whole.weight is not None and torch.equal(again.weight, whole.weight)
    assert len(again) == 10


def test_join_fills_masks_and_weights_that_only_some_have() -> None:
    both = Batch.join([batch(2, masked=True, weighted=True), batch(2)])
    assert both.observed["a"].tolist() == [True, False, True, True]
    assert both.weight is not None and both.weight.tolist() == [2.0, 2.0, 1.0, 1.0]
    assert both.mask("b").tolist() == [True] * 4


def test_tensor_source_refuses_what_does_not_fit() -> None:
    with pytest.raises(DataError, match="as many rows"):
        TensorSource(torch.zeros(3, 1), {"a": torch.zeros(4)})
    with pytest.raises(DataError, match="which are no targets"):
        TensorSource(torch.zeros(3, 1), {"a": torch.zeros(3)}, {"b": torch.ones(3, dtype=torch.bool)})
    with pytest.raises(DataError, match="no targets"):
        TensorSource(torch.zeros(3, 1), {})


def test_sources_continue_where_they_were() -> None:
    tensors = TensorSource(torch.arange(23)[:, None], {"a": torch.arange(23)})
    loader = LoaderSource(lambda seed, epoch, shuffle: tensors.batches(5, seed=seed, epoch=epoch, shuffle=shuffle), 23)
    for source in (tensors, loader):
        assert isinstance(source, Source) and len(source) == 23
        whole = [b.targets["a"].tolist() for b in source.batches(5, seed=1, epoch=4, shuffle=True)]
        assert sorted(functools.reduce(operator.iadd, whole, [])) == list(range(23))
        later = [b.targets["a"].tolist() for b in source.batches(5, seed=1, epoch=4, shuffle=True, start=2)]
        assert later == whole[2:]


def test_importing_the_package_loads_no_polars() -> None:
    code = "import sys, sharewise.data as d; d.TensorSource, d.PerTaskSource; print('polars' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
