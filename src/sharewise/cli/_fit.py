"""``sharewise fit``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import _options as o

if TYPE_CHECKING:
    from ..train import Fitted


@o.about_columns
def fit(
    table: o.Table,
    out: Annotated[Path, typer.Option(help="Folder for the model; training continues there.", show_default=False)],
    columns: o.Columns,
    balancer: Annotated[str, typer.Option(help="How the losses become one update.")] = "equal",
    by_layer: Annotated[bool, typer.Option("--by-layer", help="Balance each shared layer by itself.")] = False,
    guidance: Annotated[
        float | None,
        typer.Option(help="Share of the training rows that aim learns from instead.", show_default="0.1 with aim"),
    ] = None,
    schedule: Annotated[str, typer.Option(help="Which tasks train in a step.")] = "all",
    epochs: Annotated[int, typer.Option(help="Most epochs.")] = 100,
    batch_size: Annotated[int, typer.Option(help="Rows a step.")] = 256,
    learning_rate: Annotated[float, typer.Option(help="Of AdamW.")] = 2e-3,
    patience: Annotated[int, typer.Option(help="Epochs without improvement before stopping.")] = 10,
    precision: Annotated[str, typer.Option(help="32-true or bf16-mixed.")] = "32-true",
    seed: Annotated[int, typer.Option(help="Of split, weights and order.")] = 0,
    logs: Annotated[str, typer.Option(help="csv, tensorboard, or both.")] = "csv",
    export: Annotated[str | None, typer.Option(help="Also write model.onnx (onnx) or model.pt2 (torch).")] = None,
    json: o.Json = False,
) -> None:
    """Train one shared model for several columns of a table, and keep it with its preprocessing.

    Example: `sharewise fit people.csv --targets income,health --out models/people`
    """
    from ..train import fit_table
    from ..train._export import check_kind

    if export is not None:
        check_kind(export)
    source, spec_targets = _source(table, columns.targets)
    fitted = fit_table(
        source,
        spec_targets,
        **columns.roles,
        balancer=balancer,
        shared="layers" if by_layer else None,
        guidance=guidance,
        schedule=schedule,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        patience=patience,
        precision=precision,
        seed=seed,
        out=out,
        logs=o.names(logs),
    )
    if export:
        fitted.export(export, out / ("model.onnx" if export == "onnx" else "model.pt2"))
    _report(fitted, out, json)


def _report(fitted: Fitted, out: Path, json: bool) -> None:
    """What came of it, on standard output."""
    test = {t: {m: v if v == v else None for m, v in d.items()} for t, d in fitted.test.items()}
    if json:
        o.print_json(
            {
                "out": str(out),
                "test": test,
                "epochs": len(fitted.history),
                "best_epoch": fitted.best_epoch,
                "warnings": fitted.warnings,
                **_learned(fitted),
            }
        )
        return
    for text in fitted.warnings:
        o.say(f"! {text}")
    print(f"best of {len(fitted.history)} epochs: {fitted.best_epoch}. On the test rows:")
    for task, metrics in test.items():
        values = ", ".join(f"{m} {'–' if v is None else f'{v:.4g}'}" for m, v in metrics.items())
        print(f"  {task}: {values}")
    print(f"The model: {out}")


def _learned(fitted: Fitted) -> dict[str, Any]:
    """What aim's policy learned: task -> other -> threshold; layer by layer, that of each layer."""
    from ..balance import AIM

    balancer = fitted.balancer
    if not isinstance(balancer, AIM):
        return {}
    names = [task.name for task in fitted.tasks]

    def table(policy: object) -> dict[str, dict[str, float]]:
        assert isinstance(policy, AIM)
        rows = policy.thresholds(names).tolist()
        return {
            a: {b: v for b, v in zip(names, row, strict=True) if a != b} for a, row in zip(names, rows, strict=True)
        }

    if balancer.group_names:
        return {"thresholds": {group: table(balancer.group(group)) for group in balancer.group_names}}
    return {"thresholds": table(balancer)}


def _source(table: str, targets: list[str]) -> tuple[Any, list[str]]:
    """A built-in set knows its targets."""
    if not table.startswith("set:"):
        return table, targets
    from ..data import sets

    frame, spec = sets.load(table.removeprefix("set:"))
    return frame, targets or list(spec.targets)
