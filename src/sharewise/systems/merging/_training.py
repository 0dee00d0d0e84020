"""Pre-training of an encoder, and fine-tuning of it for all tasks at once with frozen heads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy, pad

from ._bed import HEAD, Examples, Headed, State, Task

_CLOSED = -1e9
"""Added to the logits of classes that a task does not have."""


@dataclass(frozen=True)
class Recipe:
    """Of Adam: epochs, batch size and learning rate."""

    epochs: int = 15
    batch: int = 64
    lr: float = 1e-3


def pretrain(model: Headed, examples: Examples, recipe: Recipe, generator: torch.Generator) -> State:
    """Adam on the cross-entropy; returns copies of the encoder's parameters by their names in ``model``."""
    optimizer = torch.optim.Adam(model.parameters(), recipe.lr, foreach=True)
    for _ in range(recipe.epochs):
        for rows in torch.randperm(len(examples), generator=generator).split(recipe.batch):
            optimizer.zero_grad(set_to_none=True)
            cross_entropy(model(examples.inputs[rows]), examples.labels[rows]).backward()
            optimizer.step()
    return {name: value.detach().clone() for name, value in model.named_parameters() if name != HEAD}


def fine_tune(
    model: Headed, base: State, tasks: Mapping[str, Task], recipe: Recipe, generator: torch.Generator
) -> dict[str, State]:
    """One fine-tune of ``base`` a task by Adam on its training part, its head frozen; all in one run, batch by batch.

    The tasks' training parts must have the same number of examples. Every fine-tune is what it would be alone, since
    Adam works entry by entry: only the speed differs.
    """
    parts = [task.parts["train"] for task in tasks.values()]
    inputs, labels = torch.stack([p.inputs for p in parts]), torch.stack([p.labels for p in parts])
    most = max(len(task.head) for task in tasks.values())
    heads = torch.stack([pad(task.head, (0, 0, 0, most - len(task.head))) for task in tasks.values()])
    closed = torch.stack([_CLOSED * (torch.arange(most) >= len(task.head)) for task in tasks.values()])

    def loss(values: State, head: Tensor, shut: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return cross_entropy(functional_call(model, {**values, HEAD: head}, (x,)) + shut, y)

    gradients = vmap(grad(loss))
    stacked = {name: value.expand(len(tasks), *value.shape).clone() for name, value in base.items()}
    optimizer = torch.optim.Adam(stacked.values(), recipe.lr, foreach=True)
    each = torch.arange(len(tasks)).unsqueeze(1)
    for _ in range(recipe.epochs):
        order = torch.stack([torch.randperm(len(parts[0]), generator=generator) for _ in tasks])
        for rows in order.split(recipe.batch, 1):
            found = gradients(stacked, heads, closed, inputs[each, rows], labels[each, rows])
            for name, value in stacked.items():
                value.grad = found[name]
            optimizer.step()
    return {task: {name: value[i].detach().clone() for name, value in stacked.items()} for i, task in enumerate(tasks)}


def train_jointly(
    model: Headed, base: State, tasks: Mapping[str, Task], recipe: Recipe, generator: torch.Generator
) -> State:
    """One encoder for all of ``tasks``, from ``base``, by Adam on their training parts, their heads frozen.

    A batch is of one task; the batches of an epoch come in random order. With one task it is that task's fine-tune.
    """
    values = {name: value.clone().requires_grad_() for name, value in base.items()}
    optimizer = torch.optim.Adam(values.values(), recipe.lr, foreach=True)
    for _ in range(recipe.epochs):
        batches = [(task, rows) for task in tasks.values() for rows in _batches(task, recipe, generator)]
        for place in torch.randperm(len(batches), generator=generator).tolist():
            task, rows = batches[place]
            examples = task.parts["train"]
            optimizer.zero_grad(set_to_none=True)
            logits = functional_call(model, {**values, HEAD: task.head}, (examples.inputs[rows],))
            cross_entropy(logits, examples.labels[rows]).backward()
            optimizer.step()
    return {name: value.detach() for name, value in values.items()}


def _batches(task: Task, recipe: Recipe, generator: torch.Generator) -> tuple[Tensor, ...]:
    return torch.randperm(len(task.parts["train"]), generator=generator).split(recipe.batch)
