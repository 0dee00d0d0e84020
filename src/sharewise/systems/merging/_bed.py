"""What merges are compared on: fine-tunes of one network, one a task, their frozen heads, and examples to judge by."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor, nn

Part = Literal["train", "validation", "test"]
State = dict[str, Tensor]
"""A network's parameters by name."""


HEAD = "head.weight"


class Headed(nn.Module):
    """An encoder and a linear head without bias: inputs ``[n, ...]`` -> logits ``[n, classes]``."""

    def __init__(self, encoder: nn.Module, width: int, classes: int) -> None:
        super().__init__()
        self.encoder, self.width = encoder, width
        self.head = nn.Linear(width, classes, bias=False)

    def layers(self) -> list[str]:
        """The names of the encoder's linear layers."""
        return [n for n, m in self.named_modules() if isinstance(m, nn.Linear) and n.startswith("encoder.")]

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.head(self.encoder(inputs))
        return logits


@dataclass(frozen=True)
class Examples:
    """Inputs ``[n, ...]`` of one task and their classes ``[n]``."""

    inputs: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int) -> Examples:
        """The first ``count``, or all there are; parts are shuffled once, so these are a random sample."""
        return Examples(self.inputs[:count], self.labels[:count])


@dataclass(frozen=True)
class Task:
    """One task: its frozen head ``[classes, features]``, and its examples by part."""

    head: Tensor
    parts: Mapping[Part, Examples]


@dataclass(frozen=True)
class Bed:
    """A pre-trained encoder and one fine-tune of it a task.

    Attributes:
        model: encoder and a head; its own parameters play no part.
        base: the pre-trained encoder's parameters, by their names in ``model``.
        experts: the fine-tuned encoders', by task.
        tasks: head and examples, by task, in the same order.
        chunk: inputs that the encoder sees at a time where only its features are asked for.
    """

    model: Headed
    base: State
    experts: dict[str, State]
    tasks: dict[str, Task]
    chunk: int = 4096

    @cached_property
    def best(self) -> dict[str, float]:
        """The experts' test accuracy by task: what merges are measured against."""
        return self.accuracies(self.experts, "test")

    @property
    def states(self) -> dict[str, State]:
        """The experts with their heads: whole state dicts of ``model``, by task."""
        return {task: {**state, HEAD: self.tasks[task].head} for task, state in self.experts.items()}

    def expert(self, task: str) -> Headed:
        """The expert of a task as a module of its own."""
        made = Headed(copy.deepcopy(self.model.encoder), self.model.width, len(self.tasks[task].head))
        made.load_state_dict(self.states[task])
        return made.eval().requires_grad_(False)

    def logits(self, task: str, state: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """``[n, classes]`` of the encoder with the parameters ``state`` and the task's head."""
        values = {**state, HEAD: self.tasks[task].head}
        found: Tensor = torch.func.functional_call(self.model, values, (inputs,))
        return found

    def batches(self, task: str, part: Part, count: int | None = None, size: int = 256) -> Iterator[Examples]:
        """The first ``count`` examples of a part, ``size`` at a time."""
        examples = self.tasks[task].parts[part]
        examples = examples if count is None else examples.first(count)
        for start in range(0, len(examples), size):
            yield Examples(examples.inputs[start : start + size], examples.labels[start : start + size])

    def accuracy(self, task: str, predict: Callable[[Tensor], Tensor], part: Part, count: int | None = None) -> float:
        """Share of the examples (the first ``count``) whose largest logit is their class."""
        right = total = 0
        with torch.no_grad():
            for batch in self.batches(task, part, count):
                right += int((predict(batch.inputs).argmax(1) == batch.labels).sum())
                total += len(batch)
        return right / total

    def inputs(self, part: Part, count: int | None = None, size: int = 256) -> dict[str, list[Tensor]]:
        """Unlabelled batches of every task."""
        return {task: [b.inputs for b in self.batches(task, part, count, size)] for task in self.tasks}

    def accuracies(
        self, states: Mapping[str, Mapping[str, Tensor]], part: Part, count: int | None = None
    ) -> dict[str, float]:
        """Accuracy by task; ``states`` has the parameters to use for each. Tasks that share them are run together."""
        together: dict[int, list[str]] = {}
        for task in self.tasks:
            together.setdefault(id(states[task]), []).append(task)
        found = {}
        for tasks in together.values():
            parts = {task: self.tasks[task].parts[part] for task in tasks}
            chosen = parts if count is None else {task: p.first(count) for task, p in parts.items()}
            features = self.features(states[tasks[0]], torch.cat([e.inputs for e in chosen.values()]))
            for (task, examples), own in zip(
                chosen.items(), features.split([len(e) for e in chosen.values()]), strict=True
            ):
                right = (own @ self.tasks[task].head.T).argmax(1) == examples.labels
                found[task] = float(right.double().mean())
        return {task: found[task] for task in self.tasks}

    @torch.no_grad()
    def features(self, state: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """``[n, width]`` of the encoder with the parameters ``state``, ``chunk`` inputs at a time."""
        own = {name.removeprefix("encoder."): value for name, value in state.items()}
        parts = [torch.func.functional_call(self.model.encoder, own, (x,)) for x in inputs.split(self.chunk)]
        return torch.cat(parts)

    def for_all(self, state: Mapping[str, Tensor]) -> dict[str, Mapping[str, Tensor]]:
        """The same parameters for every task."""
        return dict.fromkeys(self.tasks, state)


def frozen_head(classes: int, width: int, generator: torch.Generator, scale: float = 3.0) -> Tensor:
    """Random orthonormal rows ``[classes, width]`` times ``scale``: a head that no feature of the base was made for."""
    return scale * torch.linalg.qr(torch.randn(width, classes, generator=generator))[0].T
