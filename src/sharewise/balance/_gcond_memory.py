"""What GCond remembers of the steps before: last gradients, usual norms, wins in a row."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ._row_state import RowState
from ._state import TaskState

FIELD = "last"
_MEMORY = 0.95  # of the running mean of norms


def stability(state: RowState, names: Sequence[str], rows: Tensor, *, keep: bool) -> Tensor:
    """Cosine of each gradient to the last one ``[m]``, 0 without one; with ``keep`` this one takes its place."""
    products, now, before = torch.zeros(3, len(names), dtype=torch.float64, device=rows.device)
    if FIELD in state.tensors:
        for columns, last in state.pieces(FIELD, names):
            piece, old = rows[:, columns].double(), last.double()
            products += (piece * old).sum(1)
            now += piece.square().sum(1)
            before += old.square().sum(1)
            if keep:
                last.copy_(rows[:, columns])
    length = (now.sqrt() * before.sqrt()).cpu()
    return torch.where(length > 0, products.cpu() / length, 0.0).clamp(-1, 1)


def remember(state: RowState, names: Sequence[str], coefficients: Tensor, rows: Tensor) -> None:
    """Keep ``coefficients [m, m] @ rows`` in place of the last gradients, where any are kept."""
    if FIELD in state.tensors:
        for columns, last in state.pieces(FIELD, names):
            last.copy_(coefficients.to(last) @ rows[:, columns].to(last))


def usual(state: TaskState, names: Sequence[str], norms: Tensor) -> Tensor:
    """The running means ``[m]`` of gradient norms, with these ``[m]`` in them."""
    mean = _MEMORY * state.read("norm", names).cpu() + (1 - _MEMORY) * norms
    state.write("norm", names, mean)
    return mean


def settled(state: TaskState, names: Sequence[str], pair: tuple[int, int], lead: float, window: int) -> tuple[int, int]:
    """Winner and loser of a pair of tasks whose first leads by ``lead``; the winner's wins in a row are counted.

    After ``window`` of them (0: never) the task with fewer wins.
    """
    i, j = pair
    first, second = state.read("streak", (names[i], names[j])).tolist()
    if 0 < window <= max(first, second):
        lead = second - first
    winner, loser, wins = (i, j, first) if lead >= 0 else (j, i, second)
    state.tensors["streak"].zero_()
    state.write("streak", (names[winner],), torch.tensor([wins + 1]))
    return winner, loser
