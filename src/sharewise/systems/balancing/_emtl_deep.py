"""One policy on six users' versions of handwritten digits: the deep half of the system ``emtl``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...balance import OuterUpdate, backward
from ._horizon import equity, horizon_means
from ._policies import Policy

ANGLES = (0.0, 0.0, 0.0, 15.0, 60.0, 90.0)
"""Degrees each user's images are turned by."""
SHADES = ((0.0, 1.0), (1.0, -1.0), (0.0, 0.4), (0.0, 1.0), (0.0, 1.0), (0.0, 1.0))
"""``(a, b)``: a user sees ``a + b image``; the second sees negatives, the third faint ones."""
CEILING, LIMITS = 3.0, (0.15, 3.0)
"""A utility of ``1 - loss / 3`` times 3: weights do not depend on the factor."""
FAIRNESS = 2.0


@dataclass(frozen=True)
class Deep:
    """Sizes: rounds, steps a round, rows a user and step; labels seen change every ``period`` rounds."""

    rounds: int = 80
    steps: int = 10
    batch: int = 16
    period: int = 40
    labels: int = 5
    rate: float = 1e-2


class Users(nn.Module):
    """A shared trunk of two convolutions and a linear layer, and a linear head for each user."""

    def __init__(self, users: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(64, 32), nn.ReLU(),
        )  # fmt: skip
        self.heads = nn.ModuleList([nn.Linear(32, 10) for _ in range(users)])

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images ``[users, b, 1, 8, 8]`` -> a user's logits ``[b, 10]`` each."""
        hidden = self.trunk(images.flatten(0, 1)).unflatten(0, images.shape[:2])
        return [head(h) for head, h in zip(self.heads, hidden, strict=True)]


@lru_cache(maxsize=1)
def digits() -> tuple[Tensor, npt.NDArray[np.int64]]:
    """Images as each user sees them ``[users, 1797, 1, 8, 8]``, in about [0, 1], and labels ``[1797]``."""
    from scipy.ndimage import rotate
    from sklearn.datasets import load_digits

    found = load_digits()
    plain = found.images / 16
    turned = [rotate(plain, angle, axes=(1, 2), reshape=False, order=1) if angle else plain for angle in ANGLES]
    seen = [a + b * images for images, (a, b) in zip(turned, SHADES, strict=True)]
    return torch.tensor(np.stack(seen), dtype=torch.float32).unsqueeze(2), found.target.astype(np.int64)


def run(policy: Policy, seed: int, sizes: Deep) -> dict[str, float]:
    """Metrics of a policy: utilities ``1 - loss / 3`` and accuracies on held-out images after each round.

    Utilities are those of the model as it was served during the round, that is at its end, on the labels the user had
    in it; horizon means over all rounds.
    """
    losses, right = learn(policy, seed, sizes)
    utilities = np.clip(CEILING - losses, *LIMITS) / CEILING
    accuracy = horizon_means(right)
    return {
        **equity(horizon_means(utilities), FAIRNESS),
        "mean_accuracy": float(accuracy.mean()),
        "min_accuracy": float(accuracy.min()),
    }


def learn(policy: Policy, seed: int, sizes: Deep) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Held-out loss and accuracy of each user at the end of each round, both [T, m]."""
    images, labels = digits()
    m = len(images)
    names = [f"user {i + 1}" for i in range(m)]
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(labels))
    train, held = order[: 3 * len(order) // 4], order[3 * len(order) // 4 :]
    torch.manual_seed(seed)
    model = Users(m)
    balancer = policy.balancer(names, ceiling=CEILING, u_min=LIMITS[0], u_max=LIMITS[1])
    groups = [{"params": model.parameters(), "lr": sizes.rate}]
    if learned := list(balancer.parameters()):
        groups.append({"params": learned, "lr": policy.learned_rate})
    optimizer = torch.optim.Adam(groups)
    outer = OuterUpdate(model.trunk.parameters(), beta=policy.beta, average=policy.average)
    losses, right = np.empty((sizes.rounds, m)), np.empty((sizes.rounds, m))
    pools: list[npt.NDArray[np.int64]] = []
    tests: list[npt.NDArray[np.int64]] = []
    for t in range(sizes.rounds):
        if t % sizes.period == 0:
            wanted = [rng.permutation(10)[: sizes.labels] for _ in range(m)]
            pools = [train[np.isin(labels[train], w)] for w in wanted]
            tests = [held[np.isin(labels[held], w)] for w in wanted]
        policy.begin_round(balancer)
        for _ in range(sizes.steps):
            rows = np.stack([rng.choice(pool, sizes.batch) for pool in pools])
            batch = torch.stack([images[i, rows[i]] for i in range(m)])
            logits = model(batch)
            targets = torch.from_numpy(labels[rows])
            step = {n: F.cross_entropy(z, y) for n, z, y in zip(names, logits, targets, strict=True)}
            optimizer.zero_grad()
            backward(step, balancer)
            optimizer.step()
            outer.step()
        losses[t], right[t] = _served(model, images, labels, tests)
        outer.end_round()
    return losses, right


@torch.no_grad()
def _served(
    model: Users, images: Tensor, labels: npt.NDArray[np.int64], tests: list[npt.NDArray[np.int64]]
) -> tuple[list[float], list[float]]:
    losses, right = [], []
    for i, rows in enumerate(tests):
        logits = model.heads[i](model.trunk(images[i, rows]))
        y = torch.from_numpy(labels[rows])
        losses.append(float(F.cross_entropy(logits, y)))
        right.append(float((logits.argmax(1) == y).double().mean()))
    return losses, right
