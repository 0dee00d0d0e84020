"""``sharewise ledger``: what `sharewise reproduce` found so far."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import OptionError, RunError, nearest
from ._options import Json, check_file

if TYPE_CHECKING:
    from ..systems import Result


def ledger(
    id: Annotated[str | None, typer.Argument(help="One system instead of all.", metavar="[ID]")] = None,
    as_json: Json = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table of the README.")] = False,
    update_readme: Annotated[
        Path | None, typer.Option(help="Replace the table between the ledger markers of this file.")
    ] = None,
    page: Annotated[Path | None, typer.Option(help="Write the page of all claims, with remarks, to this file.")] = None,
    folder: Annotated[Path, typer.Option(help="Folder of the ledger.")] = Path("ledger"),
) -> None:
    """Show the verdicts on published claims, refuted ones included.

    Example: `sharewise ledger ras`
    """
    from ..systems import ledger as book
    from ._reproduce import text

    if as_json and markdown:
        raise OptionError("--json and --markdown each want standard output for themselves: leave one out")
    check_file(page)
    results = book.read_all(folder)
    if id is not None:
        known = [result.id for result in results]
        if id not in known:
            hint = nearest(id, known) if known else f"it is empty; `sharewise reproduce {id} --ledger` enters a result"
            raise RunError(f'no "{id}" in the ledger "{folder}": {hint}')
        results = [result for result in results if result.id == id]
    if update_readme is not None or page is not None:
        _write(book.read_all(folder), update_readme, page)
    elif as_json:
        typer.echo("[" + ",\n".join(result.to_json().rstrip() for result in results) + "]")
    elif markdown:
        typer.echo(book.render_table(results), nl=False)
    elif not results:
        typer.echo(f'no results in "{folder}": run `sharewise reproduce ID --ledger` first')
    else:
        typer.echo("\n".join(text(result) for result in results), nl=False)


def _write(results: list[Result], readme: Path | None, page: Path | None) -> None:
    """Bring the README's table and the page of all claims up to date; both hold the whole ledger."""
    from ..files import write_text
    from ..systems import ledger as book

    if readme is not None:
        changed = book.update_readme(readme, results)
        typer.echo(f"{readme}: {'updated' if changed else 'already up to date'}", err=True)
    if page is not None:
        write_text(page, book.render_page(results))
        typer.echo(f"{page}: written", err=True)
