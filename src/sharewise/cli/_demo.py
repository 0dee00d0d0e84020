"""``sharewise demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import _options as o

DEFAULT = "yrbss"
SMALL = 10_000
"""Sets of more rows are trained in larger batches, to keep the demo's time."""


def demo(
    data: Annotated[
        str | None,
        typer.Option(help="A built-in set; without a name to run, --list shows them.", show_default=DEFAULT),
    ] = None,
    list_sets: Annotated[bool, typer.Option("--list", help="List the built-in sets.", show_default=False)] = False,
    jobs: o.Jobs = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the study.", show_default="runs/demo-NAME")] = None,
    json: o.Json = False,
) -> None:
    """A study of a real table, from start to verdict, in under three minutes on two cores.

    Example: `sharewise demo` or `sharewise demo --list` or `sharewise demo --data movies`
    """
    from ..data import sets

    if list_sets:
        _show(json)
        return
    from ..study import make_plan
    from ._study import run

    name = data or DEFAULT
    frame, _ = sets.load(name)
    batch = 256 if len(frame) < SMALL else 1024
    plan = make_plan(f"set:{name}", seeds="0-4", trials=2, epochs=15, patience=3, batch_size=batch)
    run(plan, out or Path("runs") / f"demo-{name}", jobs, json)


def _show(json: bool) -> None:
    from ..data import sets

    found = sets.available()
    if json:
        o.print_json(
            [
                {"name": s.name, "title": s.title, "rows": s.rows, "targets": s.targets, "source": s.source}
                for s in found
            ]
        )
        return
    for info in found:
        print(f"{info.name:16} {info.rows:>7,} rows, {len(info.targets)} targets   {info.title}  [{info.source}]")
