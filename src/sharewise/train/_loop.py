"""The training loop: steps, epochs, validation, checkpoints. Everything it needs to continue is in its state."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..balance import Accumulation, Balancer, MeanReducer, Recorder, remembers_rows
from ..data import Batch, Splits
from ..errors import RunError
from ..schedule import AllTasks, Schedule, Signal
from ..tasks import Task
from ._ascent import ascended, take_step, wanted_rows
from ._callbacks import Callback
from ._evaluate import mean_losses, observed_count
from ._feed import Feed
from ._probe import Probe
from ._random import once_more, random_state, set_random_state
from ._state import load_state, save_state
from ._stopping import EarlyStopping

CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True)
class Settings:
    """The numbers of a run; see :func:`sharewise.fit` for their meaning."""

    epochs: int
    batch_size: int
    accumulate: int
    clip: float | None
    seed: int
    mode: str
    checkpoint_seconds: float


@dataclass
class EpochRecord:
    """What an epoch came to: mean losses a task, the mean relative improvement, seconds."""

    epoch: int
    train: dict[str, float]
    valid: dict[str, float]
    improvement: float
    seconds: float


@dataclass
class Loop:
    """One run of training. ``epoch``, ``batch`` and ``step`` say where it is; see :meth:`state_dict`."""

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
    epoch: int = 0
    batch: int = 0
    step: int = 0
    stop: bool = False
    done: bool = False
    history: list[EpochRecord] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._seen: tuple[Batch, dict[str, Tensor]]
        self._interrupted = False
        self._saved_at = self._began_at = time.monotonic()
        world, rank = self.fabric.world_size, self.fabric.global_rank
        self._reducer = MeanReducer() if world > 1 else None
        self._selects = not isinstance(self.schedule, AllTasks)
        size, seed = self.settings.batch_size, self.settings.seed
        self.feed = Feed(self.data.train, size, seed, world=world, rank=rank, by_task=self._selects)
        self._probe = Probe(self)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in an epoch, as far as the source's size tells."""
        return math.ceil(len(self.data.train) / (self.settings.batch_size * self.settings.accumulate))

    def run(self) -> None:
        """Train to the end, or continue a checkpoint to the end; the best weights are in the model afterwards."""
        devices = [self.fabric.device] if self.fabric.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), self._interrupts():
            torch.manual_seed(self.settings.seed)
            if not self._resume():
                self.stopping.reference = self._validate()
                self._save()  # the initial weights are state too: a run killed at once must start from the same
            for callback in self.callbacks:
                callback.on_fit_start(self)
            while not (self.done or self.stop or self.epoch >= self.settings.epochs or self.stopping.exhausted):
                self._train_epoch()
                self._end_epoch()
            self.model.load_state_dict(self.best or self.model.state_dict())
            if not self.done:
                self.done = True
                self._save()
            for callback in self.callbacks:
                callback.on_fit_end(self)

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
            self._probe.aligned(batch)
            self.batch += 1
            if self._labelled(batch):
                group.append(batch)
            if len(group) == self.settings.accumulate:
                yield group
                group = []
        if group:
            yield group

    def _active(self) -> list[str]:
        """The tasks of this step, where each has a source of its own."""
        self._probe.by_task()
        return self.schedule.tasks(self.step)

    def _labelled(self, batch: Batch) -> bool:
        """Whether a task of the step has a label in the batch, on any process."""
        return bool(self._seen_tasks(batch, self.schedule.tasks(self.step)))

    def _seen_tasks(self, batch: Batch, names: Sequence[str]) -> set[str]:
        """The named tasks with a label in the batch, on any process: all processes must step with the same tasks."""
        given = [task.name for task in self.tasks if task.name in set(names) and task.name in batch.targets]
        seen = [name not in batch.observed or observed_count(batch, name) > 0 for name in given]
        if self._reducer is not None and given:
            seen = (
                self._reducer.losses(torch.tensor(seen, dtype=torch.float32, device=self.fabric.device)) > 0
            ).tolist()
        return {name for name, found in zip(given, seen, strict=True) if found}

    def _look_again(self) -> None:
        """Tell the balancer what the step did to the losses of its last batch."""
        batch, before = self._seen
        with once_more(self.model, before, self.fabric.device):
            losses = self.losses(batch)
        self.balancer.look_again(self._reduced(losses))

    def _reduced(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """The losses that all processes go by."""
        if self._reducer is None or not losses:
            return losses
        values = self._reducer.losses(torch.stack([loss.detach() for loss in losses.values()]))
        return dict(zip(losses, values.unbind(), strict=True))

    def _take_gradients(self, group: list[Batch]) -> None:
        """Those of one step, where its optimizer wants them."""
        with ascended(self, group, self.losses):
            self._accumulate(group)

    def _accumulate(self, group: list[Batch]) -> None:
        """Forward and backward of the batches of one step, and one decision for all of them."""
        rows = wanted_rows(self.optimizer, group, self.schedule.tasks(self.step))
        step = Accumulation(
            self.balancer,
            batches=len(group),
            shared=self._shared(bool(rows)),
            mode=self.settings.mode,
            reducer=self._reducer,
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
            for name, value in told[-1].items():
                self._sums[name] = self._sums[name] + value if name in self._sums else value
                self._counts[name] = self._counts.get(name, 0) + 1
        self._balance = step.resolve()
        self._told = _mean_losses(told)

    def losses(self, batch: Batch, names: Sequence[str] | None = None) -> dict[str, Tensor]:
        """The loss of each of the named tasks (those of the step) that has a label in the batch."""
        chosen = self._seen_tasks(batch, self.schedule.tasks(self.step) if names is None else names)
        with self.fabric.autocast():
            raw = self.model(batch.inputs)
            losses = {}
            for task in self.tasks:
                if task.name not in chosen:
                    continue
                seen = batch.observed.get(task.name)
                if seen is not None and not observed_count(batch, task.name):  # but another process has labels of it
                    losses[task.name] = raw[task.name].sum() * 0.0
                    continue
                losses[task.name] = task.masked_loss(raw[task.name], batch.targets[task.name], seen, batch.weight)
        return losses

    def _shared(self, rows: bool) -> list[nn.Parameter] | None:
        """The shared parameters; ``None``: not needed, or to be found in each step's graph."""
        if self.balancer.needs == "losses" and not rows:
            return None
        fixed = self._selects or hasattr(self.model, "shared_parameters") or remembers_rows(self.balancer)
        return self._probe.shared() if fixed else None

    def _parameters(self) -> Iterator[nn.Parameter]:
        for group in self.optimizer.param_groups:
            yield from group["params"]

    def _step(self) -> None:
        if self._reducer is not None:
            self._reducer.gradients(self._parameters())
        if self.settings.clip is not None:
            torch.nn.utils.clip_grad_norm_(list(self._parameters()), self.settings.clip)
        take_step(self.optimizer, self._balance)
        self.optimizer.zero_grad(set_to_none=True)  # None, not zero: no optimizer moves the heads of absent tasks
        if self.balancer.looks_again:
            self._look_again()
        if self.schedule.uses:
            told = self._reduced(self._told) if "losses" in self.schedule.uses else {}
            self.schedule.observe(self.step, Signal(told, parameters=self.model.parameters()))
        self.step += 1
        for callback in self.callbacks:
            callback.on_step(self, self._balance)
        if self._interrupted:
            self._save()
            raise KeyboardInterrupt
        if self.out and time.monotonic() - self._saved_at >= self.settings.checkpoint_seconds:
            self._save()

    def _end_epoch(self) -> None:
        self.balancer.end_epoch()
        valid = self._validate()
        train = {name: float(total) / self._counts[name] for name, total in self._sums.items()}
        seconds = time.monotonic() - self._epoch_began
        record = EpochRecord(self.epoch, train, valid, self.stopping.improvement(valid), seconds)
        self.history.append(record)
        if self.stopping.update(self.epoch, valid):
            self.best = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        if self.scheduler is not None:
            self.scheduler.step()
        self.epoch, self.batch, self._sums, self._counts = self.epoch + 1, 0, {}, {}
        for callback in self.callbacks:
            callback.on_epoch_end(self, record)

    def _validate(self) -> dict[str, float]:
        with self.fabric.autocast():
            return mean_losses(self.model, self.tasks, self.data.valid)

    def fingerprint(self) -> dict[str, Any]:
        """What must be the same for a checkpoint to be continued."""
        return {
            "tasks": [[t.name, t.kind] for t in self.tasks],
            "balancer": type(self.balancer).__name__,
            "schedule": type(self.schedule).__name__,
            "optimizer": type(self.optimizer).__name__,
            "parameters": [list(p.shape) for p in self.model.parameters()],
            "examples": len(self.data.train),
            "batch_size": self.settings.batch_size,
            "accumulate": self.settings.accumulate,
            "seed": self.settings.seed,
        }

    def state_dict(self) -> dict[str, Any]:
        """All that decides how training goes on."""
        return {
            "fingerprint": self.fingerprint(),
            "epoch": self.epoch,
            "batch": self.batch,
            "step": self.step,
            "done": self.done,
            "model": self.model.state_dict(),
            "best": self.best,
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict() if self.scheduler is not None else {},
            "balancer": self.balancer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "feed": self.feed.state_dict(),
            "stopping": self.stopping.state_dict(),
            "history": [asdict(r) for r in self.history],
            "sums": self._sums,
            "counts": self._counts,
            "rng": random_state(self.fabric.device),
            "callbacks": [c.state_dict() for c in self.callbacks],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` gave; raises :class:`RunError` if it is another run's."""
        for key, value in self.fingerprint().items():
            if state["fingerprint"].get(key) != value:
                raise RunError(
                    f'"{self.out}" holds another run: its {key} is {state["fingerprint"].get(key)!r}, now {value!r}. '
                    "Choose another folder, or delete that one"
                )
        self.epoch, self.batch, self.step = state["epoch"], state["batch"], state["step"]
        self.done, self.best = state["done"], state["best"]
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        self.balancer.load_state_dict(state["balancer"])
        self.schedule.load_state_dict(state["schedule"])
        self.feed.load_state_dict(state["feed"])
        self.stopping.load_state_dict(state["stopping"])
        self.history = [EpochRecord(**r) for r in state["history"]]
        self._sums = {k: v.to(self.fabric.device) for k, v in state["sums"].items()}
        self._counts = state["counts"]
        set_random_state(state["rng"], self.fabric.device)
        for callback, saved in zip(self.callbacks, state["callbacks"], strict=True):
            callback.load_state_dict(saved)

    def _save(self) -> None:
        self._saved_at = time.monotonic()
        if self.out is not None and self.fabric.global_rank == 0:
            save_state(self.out / CHECKPOINT, self.state_dict())

    def _resume(self) -> bool:
        if self.out is None or not (self.out / CHECKPOINT).exists():
            return False
        self.load_state_dict(load_state(self.out / CHECKPOINT))
        return True

    @contextmanager
    def _interrupts(self) -> Iterator[None]:
        """Ctrl-C ends training after the current step, with a checkpoint; a second one ends it at once."""
        if self.out is None or threading.current_thread() is not threading.main_thread():
            yield
            return

        def note(number: int, frame: Any) -> None:
            if self._interrupted:
                raise KeyboardInterrupt
            self._interrupted = True

        former = signal.signal(signal.SIGINT, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, former)


def _mean_losses(batches: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Task -> its mean loss over the batches that have it."""
    names = dict.fromkeys(name for losses in batches for name in losses)
    return {name: torch.stack([b[name] for b in batches if name in b]).mean() for name in names}
