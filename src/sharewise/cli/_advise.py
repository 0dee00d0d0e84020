"""``sharewise advise``."""

from __future__ import annotations

from typing import Annotated

import typer

from . import _options as o


@o.about_columns
def advise(
    table: o.Table,
    columns: o.Columns,
    epochs: Annotated[int, typer.Option(help="Of the one short run.")] = 10,
    seed: Annotated[int, typer.Option(help="Of split, weights and order.")] = 0,
    json: o.Json = False,
) -> None:
    """A fast answer without the full study: who helps whom in one short shared run, and groups worth a study.

    Writes nothing. Example: `sharewise advise people.csv --targets income,health,moved`
    """
    from ..study import advise as ask

    advice = ask(
        table,
        columns.targets,
        seed=seed,
        epochs=epochs,
        **columns.roles,
    )
    if json:
        o.print_json(advice.model_dump())
        return
    for text in advice.warnings:
        o.say(f"! {text}")
    print(advice.sentence)
    print("\nFall of a task's loss (%) after a step on another task; rows act, columns gain:")
    width = max(len(t) for t in advice.tasks) + 2
    print(" " * width + "".join(f"{t[:11]:>12}" for t in advice.tasks))
    for task, row in zip(advice.tasks, advice.affinity, strict=True):
        print(f"{task:<{width}}" + "".join(f"{v:>12.3f}" for v in row))
    print(
        f"\n{advice.rows:,} rows, {advice.seconds:.0f} s. A full study would take about {_time(advice.study_seconds)}."
    )


def _time(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )
