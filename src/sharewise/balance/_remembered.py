"""Which parameter each column of remembered rows belongs to."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ..errors import BalanceError
from ._shared import Shared

_REMEDY = (
    "name the same parameters in every step with shared=..., or build a new balancer, which begins its memory anew"
)


class Columns:
    """The order of parameters in the rows a balancer remembers: that of its first step, by identity.

    The order in which a graph's parameters are found depends on the tasks in it, so in every later step parameters are
    put in the order of the first. It cannot be saved: after loading, parameters must be named once more.

    Args:
        lost: rows were loaded, and their parameters are not known.
    """

    def __init__(self, *, lost: bool = False) -> None:
        self.known: list[weakref.ref[Tensor]] | None = None
        self.lost = lost

    def arrange(self, targets: Sequence[Tensor], shared: Shared) -> list[Tensor]:
        """The targets in the order of the first step, which this may be.

        Where ``shared`` names others they take the places of the former ones in the order they are named. Raises
        :class:`BalanceError` if others are found in the graph, or if rows were loaded and nothing names their
        parameters.
        """
        if self.known is None:
            if self.lost and shared.parameters is None:
                raise BalanceError(
                    "the balancer has loaded rows it remembers, and which parameters their columns belong to cannot be "
                    f"told from the losses: {_REMEDY}"
                )
            self.known = [weakref.ref(p) for p in targets]
            return list(targets)
        found = [p for p in (ref() for ref in self.known) if p is not None]
        same = {id(p) for p in found} == {id(p) for p in targets} and len(found) == len(self.known)
        if not same and shared.parameters is not None:  # another model's, in the order its owner names them
            self.known = [weakref.ref(p) for p in targets]
            return list(targets)
        if not same:
            raise BalanceError(
                f"the balancer remembers rows of {len(self.known)} shared parameters, and this step has "
                f"{len(targets)}, not all of them the same: with shared=None they are found in the graph, where they "
                f"depend on the tasks present and on what is frozen; {_REMEDY}"
            )
        return found

    def __deepcopy__(self, memo: dict[int, Any]) -> Columns:
        return Columns()
