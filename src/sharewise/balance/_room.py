"""Memory for gradient rows that is used again in the next step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor


class Room:
    """Keeps the matrices of a step on the CPU, where fresh memory costs as much as what is written to it.

    (Its pages are zeroed one by one when they are first touched; accelerators have caching allocators for this.) What
    is kept is never more than one step has used.
    """

    def __init__(self) -> None:
        self.free: list[Tensor] = []

    def take(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
        """A matrix of any content."""
        count = math.prod(shape)
        for i, flat in enumerate(self.free):
            if flat.dtype == dtype and flat.device == device and flat.numel() >= count:
                return self.free.pop(i)[:count].view(shape)
        self.free.clear()  # too small, or of another kind: not kept besides the new one
        return torch.empty(shape, dtype=dtype, device=device)

    def put_back(self, blocks: Iterable[Tensor]) -> None:
        """Keep these, which nobody else uses any more, for the next step; let go of all others."""
        whole = [block if block._base is None else block._base for block in blocks]
        self.free = [b.view(-1) for b in whole if b.device.type == "cpu" and b.is_contiguous()]

    def __deepcopy__(self, memo: dict[int, Any]) -> Room:
        return Room()
