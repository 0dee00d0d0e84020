"""Conflict between tasks, without an update."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor, nn

from . import _checks as checks
from ._backward import Present
from ._balance import Balance
from ._gram import full_precision
from ._reducer import Reducer
from ._take import MODES, take_rows


def measure(
    losses: Mapping[str, Tensor],
    *,
    shared: Iterable[Tensor] | nn.Module | None = None,
    representation: Tensor | Sequence[Tensor] | None = None,
    mode: str = "auto",
    reducer: Reducer | None = None,
) -> Balance:
    """Norms and cosines of the tasks' gradients; no ``.grad`` is touched and the graph is kept for a backward pass.

    For steps balanced by a method on losses, which never sees per-task gradients. Arguments, errors and cost are
    those of :func:`backward` for a method on the Gram matrix; gradients that are not finite are reported as they
    are. The result has no weights.
    """
    checks.check_option("mode", mode, MODES)
    checks.check_losses(losses)
    checks.check_processes(reducer)
    present = Present.of(losses, reducer)
    rows, _ = take_rows(present.losses, checks.shared_list(shared), representation, mode=mode, keep=True)
    if reducer is not None:
        rows.reduce(reducer)
    with full_precision(rows.blocks[0]):
        gram = rows.gram()
    checks.check_reached(present.names, present.losses, gram.diagonal(), rows.targets)
    return Balance(present.names, present.values.sum(), None, gram)
