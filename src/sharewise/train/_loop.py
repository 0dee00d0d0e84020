"""The training loop: steps, epochs, validation. Everything it needs to continue is in its checkpoint."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..balance import Accumulation, Balancer, MeanReducer, Recorder, remembers_rows
from ..data import Batch, Splits
from ..schedule import AllTasks, Schedule, Signal
from ..tasks import Task
from ._ascent import ascended, take_step, wanted_rows
from ._callbacks import Callback
from ._checkpoint import Checkpoint
from ._evaluate import mean_losses
from ._feed import Feed
from ._interrupts import Interrupts
from ._probe import Probe
from ._random import once_more, random_state
from ._settings import EpochLosses, EpochRecord, Settings
from ._shared import Found, find_shared
from ._stopping import EarlyStopping
from ._task_losses import TaskLosses, mean_over_batches


@dataclass
class Loop:
    """One run of training. ``epoch``, ``batch`` and ``step`` say where it is."""

    model: nn.Module
    tasks: Sequence[Task]
    data: Splits
    balancer: Balancer
    schedule: Schedule
    optimizer: torch.optim.Optimizer
    scheduler: Any
    fabric: Any
    settings: Settings
    stopping: EarlyStopping
    callbacks: Sequence[Callback | Recorder]
    out: Path | None
    shared: Found | None = None
    epoch: int = 0
    batch: int = 0
    step: int = 0
    stop: bool = False
    done: bool = False
    history: list[EpochRecord] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        world, rank = self.fabric.world_size, self.fabric.global_rank
        self.reducer = MeanReducer() if world > 1 else None
        self.task_losses = TaskLosses(self.model, self.tasks, self.fabric, self.reducer)
        self.epoch_losses = EpochLosses()
        self._selects = not isinstance(self.schedule, AllTasks)
        size, seed = self.settings.batch_size, self.settings.seed
        self.feed = Feed(self.data.train, size, seed, world=world, rank=rank, by_task=self._selects)
        self.probe = Probe(self)
        self._found: list[Tensor] | None = None
        self._checkpoint = Checkpoint(self.out, self.settings.checkpoint_seconds, rank == 0)
        self._interrupts = Interrupts()
        self._seen: tuple[Batch, dict[str, Tensor]]

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in an epoch, as far as the source's size tells."""
        return math.ceil(len(self.data.train) / (self.settings.batch_size * self.settings.accumulate))

    def run(self) -> None:
        """Train to the end, or continue a checkpoint to the end; the best weights are in the model afterwards."""
        devices = [self.fabric.device] if self.fabric.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), self._interrupts.watched(wanted=self.out is not None):
            torch.manual_seed(self.settings.seed)
            if not self._checkpoint.resume(self):
                self.stopping.reference = self._validate()
                self._checkpoint.save(self)  # the initial weights are state too: a run killed at once must start alike
            for callback in self.callbacks:
                callback.on_fit_start(self)
            while not (self.done or self.stop or self.epoch >= self.settings.epochs or self.stopping.exhausted):
                self._train_epoch()
                self._end_epoch()
            self.model.load_state_dict(self.best or self.model.state_dict())
            if not self.done:
                self.done = True
                self._checkpoint.save(self)
            for callback in self.callbacks:
                callback.on_fit_end(self)

    def losses(self, batch: Batch, names: Sequence[str] | None = None) -> dict[str, Tensor]:
        """The loss of each of the named tasks (those of the step) that has a label in the batch."""
        return self.task_losses(batch, self.schedule.tasks(self.step) if names is None else names)

    def shared_parameters(self) -> list[Tensor]:
        """All that is shared, whatever the tasks of a step; found once where nobody named it."""
        if isinstance(self.shared, dict):
            return [p for group in self.shared.values() for p in group]
        if self.shared is not None:
            return self.shared
        if self._found is None:
            self._found = find_shared(self.model, self.tasks, self.data.valid)
        return self._found

    def parameters(self) -> Iterator[nn.Parameter]:
        """All that the optimizer holds."""
        for group in self.optimizer.param_groups:
            yield from group["params"]

    def _train_epoch(self) -> None:
        self.model.train()
        self._epoch_began = time.monotonic()
        for group in self._groups():
            self._take_gradients(group)
            self._step()
            if self.stop:
                return

    def _groups(self) -> Iterator[list[Batch]]:
        """The batches of each step: those with labels of its tasks, ``accumulate`` at a time; the last may be short."""
        group: list[Batch] = []
        for batch in self.feed.batches(self.epoch, self.batch, self._active):
            self.probe.aligned(batch)
            self.batch += 1
            if self.task_losses.seen(batch, self.schedule.tasks(self.step)):
                group.append(batch)
            if len(group) == self.settings.accumulate:
                yield group
                group = []
        if group:
            yield group

    def _active(self) -> list[str]:
        """The tasks of this step, where each has a source of its own."""
        self.probe.by_task()
        return self.schedule.tasks(self.step)

    def _take_gradients(self, group: list[Batch]) -> None:
        """Those of one step, where its optimizer wants them."""
        with ascended(self, group):
            self._accumulate(group)

    def _accumulate(self, group: list[Batch]) -> None:
        """Forward and backward of the batches of one step, and one decision for all of them."""
        rows = wanted_rows(self.optimizer, group, self.schedule.tasks(self.step))
        step = Accumulation(
            self.balancer,
            batches=len(group),
            shared=self._shared(bool(rows)),
            mode=self.settings.mode,
            reducer=self.reducer,
            rows=rows,
        )
        told: list[dict[str, Tensor]] = []
        for batch in (batch.to(self.fabric.device) for batch in group):
            if self.balancer.looks_again:
                self._seen = batch, random_state(self.fabric.device)
            losses = self.losses(batch)
            for callback in self.callbacks:
                callback.on_losses(self, batch, losses)
            step.add(losses)
            told.append({name: loss.detach() for name, loss in losses.items()})
            self.epoch_losses.add(told[-1])
        self._balance = step.resolve()
        self._told = mean_over_batches(told)

    def _shared(self, rows: bool) -> Found | None:
        """What to balance; ``None``: it is not needed, or to be found in each step's graph."""
        if self.balancer.needs == "losses" and not rows:
            return None
        fixed = self._selects or hasattr(self.model, "shared_parameters") or remembers_rows(self.balancer)
        return self.shared_parameters() if fixed and self.shared is None else self.shared

    def _step(self) -> None:
        if self.reducer is not None:
            self.reducer.gradients(self.parameters())
        if self.settings.clip is not None:
            torch.nn.utils.clip_grad_norm_(list(self.parameters()), self.settings.clip)
        take_step(self.optimizer, self._balance)
        self.optimizer.zero_grad(set_to_none=True)  # None, not zero: no optimizer moves the heads of absent tasks
        if self.balancer.looks_again:
            self._look_again()
        if self.schedule.uses:
            told = self.task_losses.reduced(self._told) if "losses" in self.schedule.uses else {}
            self.schedule.observe(self.step, Signal(told, parameters=self.model.parameters()))
        self.step += 1
        for callback in self.callbacks:
            callback.on_step(self, self._balance)
        if self._interrupts.noted:
            self._checkpoint.save(self)
            raise KeyboardInterrupt
        self._checkpoint.save(self, must=False)

    def _look_again(self) -> None:
        """Tell the balancer what the step did to the losses of its last batch."""
        batch, before = self._seen
        with once_more(self.model, before, self.fabric.device):
            losses = self.losses(batch)
        self.balancer.look_again(self.task_losses.reduced(losses))

    def _end_epoch(self) -> None:
        self.balancer.end_epoch()
        valid, train = self._validate(), self.epoch_losses.means()
        seconds = time.monotonic() - self._epoch_began
        record = EpochRecord(self.epoch, train, valid, self.stopping.improvement(valid), seconds)
        self.history.append(record)
        if self.stopping.update(self.epoch, valid):
            self.best = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        if self.scheduler is not None:
            self.scheduler.step()
        self.epoch, self.batch, self.epoch_losses = self.epoch + 1, 0, EpochLosses()
        for callback in self.callbacks:
            callback.on_epoch_end(self, record)

    def _validate(self) -> dict[str, float]:
        with self.fabric.autocast():
            return mean_losses(self.model, self.tasks, self.data.valid)
