"""Small English text tasks, from the folder of ``SHAREWISE_DATA``; no text is in two of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from ...data.sets._folder import in_folder
from ...errors import DataError

PLACE = "text_tasks"
"""Where the tables lie in the folder."""


TABLES: dict[str, tuple[str, tuple[str, ...]]] = {
    "sentiment": ("sst2", ("text",)),
    "subjectivity": ("subj", ("text",)),
    "acceptability": ("cola", ("text",)),
    "topic": ("ag_news_7600", ("title", "text")),
}
"""Task -> its file and the columns that make its text: SST-2, Subj, CoLA, and the test part of AG News."""


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


@lru_cache(maxsize=1)
def read_texts(folder: Path, names: tuple[str, ...]) -> dict[str, Texts]:
    """The tasks' texts; one that several tasks have (SST-2 and Subj share 1,515) is the first one's alone.

    Raises :class:`~sharewise.errors.DataError` for a file that is not there or lacks a column.
    """
    seen: set[str] = set()
    found = {}
    for name in names:
        texts, classes = [], []
        for text, label in _rows(folder, *TABLES[name]):
            key = text.strip().casefold()
            if key not in seen:
                seen.add(key)
                texts.append(text)
                classes.append(label)
        order = sorted(set(classes))
        found[name] = Texts(tuple(texts), torch.tensor([order.index(label) for label in classes]))
    return found


def _rows(folder: Path, file: str, columns: tuple[str, ...]) -> list[tuple[str, str]]:
    import polars as pl

    path = folder / f"{file}.csv.gz"
    if not path.is_file():
        raise DataError(f'the folder "{folder}" has no "{path.name}": put the file there')
    # All columns are read as text: "null" and "NA" are words here.
    frame = pl.read_csv(path, infer_schema=False).fill_null("")
    lacking = [column for column in (*columns, "label") if column not in frame.columns]
    if lacking:
        raise DataError(f'"{path}" has no column "{lacking[0]}", only {", ".join(frame.columns)}')
    return [(" ".join(row[:-1]), row[-1]) for row in frame.select(*columns, "label").rows()]


def texts_folder() -> Path:
    """Where the tables lie; raises :class:`~sharewise.errors.DataError` where they are not there."""
    return in_folder(PLACE, "put the tables of the text tasks there")
