"""Options that several commands share, and how they are read."""

from __future__ import annotations

import functools
import inspect
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
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


@dataclass(frozen=True)
class Columns:
    """What the options about columns said: the targets, and the other roles as keyword arguments of the library."""

    targets: list[str]
    roles: dict[str, Any]


def read_columns(
    *,
    targets: Targets = "",
    kind: Kind = None,
    group: Group = None,
    time: Time = None,
    weight: Weight = None,
    drop: Drop = "",
    keep_leaks: KeepLeaks = False,
) -> Columns:
    """The options about columns, read. Its parameters are the options of every command on a table."""
    kinds = {}
    for item in kind or []:
        column, equals, value = item.rpartition("=")
        if not equals or not column:
            raise OptionError(f'--kind wants COLUMN=KIND, e.g. --kind age=regression, got "{item}"')
        kinds[column] = value
    roles = {"kinds": kinds, "group": group, "time": time, "weight": weight, "drop": names(drop)}
    return Columns(names(targets), {**roles, "keep_leaks": keep_leaks})


def about_columns(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the options of :func:`read_columns` in the place of its parameter ``columns``."""
    options = inspect.signature(read_columns, eval_str=True).parameters
    own = inspect.signature(command, eval_str=True).parameters
    every = [p for name, q in own.items() for p in (options.values() if name == "columns" else (q,))]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        said = {name: given.pop(name) for name in options}
        command(columns=read_columns(**said), **given)

    run.__signature__ = inspect.Signature([p.replace(kind=p.KEYWORD_ONLY) for p in every])  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in every}
    return run


def check_file(path: Path | None) -> None:
    """Raise :class:`OptionError` for a path that no file can be written to, before the work that would be lost."""
    if path is None:
        return
    if path.is_dir():
        raise OptionError(f'"{path}" is a folder: name the file to write in it')
    for place in path.parents:
        if place.exists() and not place.is_dir():
            raise OptionError(f'"{path}" cannot be written, for "{place}" is a file: give another path')


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(value, ensure_ascii=False, allow_nan=False))


def say(text: str) -> None:
    """A line for people, on standard error: standard output is for results."""
    print(text, file=sys.stderr)
