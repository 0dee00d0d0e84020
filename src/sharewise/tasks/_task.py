"""What is learned: a task, its loss, its metrics and the meaning of its numbers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..errors import TaskError

Metric = Callable[[Tensor, Tensor], Tensor]
"""``metric(prediction, target) -> scalar``; ``prediction`` is decoded, that is, in the user's units."""


@dataclass(frozen=True)
class Task:
    """One thing to learn.

    Args:
        name: unique among the tasks of a model; keys predictions, targets and all balancer state.
        kind: ``regression``, ``binary``, ``multiclass``, ``multilabel``, ``segmentation``, ``ranking`` or
            ``custom``.
        loss: ``loss(raw prediction [B, ...], target [B, ...])`` -> scalar, or one value an example ``[B]``.
            A scalar loss is only ever given the observed examples.
        metrics: name -> function of (decoded prediction, target). The first one is the *main* metric: the one
            comparisons and verdicts are made with.
        higher_is_better: metric name -> direction.
        weight: the user's own weight of the task, multiplied into the loss before any balancing.
        size: numbers a head puts out for an example.
        classes: labels in the order of the outputs (classification only).
        loc, scale: a regression head learns ``(target - loc) / scale``; set them from training rows only.
        example_metric: ``example_metric(decoded, target) -> [B]``: values whose mean is (a monotone function of)
            the main metric, for intervals over examples; ``None`` where there is no such thing.
        root: the main metric is the square root of the mean of ``example_metric`` (RMSE).
    """

    name: str
    loss: Callable[[Tensor, Tensor], Tensor]
    kind: str = "custom"
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    higher_is_better: Mapping[str, bool] = field(default_factory=dict)
    weight: float = 1.0
    size: int = 1
    classes: tuple[Any, ...] = ()
    loc: float = 0.0
    scale: float = 1.0
    example_metric: Metric | None = None
    root: bool = False

    def __post_init__(self) -> None:
        if not self.name or not isinstance(self.name, str):
            raise TaskError(f"a task needs a name that is not empty, got {self.name!r}")
        if not (math.isfinite(self.weight) and self.weight > 0):
            raise TaskError(f'task "{self.name}": weight must be a positive number, got {self.weight}')
        if not (math.isfinite(self.scale) and self.scale > 0 and math.isfinite(self.loc)):
            raise TaskError(f'task "{self.name}": loc and scale must be finite and scale positive')
        unknown = set(self.metrics) - set(self.higher_is_better)
        if unknown:
            raise TaskError(f'task "{self.name}": say in higher_is_better how to read {sorted(unknown)}')

    @property
    def main_metric(self) -> str:
        """Name of the metric that comparisons are made with."""
        return next(iter(self.metrics), "loss")

    def scaled(self, loc: float, scale: float) -> Task:
        """The same task whose head learns ``(target - loc) / scale``."""
        return dataclasses.replace(self, loc=float(loc), scale=float(scale))

    def decode(self, raw: Tensor) -> Tensor:
        """Raw head output -> the user's units: numbers for regression, probabilities for classes."""
        if self.kind == "regression":
            return raw * self.scale + self.loc
        if self.kind in ("binary", "multilabel"):
            return torch.sigmoid(raw)
        if self.kind == "multiclass":
            return torch.softmax(raw, dim=-1)
        if self.kind == "segmentation":
            return torch.softmax(raw, dim=1)
        return raw

    def example_losses(self, raw: Tensor, target: Tensor) -> Tensor:
        """Loss of each example ``[B]``, or a scalar if that is all the task's loss gives."""
        if self.kind == "regression" and (self.loc != 0.0 or self.scale != 1.0):
            target = (target - self.loc) / self.scale
        value = self.loss(raw, target)
        return value.flatten(1).mean(1) if value.dim() > 1 else value

    def masked_loss(self, raw: Tensor, target: Tensor, observed: Tensor | None, weight: Tensor | None = None) -> Tensor:
        """Mean loss over observed examples, optionally weighted by example; a scalar with a graph.

        The caller makes sure that at least one example is observed: a task with none is absent from the step.
        """
        if observed is None and weight is None:
            return self.example_losses(raw, target).mean() * self.weight
        keep = torch.ones(len(target), dtype=torch.bool, device=target.device) if observed is None else observed
        values = self.example_losses(raw[keep], target[keep])
        if weight is None or values.dim() == 0:
            return values.mean() * self.weight
        chosen = weight[keep]
        return (values * chosen).sum() / chosen.sum().clamp_min(torch.finfo(chosen.dtype).tiny) * self.weight

    def evaluate(self, decoded: Tensor, target: Tensor) -> dict[str, float]:
        """All metrics of decoded predictions ``[N, ...]`` against observed targets ``[N, ...]``.

        A metric that the labels do not define (AUROC of one class) is NaN.
        """
        return {name: float(metric(decoded, target)) for name, metric in self.metrics.items()}


def check_tasks(tasks: list[Task] | tuple[Task, ...]) -> tuple[Task, ...]:
    """The tasks as a tuple; raises :class:`TaskError` where there are none or two share a name."""
    names = [t.name for t in tasks]
    if not names:
        raise TaskError("no tasks given: name at least one target")
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise TaskError(f"two tasks are named {twice[0]!r}: give each task its own name")
    return tuple(tasks)
