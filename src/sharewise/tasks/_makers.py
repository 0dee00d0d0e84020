"""Makers of the usual tasks: ``sw.regression("age")`` and its siblings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import TaskError
from . import _metrics as m
from ._task import Metric, Task


def _squared(raw: Tensor, target: Tensor) -> Tensor:
    return (raw - target).square()


def _absolute(raw: Tensor, target: Tensor) -> Tensor:
    return (raw - target).abs()


def _huber(raw: Tensor, target: Tensor) -> Tensor:
    return F.smooth_l1_loss(raw, target, reduction="none")


def _binary(raw: Tensor, target: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(raw, target.to(raw.dtype), reduction="none")


def _classes(raw: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(raw, target, reduction="none")


def _ranking(raw: Tensor, target: Tensor) -> Tensor:
    """Pairwise logistic loss over all pairs of the batch whose targets differ (RankNet; Burges et al. 2005)."""
    wins = (target[:, None] > target[None, :]).to(raw.dtype)
    return (F.softplus(raw[None, :] - raw[:, None]) * wins).sum() / wins.sum().clamp_min(1)


REGRESSION_LOSSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "squared": _squared,
    "absolute": _absolute,
    "huber": _huber,
}


def regression(name: str, *, loss: str = "squared", weight: float = 1.0, loc: float = 0.0, scale: float = 1.0) -> Task:
    """A number to predict; prediction and target are ``[B]``. Main metric: RMSE in the target's units.

    Args:
        loss: ``squared``, ``absolute`` or ``huber``, of the standardised target.
        loc, scale: the head learns ``(target - loc) / scale``.
    """
    if loss not in REGRESSION_LOSSES:
        raise TaskError(f'task "{name}": loss must be one of {sorted(REGRESSION_LOSSES)}, got {loss!r}')
    return Task(
        name=name,
        kind="regression",
        loss=REGRESSION_LOSSES[loss],
        metrics={"rmse": m.rmse, "mae": m.mae, "r2": m.r2},
        higher_is_better={"rmse": False, "mae": False, "r2": True},
        weight=weight,
        loc=loc,
        scale=scale,
        example_metric=m.squared_error,
        root=True,
    )


def binary(name: str, *, weight: float = 1.0, classes: Sequence[Any] = (False, True)) -> Task:
    """Yes or no: prediction ``[B]`` logits, target ``[B]`` of 0 and 1. Main metric: log loss (nats)."""
    if len(classes) != 2:
        raise TaskError(f'task "{name}": a binary task has two classes, got {len(classes)}: use multiclass')
    return Task(
        name=name,
        kind="binary",
        loss=_binary,
        metrics={"log_loss": m.binary_log_loss, "auroc": m.binary_auroc, "accuracy": m.binary_accuracy},
        higher_is_better={"log_loss": False, "auroc": True, "accuracy": True},
        weight=weight,
        classes=tuple(classes),
        example_metric=m.binary_log_losses,
    )


def multiclass(name: str, classes: int | Sequence[Any], *, weight: float = 1.0) -> Task:
    """One class of several: prediction ``[B, C]`` logits, target ``[B]`` class numbers. Main metric: log loss."""
    labels = tuple(range(classes)) if isinstance(classes, int) else tuple(classes)
    if len(labels) < 2:
        raise TaskError(f'task "{name}": needs at least two classes, got {len(labels)}')
    return Task(
        name=name,
        kind="multiclass",
        loss=_classes,
        metrics={"log_loss": m.multiclass_log_loss, "accuracy": m.multiclass_accuracy},
        higher_is_better={"log_loss": False, "accuracy": True},
        weight=weight,
        size=len(labels),
        classes=labels,
        example_metric=m.multiclass_log_losses,
    )


def multilabel(name: str, classes: int | Sequence[Any], *, weight: float = 1.0) -> Task:
    """Several yes-or-no labels as one task: prediction and target ``[B, C]``. Main metric: mean log loss."""
    labels = tuple(range(classes)) if isinstance(classes, int) else tuple(classes)
    return Task(
        name=name,
        kind="multilabel",
        loss=_binary,
        metrics={"log_loss": m.binary_log_loss, "accuracy": m.binary_accuracy},
        higher_is_better={"log_loss": False, "accuracy": True},
        weight=weight,
        size=len(labels),
        classes=labels,
        example_metric=m.binary_log_losses,
    )


def segmentation(name: str, classes: int | Sequence[Any], *, weight: float = 1.0) -> Task:
    """A class for each pixel: prediction ``[B, C, H, W]``, target ``[B, H, W]``. Main metric: mean IoU."""
    labels = tuple(range(classes)) if isinstance(classes, int) else tuple(classes)
    return Task(
        name=name,
        kind="segmentation",
        loss=_classes,
        metrics={"mean_iou": m.mean_iou, "accuracy": m.multiclass_accuracy},
        higher_is_better={"mean_iou": True, "accuracy": True},
        weight=weight,
        size=len(labels),
        classes=labels,
    )


def ranking(name: str, *, weight: float = 1.0) -> Task:
    """An order to learn: prediction and target ``[B]``; pairwise logistic loss within a batch (RankNet).

    Main metric: Spearman's rank correlation. Cost O(B^2) in time and memory.
    """
    return Task(
        name=name,
        kind="ranking",
        loss=_ranking,
        metrics={"spearman": m.spearman},
        higher_is_better={"spearman": True},
        weight=weight,
    )


def custom(
    name: str,
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    metrics: Mapping[str, Metric] | None = None,
    higher_is_better: Mapping[str, bool] | bool = False,
    weight: float = 1.0,
    size: int = 1,
) -> Task:
    """A task with a loss of your own: ``loss(prediction, target)`` gives a scalar or one value an example.

    Without metrics the mean loss is the metric, lower better.
    """
    if metrics is None:
        metrics = {"loss": lambda prediction, target: torch.as_tensor(loss(prediction, target)).mean()}
    if isinstance(higher_is_better, bool):
        higher_is_better = dict.fromkeys(metrics, higher_is_better)
    return Task(
        name=name,
        loss=loss,
        metrics=dict(metrics),
        higher_is_better=dict(higher_is_better),
        weight=weight,
        size=size,
    )
