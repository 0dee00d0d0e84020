"""Layers and tensors as tables: of all models together, and of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...page import Cell, Column, Row, Table, clean, count, label, number, share, value

Numbers = Mapping[str, Any]
"""One tensor's, one layer's or the whole model's entry of a bill."""
CELLS = 4_000
"""Rows of all tables of one level together, about: more would make a page slow."""
EACH = {
    "interference": Column("Interference"),
    "kept": Column("Kept"),
    "foreign": Column("Foreign"),
    "norm_kept": Column("Norm kept"),
}
"""What each model has of its own; all but the last only where there is a base; explained on the page."""


def each(bill: Numbers) -> dict[str, Column]:
    """The measures this bill has, one number a model."""
    return {key: column for key, column in EACH.items() if bill["changes"] or key == "norm_kept"}


def known_numbers(values: Sequence[float | None]) -> list[float]:
    """Those that are known."""
    return [v for v in values if v is not None]


def pairs(numbers: Numbers) -> list[float]:
    """The cosines between every two models' vectors, those of models that changed nothing left out."""
    cosines = numbers["cosines"]
    return known_numbers([cosines[i][j] for i in range(len(cosines)) for j in range(i)])


def models_table(bill: Numbers) -> Table:
    """The whole model, a row a model."""
    columns = [Column("Model", numeric=False), *each(bill).values(), Column("Norm", note=_norm(bill))]
    rows = []
    for i, model in enumerate(bill["models"]):
        norm = bill["total"]["norms"][i]
        rows.append(Row([label(clean(model)), *_own(bill["total"], i, each(bill)), value(norm, number(norm))]))
    return Table("models", "What each model kept", columns, rows)


def _norm(bill: Numbers) -> str:
    return "length of its task vector" if bill["changes"] else "length of its weights"


def _own(numbers: Numbers, model: int, keys: Mapping[str, Column]) -> list[Cell]:
    found = [numbers[key][model] for key in keys]
    return [value(v, number(v)) for v in found]


def level_tables(bill: Numbers, level: str, word: str) -> tuple[list[tuple[str, Table]], int]:
    """(title, table) of all models together and of each, and how many rows were left out of each.

    Args:
        bill: as ``merge.json`` holds it.
        level: ``layers`` or ``tensors``.
        word: what one of them is called in the bill.
    """
    rows, models = bill[level], bill["models"]
    most = max(40, CELLS // (len(models) + 1))
    shown = rows if len(rows) <= most else _worst(bill, rows, most)
    found = [("all models", _together(bill, shown, level, word))]
    if len(models) > 1 or bill["changes"]:
        found += [(clean(m), _of(bill, shown, level, word, i)) for i, m in enumerate(models)]
    return found, len(rows) - len(shown)


def _worst(bill: Numbers, rows: Sequence[Numbers], most: int) -> list[Numbers]:
    """Those with the highest interference (without a base: with the lowest cosine), in the order they had."""

    def badness(i: int) -> float:
        if bill["changes"]:
            return max(known_numbers(rows[i]["interference"]), default=-1.0)
        return -min(pairs(rows[i]), default=1.0)

    chosen = sorted(range(len(rows)), key=badness, reverse=True)[:most]
    return [rows[i] for i in sorted(chosen)]


def _together(bill: Numbers, rows: Sequence[Numbers], level: str, word: str) -> Table:
    columns = [Column(word.capitalize(), numeric=False), Column("Entries")]
    if bill["changes"]:
        columns += [Column("Highest interference"), Column("Sign conflict")]
    columns += [Column("Lowest cosine"), Column("Mean cosine"), Column("Lowest norm kept")]
    made = []
    for row in rows:
        cells = [label(clean(row[word])), value(row["entries"], count(row["entries"]))]
        if bill["changes"]:
            worst = max(known_numbers(row["interference"]), default=None)
            cells += [value(worst, number(worst)), value(row["sign_conflict"], share(row["sign_conflict"]))]
        cosines, norms = pairs(row), known_numbers(row["norm_kept"])
        mean = sum(cosines) / len(cosines) if cosines else None
        low, norm = min(cosines, default=None), min(norms, default=None)
        made.append(Row([*cells, value(low, number(low)), value(mean, number(mean)), value(norm, number(norm))]))
    return Table(f"{level}-all", f"All models, {level}", columns, made)


def _of(bill: Numbers, rows: Sequence[Numbers], level: str, word: str, model: int) -> Table:
    columns = [Column(word.capitalize(), numeric=False), Column("Entries"), *each(bill).values()]
    made = [
        Row([label(clean(row[word])), value(row["entries"], count(row["entries"])), *_own(row, model, each(bill))])
        for row in rows
    ]
    return Table(f"{level}-{model}", f"{clean(bill['models'][model])}, {level}", columns, made)
