"""``sharewise merge``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import _options as o


def merge(
    plan: Annotated[Path, typer.Argument(help="A plan: YAML, also mergekit's.", show_default=False)],
    out: Annotated[Path, typer.Argument(help="The folder to write; must not exist.", show_default=False)],
    root: Annotated[Path, typer.Option(help="Folder that relative paths in the plan start from.")] = Path(),
    shard_size: Annotated[str, typer.Option(help="Most bytes of a file of weights, e.g. 500MB.")] = "5GB",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Tensors worked on at once.", show_default="the cores, at most 4")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it is a former merge.")] = False,
    allow_outside: Annotated[
        bool, typer.Option("--allow-outside", help="Let relative paths of the plan leave the root folder.")
    ] = False,
    json: o.Json = False,
) -> None:
    """Merge checkpoints as a plan says into one, with a bill of what it cost each of them.

    Example: `sharewise merge plan.yaml merged`
    """
    from ..merge import merge as run

    result = run(
        plan,
        out,
        root=root,
        allow_outside=allow_outside,
        shard_bytes=size(shard_size),
        threads=threads,
        overwrite=overwrite,
    )
    if json:
        o.print_json(result)
        return
    print(f"{out}   ({result['seconds']:.1f} s)")


def size(text: str) -> int:
    """``"500MB"`` -> 500,000,000; powers of ten, and of two with an i (``GiB``)."""
    import re

    from ..errors import OptionError

    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kKMGT]?)(i?)B?\s*", text)
    if not found:
        raise OptionError(f'"{text}" is no size: write for instance 500MB or 5GB')
    power = "kMGT".find(found[2].replace("K", "k")) + 1 if found[2] else 0
    return max(1, int(float(found[1]) * (1024 if found[3] else 1000) ** power))
