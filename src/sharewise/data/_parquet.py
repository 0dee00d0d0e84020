"""Examples from a Parquet file that is never held whole."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl
import polars.selectors as cs
import torch
from polars.exceptions import PolarsError

from ..errors import DataError
from ._batch import Batch
from ._convert import exactly
from ._preprocess import Preprocessor
from ._read import read_table
from ._source import epoch_generator

CHUNK_ROWS = 65_536
BUFFER_CHUNKS = 4

_Chunk = tuple[int, int, int]
"""Number of a chunk of the file, and which of the source's rows lie in it (from, to)."""


class ParquetSource:
    """Rows of a Parquet file as examples, read and encoded in chunks.

    Args:
        path: the file; it must not change while the source is used.
        rows: row numbers of the examples, or ``None`` for all.
        preprocessor: learned before, see :meth:`Preprocessor.fit_parquet`.
        chunk_rows: neighbouring rows read at once.
        buffer_chunks: chunks held together while shuffling.
        prefetch: read ahead in a thread: the next buffer while batches of this one are used.

    The order: chunks in random order, then rows in random order within each ``buffer_chunks`` chunks that
    follow each other; a function of ``(seed, epoch)``. Rows far apart in the file therefore meet, but
    neighbours meet
    more often than by chance: a file sorted by its target should be shuffled once when written. Without
    shuffling rows come in the order of the file. Memory: two buffers of encoded rows and one chunk as read;
    ``start`` skips whole buffers unread.

    Raises :class:`DataError` where the file is no Parquet, changes, or has no such rows.
    """

    def __init__(
        self,
        path: str | Path,
        rows: np.ndarray | None,
        preprocessor: Preprocessor,
        *,
        chunk_rows: int = CHUNK_ROWS,
        buffer_chunks: int = BUFFER_CHUNKS,
        prefetch: bool = True,
    ) -> None:
        if chunk_rows < 1 or buffer_chunks < 1:
            raise DataError(f"chunk_rows and buffer_chunks are 1 or more, got {chunk_rows} and {buffer_chunks}")
        self.path = Path(path)
        height = read_table(self.path, lazy=True).select(pl.len()).collect().item()
        self.rows = np.arange(height) if rows is None else np.sort(np.asarray(rows, dtype=np.int64))
        if len(self.rows) and (self.rows[0] < 0 or self.rows[-1] >= height):
            raise DataError(f'"{path}" has {height} rows, row number {self.rows[-1]} is not among them')
        self.preprocessor, self.prefetch = preprocessor, prefetch
        self.chunk_rows, self.buffer_chunks = chunk_rows, buffer_chunks
        self._stamp = self._file_stamp()
        chunks = np.unique(self.rows // chunk_rows)
        edges = np.searchsorted(self.rows, np.append(chunks, chunks[-1:] + 1) * chunk_rows)
        self._chunks = list(zip(chunks.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True))

    def __len__(self) -> int:
        return len(self.rows)

    def batches(
        self, batch_size: int, *, seed: int = 0, epoch: int = 0, shuffle: bool = False, start: int = 0
    ) -> Iterator[Batch]:
        """See :class:`Source`."""
        if self._file_stamp() != self._stamp:
            raise DataError(f'"{self.path}" has changed since it was opened: load it again')
        buffers, seeds = self._plan(seed, epoch, shuffle)
        skip, first = start * batch_size, 0
        while first < len(buffers) and skip >= _size(buffers[first]):
            skip -= _size(buffers[first])
            first += 1
        rest: Batch | None = None  # what did not fill a batch
        for number, held in self._read_ahead(buffers, first):
            if shuffle:
                order = torch.randperm(len(held), generator=torch.Generator().manual_seed(seeds[number]))
            else:
                order = torch.arange(len(held))
            order, skip = order[skip:], 0
            if rest is not None:
                wanted = batch_size - len(rest)
                rest, order = Batch.join([rest, held.select(order[:wanted])]), order[wanted:]
                if len(rest) < batch_size:
                    continue
                yield rest
            whole = len(order) // batch_size * batch_size
            for begin in range(0, whole, batch_size):
                yield held.select(order[begin : begin + batch_size])
            rest = held.select(order[whole:]) if whole < len(order) else None
        if rest is not None:
            yield rest

    def _plan(self, seed: int, epoch: int, shuffle: bool) -> tuple[list[list[_Chunk]], list[int]]:
        """Chunks of each buffer, and the seed that orders its rows."""
        if not shuffle:
            return [[c] for c in self._chunks], []
        generator = epoch_generator(seed, epoch)
        order = torch.randperm(len(self._chunks), generator=generator).tolist()
        size = self.buffer_chunks
        buffers = [[self._chunks[i] for i in order[k : k + size]] for k in range(0, len(order), size)]
        return buffers, torch.randint(2**62, (len(buffers),), generator=generator).tolist()

    def _read_ahead(self, buffers: list[list[_Chunk]], first: int) -> Iterator[tuple[int, Batch]]:
        if not self.prefetch:
            for number in range(first, len(buffers)):
                yield number, self._load(buffers[number])
            return
        with ThreadPoolExecutor(1) as reader:
            waiting = [reader.submit(self._load, b) for b in buffers[first : first + 1]]
            for number in range(first, len(buffers)):
                held = waiting.pop().result()
                waiting += [reader.submit(self._load, b) for b in buffers[number + 1 : number + 2]]
                yield number, held

    def _load(self, chunks: list[_Chunk]) -> Batch:
        made, columns = [], self.preprocessor.all_columns
        for chunk, low, high in chunks:
            frame = read_rows(self.path, self.rows[low:high], columns, chunk * self.chunk_rows, self.chunk_rows)
            made.append(self.preprocessor.batch(frame))
        return Batch.join(made)

    def _file_stamp(self) -> tuple[int, int]:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            raise DataError(f'"{self.path}" is gone: put it back') from None
        return found.st_size, found.st_mtime_ns


def _size(buffer: list[_Chunk]) -> int:
    return sum(high - low for _, low, high in buffer)


def read_rows(path: Path, rows: np.ndarray, columns: list[str], begin: int, count: int) -> pl.DataFrame:
    """``rows`` (ascending) out of the ``count`` rows from ``begin`` on; row groups elsewhere are not read."""
    try:
        frame = pl.scan_parquet(path).slice(begin, count).select(exactly(columns)).collect()
        return frame if len(rows) == frame.height else frame[rows - begin]
    except (PolarsError, OSError) as error:
        raise DataError(f'"{path}" is damaged and cannot be read: {str(error).splitlines()[0]}') from None


def gather_rows(path: Path, rows: np.ndarray, columns: list[str]) -> pl.DataFrame:
    """``rows`` (ascending) of a Parquet file, read chunk by chunk."""
    frames = []
    for chunk in np.unique(rows // CHUNK_ROWS).tolist():
        low, high = np.searchsorted(rows, (chunk * CHUNK_ROWS, (chunk + 1) * CHUNK_ROWS))
        frames.append(read_rows(path, rows[low:high], columns, chunk * CHUNK_ROWS, CHUNK_ROWS))
    return pl.concat(frames).with_columns(cs.float().fill_nan(None))
