"""Tables as data: what the template prints and the script sorts."""

from __future__ import annotations

from dataclasses import dataclass, field

from ._text import DASH, known


@dataclass(frozen=True)
class Column:
    """A heading; numbers stand right and are sorted as numbers."""

    label: str
    numeric: bool = True
    note: str = ""


@dataclass(frozen=True)
class Cell:
    """What is printed, what is sorted by (``None``: last in either direction), and how it looks."""

    text: str
    sort: float | str | None = None
    best: bool = False
    outcome: str = ""
    width: int = 0
    """Letters that should fit on one line."""


@dataclass(frozen=True)
class Row:
    """Cells in the order of the columns; ``extra`` rows are shown on demand."""

    cells: list[Cell]
    extra: bool = False


@dataclass(frozen=True)
class Table:
    """A table with a caption, which is also its accessible name."""

    id: str
    caption: str
    columns: list[Column]
    rows: list[Row] = field(default_factory=list)


def label(text: str) -> Cell:
    """A cell of words, sorted without regard to case."""
    return Cell(text, text.casefold(), width=min(len(text), 22))


def value(number: float | None, text: str, *, best: bool = False) -> Cell:
    """A cell of a number; a dash where there is none."""
    return Cell(text, number, best) if known(number) else Cell(DASH, None)
