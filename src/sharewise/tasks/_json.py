"""Tasks as JSON, for models that are saved and loaded."""

from __future__ import annotations

from typing import Any

from ..errors import TaskError
from . import _makers
from ._task import Task


def task_to_json(task: Task) -> dict[str, Any]:
    """What :func:`task_from_json` needs; a custom task keeps only its name and kind."""
    value: dict[str, Any] = {"name": task.name, "kind": task.kind, "weight": task.weight}
    if task.kind == "regression":
        losses = {f: name for name, f in _makers.REGRESSION_LOSSES.items()}
        value |= {"loss": losses[task.loss], "loc": task.loc, "scale": task.scale}
    elif task.classes:
        value["classes"] = list(task.classes)
    return value


def task_from_json(value: dict[str, Any]) -> Task:
    """The task that :func:`task_to_json` described; raises :class:`TaskError` for custom ones."""
    options = {k: v for k, v in value.items() if k not in ("name", "kind")}
    maker = getattr(_makers, value["kind"], None)
    if value["kind"] == "custom" or maker is None:
        raise TaskError(
            f'task "{value["name"]}" has a loss of its own, which is not saved: give load(..., tasks=[...])'
        )
    return maker(value["name"], **options)
