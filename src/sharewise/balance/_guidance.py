"""What a guided balancer learns from: a guidance batch as Gram matrices and losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..errors import BalanceError
from ._balance import Balance
from ._checks import check_losses
from ._measure import measure


class Guidance(NamedTuple):
    """A guidance batch, for the m tasks it has; all float64.

    ``gram`` ``[m, m]`` of its gradients and its ``losses`` ``[m]``; ``stepped``, the Gram matrix of the gradients the
    look-ahead steps along, and ``pull`` ``[m]``, their products with the gradient of the summed guidance losses.
    """

    names: tuple[str, ...]
    gram: Tensor
    losses: Tensor
    stepped: Tensor
    pull: Tensor

    @classmethod
    def of(
        cls, names: Sequence[str], gram: Tensor, losses: Tensor, trained: Tensor | None, cross: Tensor | None
    ) -> Guidance | None:
        """Checked, and without tasks whose gradient is zero; ``None`` where no two tasks are left."""
        if (trained is None) != (cross is None):
            raise BalanceError("the look-ahead needs both trained and cross, or neither")
        gram, losses = gram.detach().double(), losses.detach().double()
        if not bool(losses.isfinite().all() & (losses >= 0).all() & gram.isfinite().all()):
            raise BalanceError(
                f"guidance needs losses that are finite and not negative, and finite gradients; got losses "
                f"{losses.tolist()} of {list(names)}: check the batch's labels, or leave it out"
            )
        live = (gram.diagonal() > 0).nonzero().flatten()
        if len(live) < 2 or float(losses[live].sum()) == 0:
            return None

        def part(matrix: Tensor | None) -> Tensor:
            return (gram if matrix is None else matrix.detach().to(gram))[live][:, live]

        own = part(None)
        stepped = own if trained is None else part(trained)
        return cls(tuple(names[i] for i in live.tolist()), own, losses[live], stepped, part(cross).sum(0))

    @classmethod
    def measured(
        cls, losses: Mapping[str, Tensor], trained: Mapping[str, Tensor] | None, **options: Any
    ) -> dict[str | None, Guidance | None]:
        """From losses with their graph: for each group of parameters by its name, or for all under ``None``.

        The cross products are the off-diagonal block of one Gram matrix of both batches' gradients; a task that one of
        them lacks is left out.
        """
        check_losses(losses)
        if trained is not None:
            check_losses(trained)
        names = [name for name in losses if trained is None or name in trained]
        given = {f"{name} (guidance)": losses[name] for name in names}
        if trained is not None:
            given |= {f"{name} (training)": trained[name] for name in names}
        if not given:
            return {}
        found = measure(given, **options)
        values = torch.stack([losses[name].detach() for name in names])
        if options.get("reducer") is not None:
            values = options["reducer"].losses(values)
        parts: list[tuple[str | None, Balance]] = [*found.groups.items()] or [(None, found)]
        return {group: cls._of_both(names, part.gram, values, trained is not None) for group, part in parts}

    @classmethod
    def _of_both(cls, names: Sequence[str], gram: Tensor | None, losses: Tensor, both: bool) -> Guidance | None:
        """From the Gram matrix of guidance gradients, followed by those of training where there are ``both``."""
        assert gram is not None
        m = len(names)
        if not both:
            return cls.of(names, gram, losses.to(gram), None, None)
        return cls.of(names, gram[:m, :m], losses.to(gram), gram[m:, m:], gram[:m, m:])
