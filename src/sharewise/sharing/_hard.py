"""Hard parameter sharing: one encoder, a head for each task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ..errors import ModelError, TaskError, nearest
from ..tasks import Task, check_tasks
from ._names import module_key


class HardSharing(nn.Module):
    """One encoder for all tasks and a head for each ("hard parameter sharing"; Caruana, Machine Learning, 1997).

    Args:
        encoder: the shared part; called with the batch's inputs. Whatever it gives is handed to every head.
        heads: task name -> module. Any string can be a name. A head that gives one number an example ``[B, 1]``
            gives ``[B]`` here, as regression and binary tasks want it.

    ``forward(inputs)`` gives task name -> raw prediction, in the heads' order. ``config`` holds the settings the
    encoder was built from, where :func:`table_model` built it.
    """

    def __init__(self, encoder: nn.Module, heads: Mapping[str, nn.Module]) -> None:
        super().__init__()
        if not heads:
            raise ModelError("a model needs a head for at least one task")
        self.encoder = encoder
        self.heads = nn.ModuleDict({module_key(task): head for task, head in heads.items()})
        self.tasks = tuple(heads)
        self.config: dict[str, Any] | None = None

    def forward(self, inputs: Any) -> dict[str, Tensor]:
        """Inputs as the encoder takes them -> raw prediction of each task."""
        shared = self.encoder(inputs)
        predictions = {}
        for task, head in zip(self.tasks, self.heads.values(), strict=True):
            raw = head(shared)
            predictions[task] = raw.squeeze(1) if raw.dim() == 2 and raw.shape[1] == 1 else raw
        return predictions

    def head(self, task: str) -> nn.Module:
        """The head of a task; raises :class:`TaskError` for an unknown one."""
        if task not in self.tasks:
            raise TaskError(f'the model has no head for task "{task}"; {nearest(task, self.tasks)}')
        return self.heads[module_key(task)]

    def shared_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters all tasks use: the encoder's."""
        return self.encoder.parameters()

    def head_parameters(self, task: str) -> Iterator[nn.Parameter]:
        """The parameters only this task uses."""
        return self.head(task).parameters()


def hard_sharing(encoder: nn.Module, tasks: Sequence[Task], width: int | None = None) -> HardSharing:
    """An encoder with a linear head of the right size for each task.

    Args:
        encoder: gives ``[B, width]``.
        width: numbers the encoder gives for an example; its attribute ``width`` if not given.

    Raises :class:`ModelError` where the width is not known.
    """
    size = getattr(encoder, "width", None) if width is None else width
    if not isinstance(size, int) or size < 1:
        raise ModelError(
            f"how many numbers {type(encoder).__name__} gives for an example is not known: pass width=..., "
            "or give the encoder an attribute of that name"
        )
    return HardSharing(encoder, {task.name: nn.Linear(size, task.size) for task in check_tasks(tuple(tasks))})
