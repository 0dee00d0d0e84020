"""Training one shared network on partly labelled properties, with any balancer and, for AIM, guidance batches."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ... import balance
from ...balance import AIM, Balancer
from ...errors import DataError, OptionError
from ...sharing import HardSharing
from ...tasks import Task, binary, regression
from ._policy import PolicyHistory
from ._table import PropertyTable


@dataclass(frozen=True)
class Settings:
    """Of one training; see :class:`PropertyModel`."""

    balancer: str = "aim"
    options: dict[str, Any] = field(default_factory=dict)
    encoder: tuple[int, ...] = (64, 32)
    head: tuple[int, ...] = (32,)
    dropout: float = 0.0
    epochs: int = 100
    batch: int = 32
    lr: float = 1e-3
    weight_decay: float = 0.0
    plateau: int = 50
    patience: int = 75
    cross: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        counts = {"epochs": self.epochs, "batch": self.batch, "plateau": self.plateau, "patience": self.patience}
        for name, value in counts.items():
            if value < 1:
                raise OptionError(f"{name} is {value}, expected 1 or more")
        if not self.encoder or min((*self.encoder, *self.head)) < 1:
            raise OptionError(f"encoder is {self.encoder} and head {self.head}, expected widths of 1 or more")
        if not (self.lr > 0 and self.weight_decay >= 0 and 0 <= self.dropout < 1):
            raise OptionError("expected lr > 0, weight_decay >= 0 and dropout in [0, 1)")


@dataclass(frozen=True)
class Parts:
    """The rows a training sees; ``guidance`` is only for the policy, and never for the model."""

    train: PropertyTable
    valid: PropertyTable
    guidance: PropertyTable | None = None


@dataclass
class Trained:
    """A network with its best weights on ``valid``, what its policy did, and validation losses by epoch."""

    model: HardSharing
    tasks: tuple[Task, ...]
    history: list[float]
    policy: PolicyHistory | None


def tasks_of(table: PropertyTable) -> tuple[Task, ...]:
    """A task a property: yes or no, or regression on the absolute error of labels standardised by this table."""
    made: list[Task] = []
    for name, values in table.targets.items():
        known = values[~np.isnan(values)].astype(float)
        if not len(known):
            raise DataError(f'property "{name}" has no label among the molecules to learn from: leave it out')
        if name in table.yes_no:
            made.append(binary(name))
        else:
            made.append(regression(name, loss="absolute", loc=float(known.mean()), scale=float(known.std()) or 1.0))
    return tuple(made)


def network(columns: int, tasks: Sequence[Task], settings: Settings) -> HardSharing:
    """One encoder, and a head of its own for each task."""
    encoder = layers(columns, settings.encoder, settings.dropout)
    heads = {t.name: layers(settings.encoder[-1], (*settings.head, 1)) for t in tasks}
    return HardSharing(encoder, heads)


def layers(columns: int, widths: Sequence[int], dropout: float = 0.0) -> nn.Sequential:
    """Linear layers of these widths, rectified and dropped out between them but not after the last one."""
    made: list[nn.Module] = []
    for before, width in zip((columns, *widths), widths, strict=False):
        if made:
            made += [nn.ReLU(), *([nn.Dropout(dropout)] if dropout else [])]
        made.append(nn.Linear(before, width))
    return nn.Sequential(*made)


class Rows:
    """A table as tensors; a batch gives the loss of each task that has a label in it."""

    def __init__(self, table: PropertyTable, tasks: Sequence[Task]) -> None:
        self.x = torch.from_numpy(table.features)
        self.tasks = tasks
        labels = [torch.from_numpy(table.targets[t.name]) for t in tasks]
        self.seen = [~y.isnan() for y in labels]
        self.full = [bool(seen.all()) for seen in self.seen]
        self.y = [y.nan_to_num() for y in labels]

    def __len__(self) -> int:
        return len(self.x)

    def losses(self, model: nn.Module, rows: Tensor) -> dict[str, Tensor]:
        """Task name -> mean loss over the labelled ones among these rows; a task without any is absent."""
        raw = model(self.x[rows])
        found = {}
        for task, y, seen, full in zip(self.tasks, self.y, self.seen, self.full, strict=True):
            if full:
                found[task.name] = task.masked_loss(raw[task.name], y[rows], None)
            elif bool((some := seen[rows]).any()):
                found[task.name] = task.masked_loss(raw[task.name], y[rows], some)
        return found

    def mean_loss(self, model: nn.Module) -> float:
        """Mean over tasks of the loss on all rows, in evaluation mode."""
        model.eval()
        with torch.no_grad():
            found = self.losses(model, torch.arange(len(self)))
        model.train()
        return float(torch.stack(list(found.values())).mean())

    def orders(self, batch: int, generator: torch.Generator) -> Iterator[list[Tensor]]:
        """The rows in batches, shuffled anew each time, without end."""
        while True:
            yield list(torch.randperm(len(self), generator=generator).split(batch))


def train(parts: Parts, settings: Settings) -> Trained:
    """Train with Adam, halve the learning rate on a plateau, stop early, and keep the best weights on ``valid``.

    The encoder gets the balanced direction, heads get their own gradients. With :class:`sharewise.balance.AIM` and
    guidance rows, each step of the model is followed by a step of the policy on the next guidance batch.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        tasks = tasks_of(parts.train)
        model = network(parts.train.features.shape[1], tasks, settings)
        balancer = balance.create(settings.balancer, tasks=[t.name for t in tasks], **settings.options)
        return _run(model, tasks, balancer, parts, settings)


def _run(model: HardSharing, tasks: tuple[Task, ...], balancer: Balancer, parts: Parts, settings: Settings) -> Trained:
    optimizer = torch.optim.Adam(
        [*model.parameters(), *balancer.parameters()], settings.lr, weight_decay=settings.weight_decay, fused=True
    )
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=settings.plateau)
    step = Step(model, balancer, optimizer, Rows(parts.train, tasks), settings)
    if isinstance(balancer, AIM) and parts.guidance is not None:
        step.guide_with(Rows(parts.guidance, tasks))
    valid = Rows(parts.valid, tasks)
    history: list[float] = []
    best, best_state, since = float("inf"), copy.deepcopy(model.state_dict()), 0
    for _ in range(settings.epochs):
        step.epoch()
        history.append(valid.mean_loss(model))
        plateau.step(history[-1])
        since += 1
        if history[-1] < best:
            best, best_state, since = history[-1], copy.deepcopy(model.state_dict()), 0
        if since >= settings.patience:
            break
    model.load_state_dict(best_state)
    model.eval()
    return Trained(model, tasks, history, step.policy)


class Step:
    """The steps of an epoch: the model on training batches and, once :meth:`guide_with` was told, the policy."""

    def __init__(
        self, model: HardSharing, balancer: Balancer, optimizer: torch.optim.Optimizer, rows: Rows, settings: Settings
    ) -> None:
        self.model, self.balancer, self.optimizer, self.rows = model, balancer, optimizer, rows
        self.settings = settings
        self.shared = list(model.shared_parameters())
        self.orders = rows.orders(settings.batch, torch.Generator().manual_seed(settings.seed))
        self.policy: PolicyHistory | None = None
        self.guidance: Iterator[tuple[Rows, Tensor]] | None = None

    def guide_with(self, rows: Rows) -> None:
        """Cycle through these rows for the policy, one batch a step."""
        orders = rows.orders(self.settings.batch, torch.Generator().manual_seed(self.settings.seed + 1))
        self.guidance = ((rows, batch) for order in orders for batch in order)
        self.policy = PolicyHistory(tuple(t.name for t in rows.tasks))

    def epoch(self) -> None:
        """Once through the training rows."""
        for batch in next(self.orders):
            losses = self.rows.losses(self.model, batch)
            if not losses:
                continue
            self.optimizer.zero_grad(set_to_none=True)
            taken = balance.backward(losses, self.balancer, shared=self.shared)
            self.optimizer.step()
            if self.balancer.looks_again:
                with torch.no_grad():
                    self.balancer.look_again(self.rows.losses(self.model, batch))
            if self.guidance is not None:
                self._guide(batch, taken)
        self.balancer.end_epoch()
        if self.policy is not None and isinstance(self.balancer, AIM):
            self.policy.end_epoch(self.balancer)

    def _guide(self, batch: Tensor, taken: balance.Balance) -> None:
        assert self.guidance is not None and self.policy is not None and isinstance(self.balancer, AIM)
        self.policy.add(taken)
        rows, held = next(self.guidance)
        losses = rows.losses(self.model, held)
        trained = self.rows.losses(self.model, batch) if self.settings.cross else None
        if len(losses) > 1:
            self.balancer.guide(losses, trained=trained, shared=self.shared)
