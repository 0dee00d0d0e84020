"""``sharewise study``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import _options as o

if TYPE_CHECKING:
    from ..study import StudyResult


@o.about_columns
def study(
    table: o.Table,
    columns: o.Columns,
    seeds: Annotated[str, typer.Option(help="Splits and initial weights: 0,1,2 or 0-4.")] = "0-4",
    trials: Annotated[int, typer.Option(help="Settings tried for each model of each arm.")] = 4,
    epochs: Annotated[int, typer.Option(help="Most epochs of a network.")] = 60,
    batch_size: Annotated[int, typer.Option(help="Rows a step.")] = 256,
    margin: Annotated[float, typer.Option(help="Relative loss that still counts as as good.")] = 0.01,
    arms: Annotated[
        str, typer.Option(help="Arms beside separate and equal, separated by commas.", show_default="all")
    ] = "",
    jobs: o.Jobs = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the study.", show_default="runs/TABLE")] = None,
    json: o.Json = False,
) -> None:
    """Should these targets share a model? Compares strategies over seeds and writes a page with the verdict.

    A study that was stopped continues when the same command is given again. Exit code 1: do not share.

    Example: `sharewise study people.csv --targets income,health,moved --group household`
    """
    from ..study import ARMS, make_plan

    plan = make_plan(
        table,
        columns.targets,
        **columns.roles,
        seeds=seeds,
        trials=trials,
        epochs=epochs,
        batch_size=batch_size,
        margin=margin,
        arms=o.names(arms) or ARMS,
    )
    result = run(plan, out or Path("runs") / name_of(table), jobs, json)
    raise typer.Exit(1 if result.verdict.answer == "do not share" else 0)


def name_of(table: str) -> str:
    """A folder's name for a table."""
    return table.removeprefix("set:") if table.startswith("set:") else Path(table).name.split(".")[0]


def run(plan: object, folder: Path, jobs: int | None, json: bool) -> StudyResult:
    """Do the plan with a progress bar, and print the verdict."""
    import shlex
    import sys

    from ..study import Plan, run_plan
    from ._progress import bar

    assert isinstance(plan, Plan)
    command = "sharewise " + shlex.join(sys.argv[1:])
    with bar() as progress:
        result = run_plan(plan, folder, jobs=jobs, command=command, progress=progress)
    verdict = result.verdict
    page = folder / "report.html"
    if json:
        o.print_json(
            {
                "answer": verdict.answer,
                "arm": verdict.arm,
                "sentence": verdict.sentence,
                "evidence": verdict.evidence,
                "cheaper": verdict.cheaper,
                "delta_m": {d.arm: d.higher_is_better for d in result.delta_m},
                "results": str(folder / "results.json"),
                "page": str(page),
                "seconds": result.recipe.seconds,
            }
        )
        return result
    print(f"\n{verdict.answer.upper()}\n{verdict.sentence}\n")
    for line in verdict.evidence:
        print(f"  - {line}")
    for warning in result.data.warnings:
        print(f"  ! {warning.text}")
    print(f"\nThe page: {page}   ({result.recipe.seconds:.0f} s)")
    return result
