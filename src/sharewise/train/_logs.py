"""Logs of a run: ``history.csv`` and TensorBoard events."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import OptionError
from ..files import write_text
from ._callbacks import Callback

if TYPE_CHECKING:
    from ._loop import Loop
    from ._settings import EpochRecord


class CSVLog(Callback):
    """``history.csv``: a row an epoch with every task's training and validation loss.

    Rewritten whole from the loop's history after each epoch, so a resumed run's file has no gap or repeat.
    """

    def __init__(self, folder: Path | str) -> None:
        self.path = Path(folder) / "history.csv"

    def on_epoch_end(self, loop: Loop, record: EpochRecord) -> None:
        """Write the file anew."""
        columns = ["epoch", "improvement", "seconds"]
        columns += [f"{part}/{t.name}" for part in ("train", "valid") for t in loop.tasks]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        for row in loop.history:
            values = {f"train/{k}": v for k, v in row.train.items()}
            values |= {f"valid/{k}": v for k, v in row.valid.items()}
            head = [row.epoch, row.improvement, round(row.seconds, 3)]
            writer.writerow(head + [values.get(c, "") for c in columns[3:]])
        write_text(self.path, text.getvalue())


class TensorBoardLog(Callback):
    """TensorBoard events in ``FOLDER/tensorboard``: losses and improvement an epoch."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder) / "tensorboard"

    def on_fit_start(self, loop: Loop) -> None:
        """Open the event file; what a killed run wrote after its checkpoint is dropped."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise OptionError(
                'TensorBoard is not installed: pip install "sharewise[tensorboard]", or log to csv'
            ) from None
        self.writer = SummaryWriter(str(self.folder), purge_step=loop.epoch)

    def on_epoch_end(self, loop: Loop, record: EpochRecord) -> None:
        """Write the epoch's scalars."""
        for part, losses in (("train", record.train), ("valid", record.valid)):
            for name, value in losses.items():
                self.writer.add_scalar(f"{part}/{name}", value, record.epoch)
        self.writer.add_scalar("improvement", record.improvement, record.epoch)
        self.writer.flush()

    def on_fit_end(self, loop: Loop) -> None:
        """Close the event file."""
        self.writer.close()


LOGS = {"csv": CSVLog, "tensorboard": TensorBoardLog}


def make_logs(names: list[str] | tuple[str, ...], folder: Path | None) -> list[Callback]:
    """The logs asked for by name; raises :class:`OptionError` for unknown names or without a folder."""
    for name in names:
        if name not in LOGS:
            raise OptionError(f'unknown log "{name}": known are {", ".join(LOGS)}')
    if names and folder is None:
        raise OptionError("logs need a folder: give fit(..., out=FOLDER)")
    return [LOGS[name](folder) for name in names]  # type: ignore[arg-type]
