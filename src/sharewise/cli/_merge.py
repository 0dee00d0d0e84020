"""``sharewise merge``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import OptionError
from . import _options as o
from ._process import loading

if TYPE_CHECKING:
    from ..merge import Forecast


def merge(
    plan: Annotated[Path, typer.Argument(help="A plan: YAML, also mergekit's.", show_default=False)],
    out: Annotated[Path, typer.Argument(help="The folder to write; must not exist.", show_default=False)],
    root: Annotated[Path, typer.Option(help="Folder that relative paths in the plan start from.")] = Path(),
    shard_size: Annotated[str, typer.Option(help="Most bytes of a file of weights, e.g. 500MB.")] = "5GB",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Tensors worked on at once.", show_default="the cores, at most 4")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, say what it will take, write nothing.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it is a former merge.")] = False,
    allow_outside: Annotated[
        bool, typer.Option("--allow-outside", help="Let relative paths of the plan leave the root folder.")
    ] = False,
    json: o.Json = False,
) -> None:
    """Merge checkpoints as a plan says into one, with a bill of what it cost each of them.

    Example: `sharewise merge plan.yaml merged --dry-run`
    """
    with loading():
        from ..merge import merge as run
        from ..merge import open_plan
        from ._progress import bar

    size = bytes_of(shard_size)
    if dry_run:
        from ..merge import forecast

        _foretell(forecast(open_plan(plan, root=root, allow_outside=allow_outside), threads=threads), json)
        return
    with bar() as progress:
        bill = run(
            plan,
            out,
            root=root,
            allow_outside=allow_outside,
            shard_bytes=size,
            threads=threads,
            overwrite=overwrite,
            progress=lambda done, total, name: progress(done // 1_000_000, total // 1_000_000, name),
        )
    if json:
        o.print_json(bill)
    else:
        _report(bill, out)


def _foretell(found: Forecast, json: bool) -> None:
    if json:
        o.print_json(found.to_dict())
        return
    for warning in found.warnings:
        print(f"! {warning}")
    print(f"{found.tensors:,} tensors")
    print(f"disk    {found.written_bytes / 1e9:.2f} GB to write, {found.read_bytes / 1e9:.2f} GB to read")
    print(f"memory  {found.memory_bytes / 1e6:.0f} MB over the interpreter")
    print(f"time    {found.seconds:.0f} s to read and compute (from a sample), besides writing")


def _report(bill: dict[str, Any], out: Path) -> None:
    from ..merge import table

    if "errors" in bill:
        print(f"{out}   rank {bill['rank']}, largest relative error {bill['largest_error']:.2g}")
        return
    for line in [f"! {w}" for w in bill["warnings"]] + table(bill):
        print(line)
    print(f"{out}   ({bill['seconds']:.1f} s); the bill as a page: {out / 'merge.html'}")


def bytes_of(text: str) -> int:
    """``"500MB"`` -> 500,000,000; powers of ten, and of two with an i (``GiB``).

    Raises :class:`OptionError` for what is no size.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kKMGT]?)(i?)B?\s*", text)
    if not found:
        raise OptionError(f'"{text}" is no size: write for instance 500MB or 5GB')
    power = "kMGT".index(found[2].replace("K", "k")) + 1 if found[2] else 0
    return max(1, int(float(found[1]) * (1024 if found[3] else 1000) ** power))
