"""``sharewise predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import _options as o


def predict(
    model: Annotated[Path, typer.Argument(help="Folder that `sharewise fit` wrote.", show_default=False)],
    table: o.Table,
    out: Annotated[
        Path | None,
        typer.Option(help="File to write (.csv, .parquet, .jsonl).", show_default="standard output"),
    ] = None,
    json: o.Json = False,
) -> None:
    """Predict every target for the rows of a table.

    Example: `sharewise predict models/people new.csv --out predictions.csv`
    """
    from ..errors import OptionError
    from ..files import write_bytes
    from ..train import load

    if out is not None and out.suffix not in (".csv", ".parquet", ".jsonl"):
        raise OptionError(f'"{out}" has an ending that cannot be written: use .csv, .parquet or .jsonl')
    o.check_file(out)
    frame = load(model).predict(table)
    if out is None:
        print(frame.write_ndjson() if json else frame.write_csv(), end="")  # type: ignore[union-attr]
        return
    import io

    buffer = io.BytesIO()
    if out.suffix == ".csv":
        frame.write_csv(buffer)  # type: ignore[union-attr]
    elif out.suffix == ".parquet":
        frame.write_parquet(buffer)  # type: ignore[union-attr]
    else:
        frame.write_ndjson(buffer)  # type: ignore[union-attr]
    write_bytes(out, buffer.getvalue())
    if json:
        o.print_json({"out": str(out), "rows": len(frame), "columns": frame.columns})  # type: ignore[union-attr]
    else:
        o.say(f"{len(frame)} rows: {out}")
