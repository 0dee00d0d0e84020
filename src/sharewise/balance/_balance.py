"""What one step of balancing came to."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from ._task_rows import TaskRows


@dataclass
class Balance:
    """The outcome of :func:`sharewise.balance.backward`.

    Nothing here costs a backward pass, and nothing waits for the device before it is read.

    Args:
        names: the tasks balanced, in order.
        loss: the weighted total of the losses (detached scalar); their plain sum where the method has no weights.
        weight_vector: weights ``[m]`` of the rows, or of what the method remembers of them; ``None`` where the
            direction is not such a combination.
        gram: inner products of the gradient rows ``[m, m]``, float64; ``None`` for methods that only need losses,
            which never take per-task gradients (:func:`sharewise.balance.measure` does).
        skipped: tasks left out because of a loss or gradient that was not finite. If no task is left, or a step is
            skipped as a whole, ``names`` is empty and no gradient was filled.
        notes: what else the method tells of its decision, by name; see :class:`Balancer`.
        groups: where each group of parameters was decided on by itself, the outcome of each; there are then no
            weights for the whole, and ``gram`` is that of all groups together.
        rows: the gradient rows, where they were asked for; with groups, each group's outcome has its own.
    """

    names: tuple[str, ...]
    loss: Tensor
    weight_vector: Tensor | None = None
    gram: Tensor | None = None
    skipped: tuple[str, ...] = ()
    notes: dict[str, Tensor] = field(default_factory=dict)
    groups: dict[str, Balance] = field(default_factory=dict)
    rows: TaskRows | None = field(default=None, repr=False)

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """Task name -> weight (scalar tensor); empty where the method has none."""
        return {} if self.weight_vector is None else dict(zip(self.names, self.weight_vector.unbind(), strict=True))

    @cached_property
    def norms(self) -> dict[str, Tensor] | None:
        """Task name -> Euclidean norm of its gradient row (float64 scalar); ``None`` without rows."""
        if self.gram is None:
            return None
        return dict(zip(self.names, self.gram.diagonal().sqrt().unbind(), strict=True))

    @cached_property
    def cosines(self) -> Tensor | None:
        """Cosines of the angles between rows ``[m, m]``, float64; 0 with a zero row; ``None`` without rows."""
        if self.gram is None:
            return None
        norms = self.gram.diagonal().sqrt()
        inverse = torch.where(norms > 0, 1 / norms, 0.0)
        return (self.gram * inverse * inverse[:, None]).clamp(-1, 1)
