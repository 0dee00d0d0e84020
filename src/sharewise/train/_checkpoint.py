"""What a run is continued from: all that decides how its training goes on, in one file."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import RunError
from ._random import random_state, set_random_state
from ._settings import EpochRecord
from ._state import load_state, save_state

if TYPE_CHECKING:
    from ._loop import Loop

CHECKPOINT = "checkpoint.safetensors"


@dataclass
class Checkpoint:
    """The checkpoint of a run: in ``folder``, or nowhere; written by the first of several processes, at most every
    ``seconds`` unless it must be."""

    folder: Path | None
    seconds: float
    writes: bool

    def __post_init__(self) -> None:
        self._saved_at = time.monotonic()

    def save(self, loop: Loop, *, must: bool = True) -> None:
        """Write the loop's state; without ``must`` only if it is time to."""
        if self.folder is None or not (must or time.monotonic() - self._saved_at >= self.seconds):
            return
        self._saved_at = time.monotonic()
        if self.writes:
            save_state(self.folder / CHECKPOINT, state_of(loop))

    def resume(self, loop: Loop) -> bool:
        """Take the loop to where the file left it, if there is one; raises :class:`RunError` if it is another run's."""
        if self.folder is None or not (self.folder / CHECKPOINT).exists():
            return False
        state = load_state(self.folder / CHECKPOINT)
        before = state["fingerprint"]
        for key, value in fingerprint(loop).items():
            if before.get(key) != value:
                raise RunError(
                    f'"{self.folder}" holds another run: its {key} is {before.get(key)!r}, now {value!r}. '
                    "Choose another folder, or delete that one"
                )
        restore(loop, state)
        return True


def fingerprint(loop: Loop) -> dict[str, Any]:
    """What must be the same for a checkpoint to be continued."""
    names = {id(p): name for name, p in loop.model.named_parameters()}
    shared: Any = loop.shared
    if isinstance(shared, dict):
        shared = {group: [names[id(p)] for p in members] for group, members in shared.items()}
    elif shared is not None:
        shared = [names[id(p)] for p in shared]
    return {
        "tasks": [[t.name, t.kind] for t in loop.tasks],
        "balancer": type(loop.balancer).__name__,
        "schedule": type(loop.schedule).__name__,
        "optimizer": type(loop.optimizer).__name__,
        "shared": shared,
        "parameters": [list(p.shape) for p in loop.model.parameters()],
        "examples": len(loop.data.train),
        "batch_size": loop.settings.batch_size,
        "accumulate": loop.settings.accumulate,
        "seed": loop.settings.seed,
    }


def state_of(loop: Loop) -> dict[str, Any]:
    """All that decides how training goes on."""
    return {
        "fingerprint": fingerprint(loop),
        "epoch": loop.epoch,
        "batch": loop.batch,
        "step": loop.step,
        "done": loop.done,
        "model": loop.model.state_dict(),
        "best": loop.best,
        "optimizer": loop.optimizer.state_dict(),
        "scheduler": loop.scheduler.state_dict() if loop.scheduler is not None else {},
        "balancer": loop.balancer.state_dict(),
        "schedule": loop.schedule.state_dict(),
        "feed": loop.feed.state_dict(),
        "stopping": loop.stopping.state_dict(),
        "history": [asdict(r) for r in loop.history],
        "epoch_losses": loop.epoch_losses.state_dict(),
        "rng": random_state(loop.fabric.device),
        "callbacks": [c.state_dict() for c in loop.callbacks],
    }


def restore(loop: Loop, state: dict[str, Any]) -> None:
    """Take back what :func:`state_of` gave."""
    loop.epoch, loop.batch, loop.step = state["epoch"], state["batch"], state["step"]
    loop.done, loop.best = state["done"], state["best"]
    loop.model.load_state_dict(state["model"])
    loop.optimizer.load_state_dict(state["optimizer"])
    if loop.scheduler is not None:
        loop.scheduler.load_state_dict(state["scheduler"])
    loop.balancer.load_state_dict(state["balancer"])
    loop.schedule.load_state_dict(state["schedule"])
    loop.feed.load_state_dict(state["feed"])
    loop.stopping.load_state_dict(state["stopping"])
    loop.history = [EpochRecord(**r) for r in state["history"]]
    loop.epoch_losses.load_state_dict(state["epoch_losses"])
    set_random_state(state["rng"], loop.fabric.device)
    for callback, saved in zip(loop.callbacks, state["callbacks"], strict=True):
        callback.load_state_dict(saved)
