"""The commands, put together. Everything heavy is imported inside the commands."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import __version__
from ._advise import advise
from ._demo import demo
from ._fit import fit
from ._ledger import ledger
from ._merge import merge
from ._predict import predict
from ._reproduce import reproduce
from ._study import study
from ._systems import systems

app = typer.Typer(
    name="sharewise",
    help="Learn several tasks with one model, and know whether that was wise.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"sharewise {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Learn several tasks with one model, and know whether that was wise."""


for command in (demo, study, fit, predict, advise, merge, systems, reproduce, ledger):
    app.command(command.__name__)(command)
