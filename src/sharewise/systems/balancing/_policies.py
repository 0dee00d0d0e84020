"""Who decides the weights, and what happens between rounds: the policies that the system ``emtl`` compares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...balance import OWOFMTL, Balancer, create
from ._fair_baselines import SlotFair, WorstUser


@dataclass(frozen=True)
class Policy:
    """A balancer by name with its options, the outer loop's ``beta`` (0: none, every round starts anew), and ablations.

    ``forget``: the prices are reset at the start of each round. ``average``: the outer loop follows the mean iterate.
    ``learned_rate``: of Adam, for balancers with parameters.
    """

    method: str = "owo_fmtl"
    options: Mapping[str, Any] = field(default_factory=dict)
    beta: float = 0.3
    average: bool = False
    forget: bool = False
    learned_rate: float = 1e-4

    def balancer(self, names: Sequence[str], **utility: float) -> Balancer:
        """A new balancer; ``utility`` (``ceiling``, ``u_min``, ``u_max``) for those that know utilities."""
        if self.method == "slot_fair":
            return SlotFair(tasks=names, **self.options, **utility)
        if self.method == "worst_user":
            return WorstUser(tasks=names)
        return create(self.method, tasks=names, **self.options, **(utility if self.method == "owo_fmtl" else {}))

    def begin_round(self, balancer: Balancer) -> None:
        """Forget the prices, where that is the ablation."""
        if self.forget and isinstance(balancer, OWOFMTL):
            balancer.reset()


POLICIES: dict[str, Policy] = {
    "equal": Policy("equal"),
    "slot_fair": Policy("slot_fair"),
    "slot_fair_alpha4": Policy("slot_fair", {"alpha": 4.0}),
    "min_max": Policy("worst_user"),
    "uncertainty": Policy("uncertainty"),
    "gradnorm": Policy("gradnorm", {"alpha": 1.5, "lr": 2.5e-3}),
    "owo_fmtl": Policy(),
    "owo_fmtl_matched": Policy(options={"alpha": 3.4}),
    "owo_fmtl_alpha1": Policy(options={"alpha": 1.0}),
    "owo_fmtl_alpha4": Policy(options={"alpha": 4.0}),
    "owo_fmtl_alpha16": Policy(options={"alpha": 16.0}),
    "owo_fmtl_additive": Policy(options={"step": "additive"}),
    "owo_fmtl_average": Policy(average=True),
    "owo_fmtl_forgets": Policy(forget=True),
    "owo_fmtl_no_outer": Policy(beta=0.0),
}
"""Arm -> policy. ``owo_fmtl_matched`` has the alpha whose smallest utility was that of ``slot_fair_alpha4`` on five
other seeds; how ``uncertainty`` and ``gradnorm`` were tuned: _emtl_tuning.py."""
