"""One policy on drifting linear users: the convex half of the system ``emtl``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...balance import OuterUpdate, backward
from ._horizon import equity, horizon_means
from ._policies import Policy
from ._users import Array, Change, Users, drifting_users, hindsight_optimum

CEILING, LIMITS = 6.0, (0.5, 6.0)
RADIUS = 3.0
"""The model is kept in this ball; targets have length 2, so no fixed weights would want to leave it."""
FAIRNESS = 2.0
"""``alpha`` of the fairness that is reported, whatever the policy aims at."""
FRACTIONS = (0.1, 0.2, 0.5, 1.0)
"""Parts of the horizon after which the gap is reported."""


@dataclass(frozen=True)
class Convex:
    """Sizes: ``rounds`` T, ``steps`` K a round, ``batch`` rows a user and step, step size ``rate``."""

    rounds: int = 200
    steps: int = 10
    batch: int = 20
    rate: float = 0.05


def run(policy: Policy, seed: int, sizes: Convex, change: Change = "drift") -> dict[str, float]:
    """Metrics of a policy on the users of a seed; all policies see the same batches."""
    users = drifting_users(seed, sizes.rounds, change)
    utilities = learn(policy, users, seed, sizes)
    present = np.repeat(users.present, sizes.steps, axis=0)
    found = equity(horizon_means(utilities, present), FAIRNESS)
    gaps = {f: float(np.ptp(horizon_means(utilities, present, f))) for f in FRACTIONS}
    found |= {f"gap_at_{100 * f:.0f}": gap for f, gap in gaps.items()}
    best = hindsight_optimum(users, FAIRNESS, CEILING, LIMITS)[1]
    return found | {"gap_ratio": gaps[1.0] / gaps[0.1], "regret": best - found["fairness"]}


def learn(policy: Policy, users: Users, seed: int, sizes: Convex) -> Array:
    """Expected utilities [T K, m] of the model before each step."""
    m, p = users.targets.shape[1:]
    draws = torch.Generator().manual_seed(seed)
    x = torch.nn.Parameter(torch.zeros(p, dtype=torch.float64))
    balancer = policy.balancer(users.names)
    learned = list(balancer.parameters())
    inner = torch.optim.Adam(learned, lr=policy.learned_rate) if learned else None
    outer = OuterUpdate([x], beta=policy.beta, average=policy.average)
    utilities = np.empty((sizes.rounds, sizes.steps, m))
    for t in range(sizes.rounds):
        policy.begin_round(balancer)
        z, y = _batches(users, t, sizes, draws)
        for k in range(sizes.steps):
            utilities[t, k] = np.clip(CEILING - users.losses(x.detach().numpy(), t), *LIMITS)
            x.grad = None
            backward(_losses(x, z[k], y[k], users, t), balancer, shared=[x])
            if inner is not None:
                inner.step()
                inner.zero_grad()
            _step(x, sizes.rate)
            outer.step()
        outer.end_round()
    return utilities.reshape(-1, m)


def _batches(users: Users, t: int, sizes: Convex, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """A round's inputs ``[K, m, b, p]`` and labels ``[K, m, b]``."""
    m, p = users.targets.shape[1:]
    z = torch.randn(sizes.steps, m, sizes.batch, p, generator=draws, dtype=torch.float64)
    e = torch.randn(sizes.steps, m, sizes.batch, generator=draws, dtype=torch.float64)
    y = torch.einsum("kibp,ip->kib", z, torch.from_numpy(users.targets[t]))
    return z, y + torch.from_numpy(users.noise)[:, None] * e


def _losses(x: Tensor, z: Tensor, y: Tensor, users: Users, t: int) -> dict[str, Tensor]:
    """The losses of the users present in a round."""
    losses = ((z @ x - y).square().mean(1) / 2).unbind()
    return {name: loss for name, loss, here in zip(users.names, losses, users.present[t], strict=True) if here}


@torch.no_grad()
def _step(x: Tensor, rate: float) -> None:
    """Down the gradient, then back into the ball."""
    assert x.grad is not None
    x.sub_(rate * x.grad)
    x.mul_((RADIUS / x.norm()).clamp(max=1.0))
