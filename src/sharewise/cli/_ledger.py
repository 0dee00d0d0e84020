"""``sharewise ledger``: what `sharewise reproduce` found so far."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import RunError, nearest
from ._options import Json


def ledger(
    id: Annotated[str | None, typer.Argument(help="One system instead of all.", metavar="[ID]")] = None,
    as_json: Json = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table of the README.")] = False,
    update_readme: Annotated[
        Path | None, typer.Option(help="Replace the table between the ledger markers of this file.")
    ] = None,
    folder: Annotated[Path, typer.Option(help="Folder of the ledger.")] = Path("ledger"),
) -> None:
    """Show the verdicts on published claims, refuted ones included.

    Example: `sharewise ledger ras`
    """
    from ..systems import ledger as book
    from ._reproduce import text

    results = book.read_all(folder)
    if id is not None:
        known = [result.id for result in results]
        if id not in known:
            raise RunError(f'no "{id}" in the ledger "{folder}": {nearest(id, known)}')
        results = [result for result in results if result.id == id]
    if update_readme is not None:
        changed = book.update_readme(update_readme, book.read_all(folder))
        typer.echo(f"{update_readme}: {'updated' if changed else 'already up to date'}", err=True)
    elif as_json:
        typer.echo("[" + ",\n".join(result.to_json().rstrip() for result in results) + "]")
    elif markdown:
        typer.echo(book.render_table(results), nl=False)
    elif not results:
        typer.echo(f'no results in "{folder}": run `sharewise reproduce ID --ledger` first')
    else:
        typer.echo("\n".join(text(result) for result in results), nl=False)
