"""Conflict between tasks, without an update."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from . import _checks as checks
from ._balance import Balance
from ._part import Present
from ._reducer import Reducer
from ._shared import Parameters, Shared
from ._take import MODES, choose_mode, take_rows


def measure(
    losses: Mapping[str, Tensor],
    *,
    shared: Parameters | Mapping[str, Parameters] | None = None,
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
    mode = choose_mode(mode, "gram", reducer, representation)
    taken = take_rows(present.losses, Shared.of(shared).parameters, representation, mode=mode, keep=True)
    checks.check_reached(present.names, taken.reached)
    if reducer is not None:
        taken.rows.reduce(reducer)
    return Balance(present.names, present.values.sum(), None, taken.rows.gram())
