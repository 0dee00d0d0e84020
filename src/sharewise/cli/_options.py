"""Options that several commands share, and how they are read."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from ..errors import OptionError

Table = Annotated[
    str, typer.Argument(help="CSV, TSV, Parquet, Arrow or JSON-lines file, or set:NAME.", show_default=False)
]
Targets = Annotated[str, typer.Option(help="Columns to predict, separated by commas.", show_default=False)]
Kind = Annotated[
    list[str] | None,
    typer.Option(help="COLUMN=KIND where the guess is wrong, e.g. age=regression. Repeatable.", show_default=False),
]
Group = Annotated[str | None, typer.Option(help="Column whose groups stay on one side of a split.", show_default=False)]
Time = Annotated[
    str | None,
    typer.Option(help="Column to split by: train on the past, test on the future.", show_default=False),
]
Weight = Annotated[str | None, typer.Option(help="Column of example weights.", show_default=False)]
Drop = Annotated[str, typer.Option(help="Columns to leave out, separated by commas.", show_default=False)]
KeepLeaks = Annotated[
    bool,
    typer.Option("--keep-leaks", help="Use columns that seem to give a target away.", show_default=False),
]
Jobs = Annotated[int | None, typer.Option(min=1, help="Processes.", show_default="the cores of this machine")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON alone on standard output.", show_default=False)]


def names(text: str) -> list[str]:
    """``"a, b"`` -> ``["a", "b"]``; a name with a comma in it is written ``"a\\,b"``."""
    marked = text.replace("\\,", "\0")
    return [part.strip().replace("\0", ",") for part in marked.split(",") if part.strip()]


def roles(
    kind: list[str] | None,
    group: str | None,
    time: str | None,
    weight: str | None,
    drop: str,
    keep_leaks: bool,
) -> dict[str, Any]:
    """The options about columns as keyword arguments of the library."""
    kinds = {}
    for item in kind or []:
        column, equals, value = item.rpartition("=")
        if not equals or not column:
            raise OptionError(f'--kind wants COLUMN=KIND, e.g. --kind age=regression, got "{item}"')
        kinds[column] = value
    return {
        "kinds": kinds,
        "group": group,
        "time": time,
        "weight": weight,
        "drop": names(drop),
        "keep_leaks": keep_leaks,
    }


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(value, ensure_ascii=False, allow_nan=False))


def say(text: str) -> None:
    """A line for people, on standard error: standard output is for results."""
    print(text, file=sys.stderr)
