"""Writing the merged tensors: shards laid out before the first value is known, filled in any order by any thread."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from torch import Tensor

from ._sources import INDEX, SINGLE
from ._tensorfile import NAMES, TensorInfo, as_bytes


class Writer(Protocol):
    """Where merged tensors go."""

    def write(self, name: str, start: int, values: Tensor) -> None:
        """Put ``values``, of the dtype announced, at the flat entry ``start`` of tensor ``name``; threads may do so at
        once."""
        ...


class StateWriter:
    """Into a state dict in memory."""

    def __init__(self, tensors: Mapping[str, TensorInfo]) -> None:
        import torch

        self.state = {name: torch.empty(info.shape, dtype=info.dtype) for name, info in tensors.items()}

    def write(self, name: str, start: int, values: Tensor) -> None:
        """See :class:`Writer`."""
        self.state[name].view(-1)[start : start + values.numel()] = values.reshape(-1)


class ShardWriter:
    """Into safetensors files of at most ``shard_bytes`` each (a larger tensor gets one of its own) and their index.

    The room is taken from the disk at once: a disk that is too full says so before anything is computed.
    """

    def __init__(self, folder: Path, tensors: Mapping[str, TensorInfo], shard_bytes: int) -> None:
        self._folder = folder
        self._place: dict[str, tuple[int, int, int]] = {}
        self._handles: list[int] = []
        shards = _split(tensors, shard_bytes)
        self._names = _names(len(shards))
        try:
            for file, shard in zip(self._names, shards, strict=True):
                self._open(file, shard)
        except BaseException:
            self.close()
            raise
        if len(shards) > 1:
            weight_map = {t: file for file, shard in zip(self._names, shards, strict=True) for t in shard}
            index = {"metadata": {"total_size": sum(i.bytes for i in tensors.values())}, "weight_map": weight_map}
            (folder / INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")

    def _open(self, file: str, shard: Mapping[str, TensorInfo]) -> None:
        header, places, size = _header(shard)
        handle = os.open(self._folder / file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        self._handles.append(handle)
        _take_room(handle, len(header) + size)
        _write_all(handle, memoryview(header), 0)
        for name, offset in places.items():
            self._place[name] = (handle, len(header) + offset, shard[name].dtype.itemsize)

    def write(self, name: str, start: int, values: Tensor) -> None:
        """See :class:`Writer`; raises :class:`OSError` where the disk refuses."""
        handle, offset, width = self._place[name]
        _write_all(handle, as_bytes(values.contiguous()), offset + start * width)

    def finish(self) -> list[str]:
        """Everything safely on the disk; the names of the files."""
        for handle in self._handles:
            os.fsync(handle)
        self.close()
        return self._names

    def close(self) -> None:
        """Close the files as they are."""
        for handle in self._handles:
            os.close(handle)
        self._handles = []


def _split(tensors: Mapping[str, TensorInfo], shard_bytes: int) -> list[dict[str, TensorInfo]]:
    """Tensors in order, a new shard where the next one would not fit."""
    shards: list[dict[str, TensorInfo]] = [{}]
    size = 0
    for name, info in tensors.items():
        if size and size + info.bytes > shard_bytes:
            shards.append({})
            size = 0
        shards[-1][name] = info
        size += info.bytes
    return shards


def _names(shards: int) -> list[str]:
    if shards == 1:
        return [SINGLE]
    return [f"model-{i:05d}-of-{shards:05d}.safetensors" for i in range(1, shards + 1)]


def _header(shard: Mapping[str, TensorInfo]) -> tuple[bytes, dict[str, int], int]:
    """The header's bytes, each tensor's offset behind it, and the size of all of them; widest dtypes first, so that
    every tensor starts at a multiple of its item size."""
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    places, offset = {}, 0
    for name, info in sorted(shard.items(), key=lambda item: -item[1].dtype.itemsize):
        places[name] = offset
        ends = [offset, offset + info.bytes]
        entries[name] = {"dtype": NAMES[info.dtype], "shape": list(info.shape), "data_offsets": ends}
        offset += info.bytes
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, places, offset


def _take_room(handle: int, size: int) -> None:
    try:
        os.posix_fallocate(handle, 0, size)
    except (OSError, AttributeError) as error:  # a system or a disk that cannot promise room
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        os.ftruncate(handle, size)


def _write_all(handle: int, content: memoryview, place: int) -> None:
    while content.nbytes:
        done = os.pwrite(handle, content, place)
        content, place = content[done:], place + done
