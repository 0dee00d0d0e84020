"""GradDrop: keep one sign for each entry, drawn by the agreement of the tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..errors import OptionError, nearest
from ._balancer import GradientBalancer
from ._gram import CHUNK


class GradDrop(GradientBalancer):
    """For each entry keeps either the positive or the negative gradients, at random by how the tasks vote.

    With ``P = (1 + sum_k g_k / sum_k |g_k|) / 2`` and ``U`` uniform on [0, 1), entry by entry:
    ``d = sum_k (l_k + (1 - l_k) M_k) g_k`` where ``M_k = [U < P]`` for ``g_k > 0`` and ``[U >= P]`` for
    ``g_k < 0``. An entry on which all agree in sign is always the plain sum.

    Source: Chen et al., "Just Pick a Sign: Optimizing Deep Multitask Models with Gradient Sign Dropout", NeurIPS
    2020, algorithm 1 (with its monotone function the identity). There it acts on the gradients of an activation,
    multiplied by the activation's sign and summed over the batch; here on the rows as they come: shared
    parameters, or with ``backward(..., representation=z)`` the entries of ``z``, example by example.

    Args:
        leak: ``l_k``, the part of a gradient that always passes, in [0, 1]: a number, or one by task name (0 for
            tasks not named).
        seed: of the generator that draws U.
        tasks: see :class:`Balancer`.

    Cost O(mn) time, O(m CHUNK) memory.
    """

    generator: torch.Generator

    def __init__(
        self, *, leak: float | Mapping[str, float] = 0.0, seed: int = 0, tasks: Sequence[str] | None = None
    ) -> None:
        super().__init__(tasks=tasks, seed=seed)
        for value in leak.values() if isinstance(leak, Mapping) else (leak,):
            if not 0 <= value <= 1:
                raise OptionError(f"leak must be between 0 (drop all) and 1 (drop nothing), got {value}")
        if isinstance(leak, Mapping) and tasks is not None:
            for name in leak:
                if name not in tasks:
                    raise OptionError(f'leak names task "{name}", which is not among the tasks; {nearest(name, tasks)}')
        self.leak = leak

    def aggregate(self, rows: Tensor, losses: Tensor | None = None, *, names: Sequence[str] | None = None) -> Tensor:
        """The direction ``[n]`` of rows ``[m, n]``; see :meth:`Balancer.aggregate`."""
        known = self.check_names(len(rows), names)
        by_name = self.leak if isinstance(self.leak, Mapping) else dict.fromkeys(known, self.leak)
        wide = torch.float64 if rows.dtype == torch.float64 else torch.float32
        leak = torch.tensor([by_name.get(name, 0.0) for name in known], dtype=wide, device=rows.device)
        result = torch.empty(rows.shape[1], dtype=rows.dtype, device=rows.device)
        for out, piece in zip(result.split(CHUNK), rows.split(CHUNK, dim=1), strict=True):
            out.copy_(self._pick(piece.to(wide), leak))
        return result

    def _pick(self, rows: Tensor, leak: Tensor) -> Tensor:
        positive, negative = rows.clamp_min(0), rows.clamp_max(0)
        up, down = positive.sum(0), -negative.sum(0)
        draw = torch.rand(rows.shape[1], generator=self.generator).to(rows)
        # U < P with P = up / (up + down), without the division that is undefined where all entries are zero
        rises = draw * (up + down) < up
        if not bool(leak.any()):
            return torch.where(rises, up, -down)
        return leak @ rows + (1 - leak) @ torch.where(rises, positive, negative)
