"""Metrics of decoded predictions, as plain functions; torchmetrics where it is loaded only when asked."""

from __future__ import annotations

import torch
from torch import Tensor

# Probabilities are kept this far from 0 and 1 in the log loss, so that one certain mistake costs a bounded
# amount (about 13.8 nats) whoever made it: network, boosted trees or a constant.
PROBABILITY_FLOOR = 1e-6


def squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Squared error of each example ``[N]``."""
    return (prediction.double() - target.double()).square().reshape(len(target), -1).mean(1)


def rmse(prediction: Tensor, target: Tensor) -> Tensor:
    """Root mean squared error, in the target's units."""
    return squared_error(prediction, target).mean().sqrt()


def mae(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error, in the target's units."""
    return (prediction.double() - target.double()).abs().mean()


def r2(prediction: Tensor, target: Tensor) -> Tensor:
    """Share of the targets' variance explained; NaN for constant targets."""
    total = (target.double() - target.double().mean()).square().mean()
    return 1 - squared_error(prediction, target).mean() / total if total > 0 else torch.tensor(float("nan"))


def binary_log_losses(probability: Tensor, target: Tensor) -> Tensor:
    """Log loss (nats) of each example ``[N]`` from the probability of class one."""
    p = probability.double().clamp(PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR)
    losses = -(target.double() * p.log() + (1 - target.double()) * (1 - p).log())
    return losses.reshape(len(target), -1).mean(1)


def multiclass_log_losses(probability: Tensor, target: Tensor) -> Tensor:
    """Log loss (nats) of each example ``[N]`` from class probabilities ``[N, C, ...]``."""
    p = probability.double().gather(1, target.long().unsqueeze(1)).clamp_min(PROBABILITY_FLOOR)
    return -p.log().reshape(len(target), -1).mean(1)


def binary_log_loss(probability: Tensor, target: Tensor) -> Tensor:
    """Mean log loss (nats)."""
    return binary_log_losses(probability, target).mean()


def multiclass_log_loss(probability: Tensor, target: Tensor) -> Tensor:
    """Mean log loss (nats)."""
    return multiclass_log_losses(probability, target).mean()


def binary_accuracy(probability: Tensor, target: Tensor) -> Tensor:
    """Share of examples on the right side of one half."""
    return ((probability >= 0.5) == (target >= 0.5)).double().mean()


def multiclass_accuracy(probability: Tensor, target: Tensor) -> Tensor:
    """Share of examples whose most probable class is the true one."""
    return (probability.argmax(1) == target).double().mean()


def binary_auroc(probability: Tensor, target: Tensor) -> Tensor:
    """Area under the ROC curve; NaN when only one class is there."""
    from torchmetrics.functional.classification import binary_auroc as auroc

    labels = target.long()
    if labels.min() == labels.max():
        return torch.tensor(float("nan"))
    return auroc(probability.float(), labels)


def spearman(prediction: Tensor, target: Tensor) -> Tensor:
    """Rank correlation; NaN where either side is constant."""
    from torchmetrics.functional.regression import spearman_corrcoef

    if len(target) < 2 or target.min() == target.max() or prediction.min() == prediction.max():
        return torch.tensor(float("nan"))
    return spearman_corrcoef(prediction.double(), target.double())


def mean_iou(probability: Tensor, target: Tensor) -> Tensor:
    """Mean over classes present of intersection over union; ``probability`` [N, C, H, W], ``target`` [N, H, W]."""
    chosen = probability.argmax(1)
    scores = []
    for c in torch.unique(target).tolist():
        either = ((chosen == c) | (target == c)).sum()
        scores.append(((chosen == c) & (target == c)).sum().double() / either)
    return torch.stack(scores).mean()
