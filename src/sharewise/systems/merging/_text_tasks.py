"""Small English text tasks, from the folder of ``SHAREWISE_DATA``; no text is in two of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...data.sets._folder import in_folder
from ...errors import DataError


@dataclass(frozen=True)
class Table:
    """Where in the folder a task's texts are, the columns that make a text, and that of its class."""

    path: str
    columns: tuple[str, ...] = ("text",)
    label: str = "label"


TABLES: dict[str, Table] = {
    "sentiment": Table("text_tasks/sst2.csv.gz"),
    "subjectivity": Table("text_tasks/subj.csv.gz"),
    "topic": Table("text_tasks/ag_news_7600.csv.gz", ("title", "text")),
    "offence": Table("olid/olid.csv.gz", label="a"),
}
"""SST-2, Subj, the test part of AG News, and whether a tweet of OLID is offensive."""


@dataclass(frozen=True)
class Texts:
    """One task's texts and their classes ``[n]``."""

    texts: tuple[str, ...]
    labels: Tensor

    def balanced(self, counts: Sequence[int], generator: torch.Generator) -> list[Tensor]:
        """Rows of disjoint parts of about so many texts, as many of each class, each part shuffled."""
        classes = int(self.labels.max()) + 1
        drawn = []
        for one in range(classes):
            rows = (self.labels == one).nonzero()[:, 0]
            rows = rows[torch.randperm(len(rows), generator=generator)]
            each = [count // classes for count in counts]
            if sum(each) > len(rows):
                raise DataError(f"{sum(each)} texts of class {one} are wanted, and there are {len(rows)}")
            drawn.append(rows[: sum(each)].split(each))
        parts = [torch.cat(part) for part in zip(*drawn, strict=True)]
        return [part[torch.randperm(len(part), generator=generator)] for part in parts]


def read_texts(names: Sequence[str]) -> dict[str, Texts]:
    """The tasks' texts; one that several tasks have (SST-2 and Subj share 1,515) is the first one's alone.

    Raises :class:`~sharewise.errors.DataError` for a table that is not there or lacks a column.
    """
    seen: set[str] = set()
    found = {}
    for name in names:
        texts, classes = [], []
        for text, label in _rows(TABLES[name]):
            key = text.strip().casefold()
            if key not in seen:
                seen.add(key)
                texts.append(text)
                classes.append(label)
        order = sorted(set(classes))
        found[name] = Texts(tuple(texts), torch.tensor([order.index(label) for label in classes]))
    return found


def _rows(table: Table) -> list[tuple[str, str]]:
    import polars as pl

    path = in_folder(table.path)
    # All columns are read as text: "null" and "NA" are words here.
    frame = pl.read_csv(path, infer_schema=False).fill_null("")
    wanted = [*table.columns, table.label]
    lacking = [column for column in wanted if column not in frame.columns]
    if lacking:
        raise DataError(f'"{path}" has no column "{lacking[0]}", only {", ".join(frame.columns)}')
    return [(" ".join(row[:-1]), row[-1]) for row in frame.select(wanted).rows()]
