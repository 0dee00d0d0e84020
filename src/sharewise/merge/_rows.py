"""Embeddings of one model with their rows put where another vocabulary has them."""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import MergeError
from ._layers import place_of
from ._sources import Source
from ._tensorfile import TensorInfo

ZERO, MEAN, PADDING = -1, -2, -3
"""Where a row comes from that no one model gives: zeros; the mean of the models that have it; the mean of all rows."""
_NAMES = re.compile(
    r"(^|\.)((embed_tokens|wte|word_embeddings|tok_embeddings|embed_in|embed_out|embeddings|shared|lm_head)"
    r"\.(weight|bias)|cls\.predictions\.(bias|decoder\.(weight|bias)))$|^output\.weight$"
)


def is_vocabulary(tensor: str) -> bool:
    """Whether a tensor has a row for every token, by its name."""
    return _NAMES.search(tensor) is not None and place_of(tensor) is None


@dataclass(frozen=True)
class Rows:
    """Whence each row of a new vocabulary comes, for one model.

    Attributes:
        donor: ``[size]``; which of the models gives it, or ``ZERO``, ``MEAN``, ``PADDING``.
        row: ``[size]``; its row there.
        means: new row -> the (model, row) it is the mean of.
    """

    donor: Tensor
    row: Tensor
    means: Mapping[int, Sequence[tuple[int, int]]]

    def runs(self, first: int, last: int) -> list[tuple[int, int, int, int]]:
        """(from, to, donor, its row) of new rows ``first`` to ``last`` that lie one behind another at their donor."""
        donor, row = self.donor[first:last], self.row[first:last]
        breaks = (donor[1:] != donor[:-1]) | ((row[1:] != row[:-1] + 1) & (donor[1:] >= 0)) | (donor[1:] == MEAN)
        starts = [0, *(breaks.nonzero().view(-1) + 1).tolist(), last - first]
        return [(first + a, first + b, int(donor[a]), int(row[a])) for a, b in itertools.pairwise(starts) if b > a]


class MatchedSource(Source):
    """A model whose vocabulary tensors have the rows of another vocabulary; all other tensors are as they are."""

    def __init__(self, model: Source, models: Sequence[Source], rows: Rows) -> None:
        self.name, self.folder, self.config = model.name, model.folder, model.config
        self._model, self._models, self._rows = model, models, rows
        size = len(rows.donor)
        self.tensors = {
            name: TensorInfo(info.dtype, (size, *info.shape[1:])) if is_vocabulary(name) and info.shape else info
            for name, info in model.tensors.items()
        }
        self._padding: dict[tuple[str, torch.dtype], Tensor] = {}
        self._lock = threading.Lock()

    def read(self, tensor: str, start: int, out: Tensor) -> None:
        """See :meth:`Source.read`."""
        if not is_vocabulary(tensor) or not self.tensors[tensor].shape:
            self._model.read(tensor, start, out)
            return
        width = max(1, self.tensors[tensor].entries // max(1, len(self._rows.donor)))
        first, last = start // width, -(-(start + len(out)) // width)
        for begin, end, donor, row in self._rows.runs(first, last):
            low, high = max(begin * width, start), min(end * width, start + len(out))
            if low < high:
                self._fill(
                    tensor, donor, row * width + low - begin * width, begin, out[low - start : high - start], width
                )

    def _fill(self, tensor: str, donor: int, at: int, new: int, out: Tensor, width: int) -> None:
        """``out`` with entries from the flat place ``at`` of the donor on; ``new``: the first new row it is of."""
        if donor >= 0:
            self._given(donor, tensor).read(tensor, at, out)
        elif donor == ZERO:
            out.zero_()
        elif donor == MEAN:
            self._mean(tensor, self._rows.means[new], at, out, width)
        else:
            padding = self._padding_of(tensor, out.dtype)
            out.copy_(padding.repeat(-(-(at % width + len(out)) // width))[at % width :][: len(out)])

    def _given(self, donor: int, tensor: str) -> Source:
        source = self._models[donor]
        if tensor not in source.tensors:
            raise MergeError(
                f'model "{source.name}" has no "{tensor}", whose rows "{self.name}" lacks: merge models alike'
            )
        return source

    def _mean(self, tensor: str, of: Sequence[tuple[int, int]], at: int, out: Tensor, width: int) -> None:
        one, total = torch.empty_like(out), torch.zeros_like(out)
        for donor, row in of:
            self._given(donor, tensor).read(tensor, row * width + at % width, one)
            total += one
        out.copy_(total / len(of))

    def _padding_of(self, tensor: str, dtype: torch.dtype) -> Tensor:
        """The mean of all rows that are no padding; read once."""
        with self._lock:
            if (tensor, dtype) not in self._padding:
                size = int((self._rows.donor != PADDING).sum())
                width = self.tensors[tensor].entries // len(self._rows.donor)
                total = torch.zeros(width, dtype=torch.float64)
                step = max(1, 2**18 // width)
                for begin in range(0, size, step):
                    part = torch.empty(min(step, size - begin) * width, dtype=torch.float32)
                    self.read(tensor, begin * width, part)
                    total += part.view(-1, width).double().sum(0)
                self._padding[tensor, dtype] = (total / size).to(dtype)
            return self._padding[tensor, dtype]

    def close(self) -> None:
        """Close the model."""
        self._model.close()
