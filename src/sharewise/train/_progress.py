"""A progress bar with per-task losses and time left; silent where nobody watches."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from ._callbacks import Callback

if TYPE_CHECKING:
    from torch import Tensor

    from ..balance import Balance
    from ..data import Batch
    from ._loop import Loop
    from ._settings import EpochRecord

REFRESH_SECONDS = 0.2


class ProgressBar(Callback):
    """Shows epoch, per-task training losses, the mean improvement and the time left, on standard error.

    Does nothing unless standard error is a terminal. Losses are read from the device only when the bar is
    redrawn, a few times a second.
    """

    def __init__(self) -> None:
        self.enabled = sys.stderr.isatty()
        self.last = 0.0

    def on_fit_start(self, loop: Loop) -> None:
        """Open the bar."""
        if not self.enabled:
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[losses]}", markup=False),
            console=Console(stderr=True),
            transient=True,
        )
        total = loop.settings.epochs * loop.steps_per_epoch
        self.row = self.bar.add_task("fit", total=total, completed=loop.step, epoch=loop.epoch, losses="")
        self.bar.start()

    def on_losses(self, loop: Loop, batch: Batch, losses: dict[str, Tensor]) -> None:
        """Redraw, at most a few times a second."""
        now = time.monotonic()
        if self.enabled and now - self.last > REFRESH_SECONDS:
            self.last = now
            text = "  ".join(f"{name} {float(value.detach()):.3g}" for name, value in list(losses.items())[:8])
            self.bar.update(self.row, completed=loop.step, epoch=loop.epoch, losses=text)

    def on_step(self, loop: Loop, balance: Balance) -> None:
        """Nothing: the bar is drawn from the losses."""

    def on_epoch_end(self, loop: Loop, record: EpochRecord) -> None:
        """Move the bar to the end of the epoch."""
        if self.enabled:
            self.bar.update(self.row, completed=loop.step)

    def close(self) -> None:
        """Take the bar away; called however training ends."""
        if self.enabled and hasattr(self, "bar"):
            self.bar.stop()
