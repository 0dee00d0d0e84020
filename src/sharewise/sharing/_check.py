"""Does a model keep its contract?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..errors import ModelError
from ..tasks import Task


class _Examples(Protocol):
    """What is used of a :class:`sharewise.Batch`."""

    inputs: Any

    def __len__(self) -> int: ...


def check_model(model: nn.Module, tasks: Sequence[Task], batch: _Examples) -> None:
    """Run ``model`` once on ``batch`` and see that it gives every task, and only these, in the right shape.

    Without gradients and in evaluation mode, which is taken back afterwards: nothing in the model changes.

    Raises :class:`ModelError` naming the task. Cost: one forward pass.
    """
    modes = {m: m.training for m in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            predictions = model(batch.inputs)
    finally:
        for module, training in modes.items():
            module.training = training
    if not isinstance(predictions, Mapping):
        raise ModelError(
            f"{type(model).__name__} gave {type(predictions).__name__}: forward must return a dictionary from task "
            "name to prediction"
        )
    names = [t.name for t in tasks]
    lacking = [n for n in names if n not in predictions]
    if lacking:
        raise ModelError(
            f"{type(model).__name__} gives no prediction for task {_list(lacking)}; it gives {_list(predictions)}"
        )
    extra = [n for n in predictions if n not in names]
    if extra:
        raise ModelError(f"{type(model).__name__} predicts {_list(extra)}, which is no task; tasks are {_list(names)}")
    for task in tasks:
        _check_shape(task, predictions[task.name], len(batch))


def _check_shape(task: Task, prediction: object, rows: int) -> None:
    if not isinstance(prediction, Tensor):
        raise ModelError(f'the prediction for task "{task.name}" must be a tensor, got {type(prediction).__name__}')
    found = list(prediction.shape)
    if task.kind in ("regression", "binary", "ranking"):
        fine, wanted = found == [rows], f"[{rows}]"
    elif task.kind in ("multiclass", "multilabel"):
        fine, wanted = found == [rows, task.size], f"[{rows}, {task.size}]"
    elif task.kind == "segmentation":
        fine, wanted = len(found) == 4 and found[:2] == [rows, task.size], f"[{rows}, {task.size}, H, W]"
    else:
        fine, wanted = found[:1] == [rows], f"[{rows}, ...]"
    if not fine:
        raise ModelError(
            f'the prediction for task "{task.name}" ({task.kind}) has shape {found} for {rows} examples; '
            f"it must be {wanted}"
        )


def _list(names: Sequence[str] | Mapping[str, object]) -> str:
    return ", ".join(f'"{n}"' for n in names)
