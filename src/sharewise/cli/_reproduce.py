"""``sharewise reproduce``: a paper's claims, tried here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from ..errors import OptionError
from ._options import Json, check_file
from ._progress import bar

if TYPE_CHECKING:
    from ..systems import Result, Scale


def reproduce(
    id: Annotated[str, typer.Argument(help="A system; `sharewise systems` lists them.", metavar="ID")],
    seeds: Annotated[str, typer.Option(help="Seeds: 0,1,2 or 0-4. Five or more for a verdict.")] = "0-4",
    scale: Annotated[str, typer.Option(help="smoke (seconds), default (minutes) or paper.")] = "default",
    jobs: Annotated[int, typer.Option(help="Processes that share the seeds.", min=1)] = 1,
    as_json: Json = False,
    out: Annotated[Path | None, typer.Option(help="Also write the JSON to this file.")] = None,
    to_ledger: Annotated[bool, typer.Option("--ledger", help="Enter the result in the ledger.")] = False,
    folder: Annotated[Path, typer.Option(help="Folder of the ledger.")] = Path("ledger"),
) -> None:
    """Run all arms of a published system over seeds and judge its claims. Exit code 1: a claim is refuted.

    Example: `sharewise reproduce ras --seeds 0-4 --json`
    """
    from ..study import parse_seeds
    from ..systems import get, ledger
    from ..systems import reproduce as run

    check_file(out)
    found, numbers = get(id), parse_seeds(seeds)
    if to_ledger:
        _check_entry(scale, numbers)
    with bar() as progress:
        result = run(found.id, numbers, cast("Scale", scale), jobs, lambda done, total: progress(done, total, found.id))
    if out is not None:
        result.save(out)
    if to_ledger:
        ledger.write(result, folder)
    typer.echo(result.to_json() if as_json else text(result), nl=False)
    if result.refuted:
        raise typer.Exit(1)


def text(result: Result) -> str:
    """The verdicts for a reader: effect, 95 % interval over seeds, and what the claim asked for."""
    from ..systems import ledger

    reading = "faithful to the paper" if result.reading == "faithful" else "our reading of the paper"
    lines = [
        f"{result.id}: {result.title} ({reading})",
        f"scale {result.scale}, {len(result.seeds)} seeds, {result.seconds:.1f} s; {result.data}",
    ]
    for claim in result.claims:
        lines += [
            "",
            f"  {claim.verdict.upper()}  {claim.text}",
            f"    claimed {ledger.expected(claim)}, found {ledger.interval(claim)}",
        ]
    return "\n".join([*lines, ""])


def _check_entry(scale: str, seeds: list[int]) -> None:
    from ..systems import FEWEST_SEEDS

    if scale == "smoke" or len(seeds) < FEWEST_SEEDS:
        raise OptionError(
            f"the ledger takes runs at scale default or paper with {FEWEST_SEEDS} or more seeds, "
            f"found scale {scale} with {len(seeds)}"
        )
