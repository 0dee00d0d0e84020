"""A record of what balancing did, step by step, as an Arrow file."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import OptionError, RunError
from ..files import write_bytes
from ._balance import Balance
from ._record_table import Entry, entries, table

if TYPE_CHECKING:
    import polars as pl

_GROWTH = 1.25  # the file is written anew when it would grow by so much: its bytes are then written a few times in all


class Recorder:
    """Keeps every step's weights, losses, gradient norms, cosines and projections, at no extra backward pass.

    In a loop of your own call :meth:`record` after ``backward`` and :meth:`close` at the end; for
    :func:`sharewise.fit` hand it in among the ``callbacks``. The table has one row a task and step (``weight``,
    ``loss``, ``norm``; ``other`` is null) and one row an ordered pair of tasks and step (``cosine``, ``projected``:
    ``task``'s gradient lost its part along ``other``'s); what a method does not tell is null. The columns ``step``
    and ``epoch`` say when. Where groups of parameters are decided on by themselves, each has such rows besides those of
    the whole, under its name in ``group``. ``group``, ``task`` and ``other`` are dictionary-encoded.

    Args:
        path: Arrow IPC file (zstd), written whole or not at all, first when ``flush`` steps are recorded, then
            each time it has grown by a quarter, with every checkpoint and at the end. An older file is replaced.
            ``None``: the table is only kept in memory.
        every: record the first step and each ``every``-th after it.
        flush: recorded steps to keep on the device before they are fetched in one go; the only time the device is
            waited for, besides :meth:`read`, :meth:`close` and checkpoints.

    Memory: 53 bytes a row on the host, m + m(m - 1) rows a step (m where the method takes no gradients) and as many a
    group, and ``flush`` times as many Gram matrices on the device. For many tasks choose ``every`` larger.

    ``state_dict`` is for checkpoints: with it, a run that was killed and continues leaves the same file as one that was
    not.
    """

    def __init__(self, path: Path | str | None = None, *, every: int = 1, flush: int = 256) -> None:
        for option, value in (("every", every), ("flush", flush)):
            if not isinstance(value, int) or value < 1:
                raise OptionError(f"{option} must be a whole number of at least 1, got {value!r}")
        self.path = None if path is None else Path(path)
        self.every, self.flush = every, flush
        self.step = 0
        """Steps seen."""
        self._waiting: list[list[Entry]] = []  # a list a step
        self._tasks: dict[str, int] = {}
        self._groups: dict[str, int] = {}
        self._frames: list[pl.DataFrame] = []
        self._rows = self._written = 0
        self._losses: dict[str, Tensor] = {}
        self._first = True  # of several processes, the one that records

    def record(self, balance: Balance, losses: Mapping[str, Tensor] | None = None, *, epoch: int | None = None) -> None:
        """Note a step; nothing is waited for unless it is time to flush.

        Args:
            balance: what ``backward`` returned.
            losses: what it was given, to record them too.
            epoch: to find the step by.
        """
        self.step += 1
        if (self.step - 1) % self.every:
            return
        self._waiting.append(entries(balance, losses, self.step, epoch))
        for places, names in ((self._tasks, balance.names), (self._groups, balance.groups)):
            for name in names:
                places.setdefault(name, len(places))
        if len(self._waiting) >= self.flush:
            self._fetch()
            if self._rows > _GROWTH * self._written:
                self._write()

    def read(self) -> pl.DataFrame:
        """The table so far; that of the file for a recorder that has not recorded anything."""
        if self.step == 0 and self.path is not None and self.path.exists():
            return self._read_file()
        self._fetch()
        return self._table()

    def close(self) -> None:
        """Write what is not in the file yet; recording may go on."""
        self._fetch()
        self._write()

    def _fetch(self) -> None:
        if self._waiting:
            kept = [entry for step in self._waiting for entry in step]
            self._frames.append(table(kept, self._tasks, self._groups))
            self._rows += len(self._frames[-1])
            self._waiting = []

    def _table(self) -> pl.DataFrame:
        import polars as pl

        if len(self._frames) != 1:
            self._frames = [pl.concat([table([], {}, {}), *self._frames]).rechunk()]
        (frame,) = self._frames
        names = {"group": list(self._groups), "task": list(self._tasks), "other": list(self._tasks)}
        named = (pl.Series(k, known, pl.Enum(known)).gather(frame[k]) for k, known in names.items())
        return frame.with_columns(named)

    def _as_bytes(self) -> bytes:
        buffer = io.BytesIO()
        self._table().write_ipc(buffer, compression="zstd")
        return buffer.getvalue()

    def _write(self) -> None:
        if self.path is not None:
            write_bytes(self.path, self._as_bytes())
        self._written = self._rows

    def _read_file(self) -> pl.DataFrame:
        import polars as pl

        assert self.path is not None
        try:
            return pl.read_ipc(io.BytesIO(self.path.read_bytes()))
        except FileNotFoundError:
            raise RunError(f'the recording "{self.path}" is missing: the checkpoint continues it') from None
        except pl.exceptions.PolarsError as error:
            raise RunError(f'"{self.path}" is not a recording ({error}): delete it to start anew') from None

    def state_dict(self) -> dict[str, Any]:
        """Steps and rows so far, which are in the file from now on; without a file, the rows themselves."""
        self.close()
        state: dict[str, Any] = {"step": self.step, "rows": self._rows}
        state |= {"tasks": list(self._tasks), "groups": list(self._groups)}
        if self.path is None:
            state["table"] = torch.frombuffer(bytearray(self._as_bytes()), dtype=torch.uint8)
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; rows the file got after it are dropped.

        Raises :class:`RunError` if the file is missing, no recording, or shorter than the state says.
        """
        import polars as pl

        if self.path is None:
            frame = pl.read_ipc(io.BytesIO(bytes(state["table"].tolist())))
        else:
            frame = self._read_file()
        if len(frame) < state["rows"]:
            raise RunError(
                f'the recording "{self.path}" has {len(frame)} rows, the checkpoint was written after '
                f"{state['rows']}: it was replaced or cut; delete the run's folder to start anew"
            )
        frame = frame.head(state["rows"]).with_columns(pl.col("group", "task", "other").to_physical().cast(pl.UInt32))
        self._tasks, self._groups = ({name: i for i, name in enumerate(state[key])} for key in ("tasks", "groups"))
        self._frames, self._waiting = [frame], []
        self.step, self._rows, self._written = state["step"], state["rows"], state["rows"]

    def on_fit_start(self, loop: Any) -> None:
        """Of several processes only the first records."""
        self._first = loop.fabric.global_rank == 0

    def on_losses(self, loop: Any, batch: Any, losses: dict[str, Tensor]) -> None:
        """Keep the losses for the step they lead to; of several batches a step, those of the last that has the task."""
        self._losses |= {name: loss.detach() for name, loss in losses.items()}

    def on_step(self, loop: Any, balance: Balance) -> None:
        """Record the step."""
        if self._first:
            self.record(balance, self._losses, epoch=loop.epoch)
        self._losses = {}

    def on_epoch_end(self, loop: Any, record: Any) -> None:
        """Nothing: the file grows by steps."""

    def on_fit_end(self, loop: Any) -> None:
        """Write the rest."""
        if self._first:
            self.close()
