"""One safetensors file, read piece by piece.

The format (https://github.com/huggingface/safetensors): eight bytes with the length of a JSON header, the header
``{name: {dtype, shape, data_offsets}}``, then the tensors' bytes without gaps, little endian. Files are read with
``pread`` into buffers that are used again: as fast as a memory map (0.24 ns an entry for both), threads need no lock,
the pages do not count as this process's memory, and a file cut short while it is read gives an error, not SIGBUS.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import MergeError

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
_LONGEST_HEADER = 100_000_000
"""Bytes; the format's own limit."""


@dataclass(frozen=True)
class TensorInfo:
    """What a tensor is, without its values."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def entries(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """How much room it takes."""
        return self.entries * self.dtype.itemsize


def as_bytes(tensor: Tensor) -> memoryview:
    """The memory of a contiguous CPU tensor, to be read into or written from."""
    return tensor.reshape(-1).view(torch.uint8).numpy().data


class TensorFile:
    """An open safetensors file: ``tensors`` by name, and :meth:`read`.

    Raises :class:`MergeError` for a file that is missing, cut short or no safetensors file. Threads may read at once.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        try:
            self._handle = os.open(self.path, os.O_RDONLY)
        except OSError as error:
            raise MergeError(f'cannot open "{self.path}": {error.strerror}') from None
        try:
            header = self._header()
            self.metadata: dict[str, str] = header.pop("__metadata__", {})
            self.tensors: dict[str, TensorInfo] = {}
            self._offsets: dict[str, int] = {}
            for name, entry in header.items():
                self._enter(name, entry)
            self._check_end()
        except BaseException:
            self.close()
            raise

    def _broken(self, what: str) -> MergeError:
        return MergeError(f'"{self.path}" is not a whole safetensors file: {what}; copy or download it again')

    def _header(self) -> dict[str, Any]:
        self._size = os.fstat(self._handle).st_size
        length = int.from_bytes(os.pread(self._handle, 8, 0), "little")
        if self._size < 8 or length > min(self._size - 8, _LONGEST_HEADER):
            raise self._broken(f"its header cannot be {length:,} bytes long in a file of {self._size:,}")
        try:
            header = json.loads(os.pread(self._handle, length, 8))
        except ValueError:
            raise self._broken("its header is no JSON") from None
        if not isinstance(header, dict):
            raise self._broken("its header is no JSON object")
        self._begin = 8 + length
        return header

    def _enter(self, name: str, entry: Any) -> None:
        try:
            dtype, shape = DTYPES[entry["dtype"]], tuple(int(n) for n in entry["shape"])
            first, last = (int(n) for n in entry["data_offsets"])
        except (KeyError, TypeError, ValueError):
            raise self._broken(f'the entry of "{name}" has no known dtype, shape or place') from None
        info = TensorInfo(dtype, shape)
        if min(shape, default=0) < 0 or first < 0 or last - first != info.bytes:
            raise self._broken(f'"{name}" {list(shape)} needs {info.bytes:,} bytes, its entry gives {last - first:,}')
        self.tensors[name], self._offsets[name] = info, self._begin + first

    def _check_end(self) -> None:
        """No byte missing, none between tensors, none shared by two."""
        data = sum(info.bytes for info in self.tensors.values())
        last = max((self._offsets[n] + info.bytes for n, info in self.tensors.items()), default=self._begin)
        if last > self._size:
            raise self._broken(f"it is {last - self._size:,} bytes too short ({self._size:,} of {last:,})")
        if data != last - self._begin:
            raise self._broken("its tensors overlap, or leave gaps")

    def read(self, name: str, start: int, out: Tensor) -> None:
        """Fill the contiguous ``out`` (of the stored dtype) with the flat entries of ``name`` from ``start`` on."""
        room = as_bytes(out)
        place = self._offsets[name] + start * self.tensors[name].dtype.itemsize
        while room.nbytes:
            got = os.preadv(self._handle, [room], place)
            if got == 0:
                raise self._broken(f'"{name}" ended early: the file has become shorter while it was read')
            room, place = room[got:], place + got

    def close(self) -> None:
        """Close the file; reading is over."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def __del__(self) -> None:
        if hasattr(self, "_handle"):
            self.close()
