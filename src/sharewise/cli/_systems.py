"""``sharewise systems``: the published systems that can be reproduced."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ._options import Json, print_json


def systems(
    as_json: Json = False,
    folder: Annotated[Path, typer.Option(help="Folder of the ledger, for the verdicts.")] = Path("ledger"),
) -> None:
    """List the published systems: id, what it is, its data, and what the ledger says of its claims.

    Example: `sharewise systems --json`
    """
    rows = _rows(folder)
    if as_json:
        print_json(rows)
        return
    wide = max(len(row["id"]) for row in rows)
    for row in rows:
        data = row["data"].partition(":")[0]
        typer.echo(f"{row['id']:{wide}}  {row['title']} ({row['family']}; {data} data)")
        typer.echo(f"{'':{wide}}  {row['summary']}")


def _rows(folder: Path) -> list[dict[str, Any]]:
    from ..systems import available, get, ledger

    results = {result.id: result for result in ledger.read_all(folder)}
    rows = []
    for id in available():
        found, result = get(id), results.get(id)
        verdicts = [] if result is None else [{"text": c.text, "verdict": c.verdict} for c in result.claims]
        rows.append(
            {
                "id": id,
                "title": found.title,
                "family": found.family,
                "data": found.data,
                "reading": found.reading,
                "paper": found.paper.url,
                "claims": len(found.claims),
                "verdicts": verdicts,
                "summary": "not in the ledger" if result is None else ledger.summary(result),
            }
        )
    return rows
