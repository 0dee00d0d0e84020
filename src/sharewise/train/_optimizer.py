"""The optimizer of a run: the caller's, or AdamW."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from ..balance import Balancer
from ..errors import OptionError
from ._ascent import check_passes

OptimizerMaker = Callable[[Iterable[Any]], torch.optim.Optimizer]


def make_optimizer(
    model: nn.Module,
    balancer: Balancer,
    optimizer: OptimizerMaker | torch.optim.Optimizer | None,
    learning_rate: float,
    weight_decay: float,
) -> torch.optim.Optimizer:
    """The optimizer over the model's and the balancer's parameters; the latter are never decayed.

    Raises :class:`OptionError` for one that does not hold the balancer's, or takes passes that the loop does not.
    """
    own = [p for p in balancer.parameters() if p.requires_grad]
    if isinstance(optimizer, torch.optim.Optimizer):
        made = optimizer
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        if any(id(p) not in held for p in own):
            raise OptionError(
                f"the optimizer does not hold the parameters of {type(balancer).__name__}: "
                "add balancer.parameters() to it, or give a function that makes the optimizer"
            )
    else:
        groups: list[dict[str, Any]] = [{"params": [p for p in model.parameters() if p.requires_grad]}]
        if own:
            groups.append({"params": own, "weight_decay": 0.0})
        if optimizer is None:
            made = torch.optim.AdamW(groups, lr=learning_rate, weight_decay=weight_decay)
        else:
            made = optimizer(groups)
    check_passes(made)
    return made
