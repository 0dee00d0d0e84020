"""The arms of the system ``emtl``: policies on drifting linear users, and some of them on digits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from . import _emtl_convex, _emtl_deep
from ._emtl_convex import Convex
from ._emtl_deep import Deep
from ._policies import POLICIES, Policy
from ._users import Change

CHANGES: tuple[Change, ...] = ("switch", "churn")
CHANGING = ("equal", "slot_fair", "owo_fmtl")
"""Arms that also meet users who switch, come and go; metrics with ``switch_`` and ``churn_`` before them."""
DEEP = ("equal", "slot_fair", "gradnorm", "owo_fmtl", "owo_fmtl_alpha16")
"""Arms that also train the network; metrics with ``deep_`` before them."""


@dataclass(frozen=True)
class Sizes:
    """Of one scale."""

    convex: Convex
    changing: Convex
    deep: Deep


DEFAULT = Sizes(Convex(), Convex(rounds=100), Deep())
SMOKE = Sizes(Convex(rounds=8, steps=3), Convex(rounds=8, steps=3), Deep(rounds=4, steps=2, period=2))
PAPER = Sizes(Convex(rounds=1000), Convex(rounds=1000), Deep(rounds=400))


def arms(sizes: Sizes) -> dict[str, Callable[[int], dict[str, float]]]:
    """Every arm: seed in, metrics out."""
    return {name: partial(run_arm, name, policy, sizes) for name, policy in POLICIES.items()}


def run_arm(name: str, policy: Policy, sizes: Sizes, seed: int) -> dict[str, float]:
    """All that an arm is tried on."""
    found = _emtl_convex.run(policy, seed, sizes.convex)
    if name in CHANGING:
        for change in CHANGES:
            there = _emtl_convex.run(policy, seed, sizes.changing, change)
            found |= {f"{change}_{metric}": value for metric, value in there.items()}
    if name in DEEP:
        found |= {f"deep_{metric}": value for metric, value in _emtl_deep.run(policy, seed, sizes.deep).items()}
    return found
