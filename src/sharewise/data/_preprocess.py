"""From a table to tensors and back to words: learned on training rows, exact to store."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from .. import tasks as make
from ..errors import DataError, nearest
from ..tasks import Task
from ._batch import Batch, join_tensors
from ._columns import CategoryInput, NumberInput, TargetCode, number_parts
from ._convert import convert
from ._inspect import check_weight, refuse_infinite
from ._source import TensorSource
from ._spec import TableSchema

FORMAT = 1
_BLOCK = 16_384
"""Rows encoded at once: few enough for the intermediate results to stay in the processor's cache."""


@dataclass(frozen=True)
class Preprocessor:
    """Turns rows of a table into a model's inputs and its labels into numbers.

    Everything in it was learned by :meth:`fit` from training rows. Rows are encoded one by one, so the result
    does not depend on which rows come together.

    Args:
        numbers: the columns of ``inputs["numeric"]``, in order.
        indicators: columns with missing values among the training rows: the columns of ``inputs["missing"]``.
        categories: the columns of ``inputs["category"]``.
        outputs: how the labels of each target are encoded.
        weight: column of example weights.
        edges: for each numeric input, ascending edges of at most 48 bins with equally many training rows, on
            the encoded scale (piecewise-linear embeddings; Gorishniy et al. 2022, "On Embeddings for
            Numerical Features in Tabular Deep Learning").
    """

    numbers: tuple[NumberInput, ...]
    indicators: tuple[str, ...]
    categories: tuple[CategoryInput, ...]
    outputs: tuple[TargetCode, ...]
    weight: str | None = None
    edges: tuple[tuple[float, ...], ...] = ()

    @classmethod
    def fit(cls, frame: pl.DataFrame, schema: TableSchema) -> Preprocessor:
        """Learn from ``frame``, which must hold training rows and nothing else.

        Numbers are filled by their median, centred by it, divided by the range of their middle half and
        smoothly clipped to (-3, 3): ``z / sqrt(1 + (z / 3)^2)`` (Holzmueller et al. 2024, "Better by
        Default", section 3; where the middle half is one value the whole range counts, halved). Categories of
        fewer than 10 rows (of 1 % of the rows in tables below 1,000, but at least 2) become one code, as do
        all after the 1,000 commonest. Constant columns are left out. Regression targets get their mean and
        standard deviation.

        Raises :class:`DataError` where nothing is left to learn from.
        """
        from ._learn import learn

        return learn(frame, schema)

    @classmethod
    def fit_parquet(
        cls, path: str | Path, rows: np.ndarray, schema: TableSchema, *, sample: int = 200_000, seed: int = 0
    ) -> Preprocessor:
        """Learn from the training rows ``rows`` of a Parquet file too big to hold.

        Features are learned from ``sample`` rows drawn at random (all, if there are no more), targets from
        all.
        """
        from ._stream import learn_parquet

        return learn_parquet(Path(path), rows, schema, sample, seed)

    @property
    def bins(self) -> list[list[float]]:
        """``edges`` as lists."""
        return [list(e) for e in self.edges]

    @property
    def cardinalities(self) -> list[int]:
        """Codes of each category column, 0 (missing or unknown) included."""
        return [c.size for c in self.categories]

    @property
    def columns(self) -> list[str]:
        """Feature columns a table must have to be encoded."""
        names = [*(n.column for n in self.numbers), *self.indicators, *(c.column for c in self.categories)]
        return list(dict.fromkeys(names))

    @property
    def all_columns(self) -> list[str]:
        """``columns``, targets and weight: what training needs."""
        more = [t.name for t in self.outputs] + ([] if self.weight is None else [self.weight])
        return [*self.columns, *more]

    def tasks(self) -> list[Task]:
        """One task a target, with ``loc`` and ``scale`` or ``classes`` as in the training rows."""
        made: list[Task] = []
        for t in self.outputs:
            if t.kind == "regression":
                made.append(make.regression(t.name).scaled(t.loc, t.scale))
            elif t.kind == "binary":
                made.append(make.binary(t.name, classes=t.classes))
            else:
                made.append(make.multiclass(t.name, t.classes))
        return made

    def encode(self, frame: pl.DataFrame) -> dict[str, Tensor]:
        """Inputs of the rows of ``frame``; other columns, targets among them, are not looked at.

        Returns ``numeric`` float32 ``[N, p]``, ``missing`` float32 ``[N, q]`` of 0 and 1, ``category`` int64
        ``[N, c]``. Raises :class:`DataError` for a missing column, an infinite value, or one of the wrong
        type.
        """
        self._check(frame, self.columns)
        if frame.height <= _BLOCK:
            return self._encode(frame)
        try:
            return join_tensors([self._encode(frame.slice(i, _BLOCK)) for i in range(0, frame.height, _BLOCK)])
        except DataError:
            return self._encode(frame)  # says the same with the row's number in the whole table

    def _encode(self, frame: pl.DataFrame) -> dict[str, Tensor]:
        raw = self._numbers(frame)
        loc = np.array([n.loc for n in self.numbers])
        scale = np.array([n.scale for n in self.numbers])
        fill = np.array([n.fill for n in self.numbers])
        numeric = squash(np.where(np.isnan(raw), fill, raw), loc, scale)
        missing = np.empty((frame.height, len(self.indicators)), dtype=np.float32)
        for i, column in enumerate(self.indicators):
            missing[:, i] = is_missing(frame[column])
        return {
            "numeric": torch.from_numpy(numeric),
            "missing": torch.from_numpy(missing),
            "category": torch.from_numpy(self._codes(frame)),
        }

    def _numbers(self, frame: pl.DataFrame) -> np.ndarray:
        """Numeric inputs before filling and scaling: float64 ``[N, p]``, NaN where missing."""
        raw = np.empty((frame.height, len(self.numbers)))
        parts: dict[str, dict[str, np.ndarray]] = {}
        for i, number in enumerate(self.numbers):
            if number.column not in parts:
                parts = {number.column: number_parts(frame[number.column], number.kind)}
            raw[:, i] = parts[number.column][number.part]
        infinite = np.isinf(raw).any(0)
        if infinite.any():
            column = self.numbers[int(infinite.argmax())].column
            refuse_infinite(frame.select(convert(frame[column], "number")), column)
        return raw

    def _codes(self, frame: pl.DataFrame) -> np.ndarray:
        codes = np.empty((frame.height, len(self.categories)), dtype=np.int64)
        for i, category in enumerate(self.categories):
            codes[:, i] = category.encode(frame[category.column])
        return codes

    def targets(self, frame: pl.DataFrame) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """``(targets, observed)``: labels ``[N]`` by task, in the user's units, and which of them exist.

        A missing label, or a class no training row had, stands as 0 with ``observed`` false; a task that is
        labelled in every row is not in ``observed``. Numbers and yes-or-no are float32, classes int64.
        """
        self._check(frame, [t.name for t in self.outputs])
        targets, observed = {}, {}
        for t in self.outputs:
            values, there = t.encode(frame[t.name])
            targets[t.name] = torch.from_numpy(np.array(values))
            if not there.all():
                observed[t.name] = torch.from_numpy(np.array(there))
        return targets, observed

    def weights(self, frame: pl.DataFrame) -> Tensor | None:
        """Example weights float32 ``[N]`` as they stand in the table, or ``None``."""
        if self.weight is None:
            return None
        self._check(frame, [self.weight])
        check_weight(frame[self.weight])
        return torch.from_numpy(convert(frame[self.weight], "number").cast(pl.Float32).to_numpy().copy())

    def batch(self, frame: pl.DataFrame) -> Batch:
        """The rows as one batch; the frame must have the targets."""
        targets, observed = self.targets(frame)
        return Batch(self.encode(frame), targets, observed, self.weights(frame))

    def source(self, frame: pl.DataFrame) -> TensorSource:
        """The rows as examples in memory; the frame must have the targets."""
        made = self.batch(frame)
        return TensorSource(made.inputs, made.targets, made.observed, made.weight)

    def arrays(self, frame: pl.DataFrame) -> tuple[np.ndarray, list[bool]]:
        """For gradient-boosted trees: float64 ``[N, p + c]`` and which columns are categories.

        Numbers are as in the table (NaN where missing), categories are codes from 0 (NaN where missing or
        unknown). A category of more than 250 codes counts as a number: trees take no more.
        """
        self._check(frame, self.columns)
        codes = self._codes(frame).astype(np.float64) - 1
        codes[codes < 0] = np.nan
        mask = [False] * len(self.numbers) + [c.size <= 251 for c in self.categories]
        return np.concatenate([self._numbers(frame), codes], axis=1), mask

    def _check(self, frame: pl.DataFrame, columns: list[str]) -> None:
        present = frame.columns
        gone = [c for c in columns if c not in present]
        if gone:
            more = f" (and {len(gone) - 1} more)" if len(gone) > 1 else ""
            raise DataError(f'the table has no column "{gone[0]}"{more}, which is needed; {nearest(gone[0], present)}')

    def to_json(self) -> str:
        """Everything as JSON; :meth:`from_json` gives an equal object back."""
        return json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, allow_nan=False, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Preprocessor:
        """Read :meth:`to_json`; raises :class:`DataError` where it is something else."""
        try:
            data: Mapping[str, Any] = json.loads(text)
            if data["format"] != FORMAT:
                raise DataError(f"preprocessing in format {data['format']}, this version reads {FORMAT}: update")
            return cls(
                tuple(NumberInput(**n) for n in data["numbers"]),
                tuple(data["indicators"]),
                tuple(CategoryInput(**c | {"values": tuple(c["values"])}) for c in data["categories"]),
                tuple(TargetCode(**t | {"classes": tuple(t["classes"])}) for t in data["outputs"]),
                data["weight"],
                tuple(tuple(e) for e in data["edges"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"this is not the preprocessing of a table: {error!r}") from None


def squash(raw: np.ndarray, loc: np.ndarray | float, scale: np.ndarray | float) -> np.ndarray:
    """``z / sqrt(1 + (z / 3)^2)`` of ``z = (raw - loc) / scale``, float32."""
    z = raw - loc
    z /= scale
    root = np.square(z)
    root /= 9
    root += 1
    np.sqrt(root, out=root)
    z /= root
    return z.astype(np.float32)


def is_missing(series: pl.Series) -> np.ndarray:
    """Where a column has no value: null or NaN."""
    if series.dtype.is_float():
        return np.isnan(series.to_numpy())
    return series.is_null().to_numpy()
