"""How an optimizer forgets the squares of gradients it has seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.optim import Optimizer

from ..errors import OptionError

_REMEDY = "wrap one that divides by it, such as torch.optim.AdamW(model.parameters())"


def memory(optimizer: Optimizer, group: Mapping[str, Any]) -> float:
    """The decay of a group's running mean of squares: Adam's second beta, RMSprop's alpha, Adadelta's rho.

    1 for Adagrad, which forgets nothing. Raises :class:`OptionError` for an optimizer that keeps no second moment an
    entry (SGD and its kin; Adafactor, which keeps it by rows and columns).
    """
    name = type(optimizer).__name__
    if name in ("Adagrad",):
        return 1.0
    if name in ("SparseAdam", "Adafactor"):
        reason = "works on sparse gradients" if name == "SparseAdam" else "keeps it by rows and columns only"
        raise OptionError(f"MAdam needs a second moment an entry, and {name} {reason}: {_REMEDY}")
    betas = group.get("betas")
    found = betas[1] if isinstance(betas, tuple | list) and len(betas) > 1 else group.get("alpha", group.get("rho"))
    if name in ("SGD", "ASGD", "Rprop", "LBFGS", "Muon") or not isinstance(found, float | int):
        raise OptionError(f"MAdam cannot wrap {name}, which keeps no second moment of the gradients: {_REMEDY}")
    if not 0 <= found < 1:
        raise OptionError(f"the decay of {name}'s second moment must lie in [0, 1), got {found}")
    return float(found)


def check_decay(optimizer: Optimizer, group: Mapping[str, Any]) -> None:
    """Refuse weight decay that is added to the gradient: whitened gradients are of another size."""
    coupled = not group.get("decoupled_weight_decay", type(optimizer).__name__ == "AdamW")
    if group.get("weight_decay", 0) and coupled:
        raise OptionError(
            f"{type(optimizer).__name__} adds weight_decay={group['weight_decay']} to the gradient, which MAdam has "
            "divided by its own size: use AdamW, decoupled_weight_decay=True where there is such an option, or 0"
        )
