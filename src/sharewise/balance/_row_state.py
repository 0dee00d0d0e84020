"""State with one gradient-sized row a task, kept by task name and worked on a few columns at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor

from ..errors import BalanceError
from ._gram import CHUNK, gram_matrix, weighted_sum

_PIECE = 1 << 17  # entries of a piece, where that is more than CHUNK columns: small ones cost more calls


def finite(rows: Tensor) -> bool:
    """Whether all entries are; waits for the device, makes no copy.

    For methods that remember: with ``on_nonfinite="ignore"`` the overflow that a loss scaler waits for comes by here,
    and must not enter what is remembered.
    """
    return bool(torch.stack(rows.aminmax()).isfinite().all())


class RowState:
    """Matrices ``[tasks, n]``, a row a task, where ``n`` is known from the first gradient rows on.

    Args of a field (:meth:`declare`): ``initial`` is the row of a task not seen before, ``"zeros"`` or the first
    gradient row it comes with (``"gradient"``).

    A task is given its place by :meth:`admit` and keeps it; rows of tasks that are not named in a call stay as they
    are. A field is one matrix in the dtype of the first rows (float32 for half precision, in which small changes
    would be lost), on the rows' device. Where the named tasks lie next to each other in the order they came in, as
    they do when all are present, :meth:`pieces` works in place; else on copies of ``CHUNK`` columns. A new task
    costs one copy of the matrix.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.tensors: dict[str, Tensor] = {}
        self._initial: dict[str, str] = {}

    def declare(self, field: str, initial: Literal["zeros", "gradient"] = "zeros") -> None:
        """Add a field, before any task is admitted."""
        self._initial[field] = initial
        self.tensors[field] = torch.empty(0, 0)

    def admit(self, names: Sequence[str], rows: Tensor) -> None:
        """Give those of the m named tasks that are new a place in every field; ``rows`` ``[m, n]`` are their gradients.

        Raises :class:`BalanceError` if ``n`` is not what it was.
        """
        known = dict.fromkeys(self.names)
        new = [i for i, name in enumerate(names) if name not in known]
        for field, stored in self.tensors.items():
            if self.names and stored.shape[1] != rows.shape[1]:
                raise self._changed(stored.shape[1], rows.shape[1])
            if new:
                self.tensors[field] = self._grown(stored, new, rows, self._initial[field])
            elif stored.device != rows.device:
                self.tensors[field] = stored.to(rows.device)
        self.names += [names[i] for i in new]

    def pieces(self, field: str, names: Sequence[str]) -> Iterator[tuple[slice, Tensor]]:
        """``(columns, piece [m, k])`` of the named tasks' rows, from the first column to the last.

        A piece has at most ``CHUNK`` columns, or with few tasks ``2^17`` entries.

        What the caller changes in a piece is kept when it asks for the next one.
        """
        stored = self.tensors[field]
        view, index = self._view(field, names), self._index(field, names)
        step = max(CHUNK, _PIECE // len(names))
        for start in range(0, stored.shape[1], step):
            columns = slice(start, start + step)
            if view is not None:
                yield columns, view[:, columns]
            else:
                piece = stored[index, columns]
                yield columns, piece
                stored[index, columns] = piece

    def gram(self, field: str, names: Sequence[str]) -> Tensor:
        """Inner products ``[m, m]`` (float64) of the named tasks' rows. Cost O(m^2 n)."""
        view = self._view(field, names)
        if view is not None:
            return gram_matrix([view])
        total = torch.zeros(len(names), len(names), dtype=torch.float64, device=self.tensors[field].device)
        for _, piece in self.pieces(field, names):
            total += gram_matrix([piece])
        return total

    def combine(self, field: str, names: Sequence[str], weights: Tensor) -> Tensor:
        """``sum_k weights[k] row_k`` over the named tasks: ``[n]``, in the field's dtype. Cost O(mn)."""
        view = self._view(field, names)
        if view is not None:
            return weighted_sum(weights, view)
        return torch.cat([weighted_sum(weights, piece) for _, piece in self.pieces(field, names)])

    def restore(self, names: Sequence[str], tensors: dict[str, Tensor]) -> None:
        """Take over saved names and fields; copies, on the device the fields are on now."""
        self.names = list(names)
        for field, value in tensors.items():
            self.tensors[field] = value.detach().to(self.tensors[field].device, copy=True)

    def to(self, device: torch.device) -> None:
        """Move every field; types stay, since a state in half precision would not be the same state."""
        self.tensors = {field: t.to(device) for field, t in self.tensors.items()}

    def _index(self, field: str, names: Sequence[str]) -> Tensor:
        places = {name: i for i, name in enumerate(self.names)}
        return torch.tensor([places[name] for name in names], device=self.tensors[field].device)

    def _view(self, field: str, names: Sequence[str]) -> Tensor | None:
        """The named tasks' rows without a copy, where they lie next to each other in this order."""
        start = self.names.index(names[0])
        stop = start + len(names)
        return self.tensors[field][start:stop] if self.names[start:stop] == list(names) else None

    def _grown(self, stored: Tensor, new: Sequence[int], rows: Tensor, initial: str) -> Tensor:
        wide = torch.promote_types(rows.dtype, torch.float32)
        count = len(self.names)
        dtype = stored.dtype if count else wide
        grown = torch.zeros(count + len(new), rows.shape[1], dtype=dtype, device=rows.device)
        if count:
            grown[:count] = stored
        if initial == "gradient":
            for place, i in enumerate(new, count):
                grown[place] = rows[i].detach()
        return grown

    def _changed(self, before: int, now: int) -> BalanceError:
        return BalanceError(
            f"the gradient rows have {now} entries, but the balancer remembers rows of {before}: shared parameters "
            "were added, removed, frozen or unfrozen since its first step, or with representation=... the batch "
            "changed its size. Build a new balancer, which begins its memory anew, or name the same parameters "
            "with shared=..."
        )
