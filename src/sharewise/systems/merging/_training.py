"""Pre-training of an encoder and fine-tuning with a frozen head, as short as the small networks allow."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ._bed import Examples, State


@dataclass(frozen=True)
class Recipe:
    """Of Adam: epochs, batch size and learning rate."""

    epochs: int = 15
    batch: int = 64
    lr: float = 1e-3


def train(encoder: nn.Module, head: Tensor, examples: Examples, recipe: Recipe, generator: torch.Generator) -> State:
    """Adam on the cross-entropy of ``encoder(inputs) @ head.T``; a head that requires gradients is trained too.

    The encoder is changed; copies of its parameters are returned, by their names below ``encoder``.
    """
    parameters = [*(p for p in encoder.parameters() if p.requires_grad), *([head] if head.requires_grad else [])]
    optimizer = torch.optim.Adam(parameters, recipe.lr, foreach=True)
    encoder.train()
    for _ in range(recipe.epochs):
        order = torch.randperm(len(examples), generator=generator)
        for rows in order.split(recipe.batch):
            optimizer.zero_grad(set_to_none=True)
            cross_entropy(encoder(examples.inputs[rows]) @ head.T, examples.labels[rows]).backward()
            optimizer.step()
    encoder.eval()
    return {f"encoder.{name}": value.detach().clone() for name, value in encoder.named_parameters()}
