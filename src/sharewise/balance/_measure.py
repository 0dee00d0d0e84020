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
    are. The result has no weights; where ``shared`` is a mapping, ``groups`` has each group's norms and cosines.
    """
    checks.check_option("mode", mode, MODES)
    checks.check_losses(losses)
    checks.check_processes(reducer)
    present = Present.of(losses, reducer)
    mode, named = choose_mode(mode, "gram", reducer, representation), Shared.of(shared)
    taken = take_rows(present.losses, named.parameters, representation, mode=mode, labels=named.labels, keep=True)
    checks.check_reached(present.names, taken.reached)
    rows, total = taken.rows, present.values.sum()
    if reducer is not None:
        rows.reduce(reducer)
    groups = {
        name: Balance(present.names, total, None, rows.part(places).gram())
        for name, places in named.groups(rows.targets).items()
    }
    return Balance(present.names, total, None, rows.gram(), groups=groups)
