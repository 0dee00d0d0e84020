"""A simulator in which groups of tasks pull apart although one model serves them all."""

from __future__ import annotations

import torch
from torch import Tensor

INPUTS, FEATURES = 32, 16
"""Inputs, and features of the trunk (as many as there are tasks, where those are more)."""
NOISE = 0.3
"""Standard deviation of the labels' noise."""
WITHIN, ACROSS = 0.8, -0.4
"""Cosines of the heads within a group and across groups; with three groups of three the Gram matrix is positive."""


class GroupedTasks:
    """Tasks ``y = <w*, x> + noise`` read by fixed heads ``v_k`` from a linear trunk: the prediction is ``<v_k, W x>``.

    All tasks have the same target, so a trunk with no error at all exists; but the gradient for W is the residual's
    times ``v_k``, so that while residuals are large the tasks' gradients have the cosines of their heads, and the sum
    over all tasks nearly cancels. (Heads that could train would flip their signs and end the conflict.)

    Args:
        seed: of the heads, the target and the examples.
        batch: examples a task and step, drawn anew for each.
        rate: step size of plain gradient descent.
        groups, members: how many groups of how many tasks.
    """

    def __init__(self, seed: int, *, batch: int, rate: float, groups: int = 3, members: int = 3) -> None:
        self.batch, self.rate = batch, rate
        self.group = [g for g in range(groups) for _ in range(members)]
        self.names = [f"task {k}" for k in range(groups * members)]
        self._draws = torch.Generator().manual_seed(seed)
        self._seed = seed
        gram = torch.full((len(self.names),) * 2, ACROSS, dtype=torch.float32)
        same = torch.tensor(self.group)[:, None] == torch.tensor(self.group)
        gram[same] = WITHIN
        gram.fill_diagonal_(1.0)
        features = max(FEATURES, len(self.names))
        turn = torch.linalg.qr(self._normal(features, features))[0]
        self.heads = torch.linalg.cholesky(gram) @ turn[: len(self.names)]
        self.target = self._unit()
        self.trunk = torch.zeros(features, INPUTS, dtype=torch.float32)

    def gradients(self, names: list[str]) -> Tensor:
        """Gradients of the mean squared errors for the trunk: ``[g, n]``, on examples of each task's own."""
        heads = self.heads[[self.names.index(name) for name in names]]
        x = self._normal(len(names), self.batch, INPUTS)
        residual = torch.einsum("gf,fi,gbi->gb", heads, self.trunk, x) - x @ self.target
        residual -= NOISE * self._normal(len(names), self.batch)
        inner = torch.einsum("gb,gbi->gi", residual, x) * (2 / self.batch)
        return torch.einsum("gf,gi->gfi", heads, inner).flatten(1)

    def step(self, names: list[str], direction: Tensor) -> None:
        """One step of gradient descent."""
        self.trunk = self.trunk - self.rate * direction.view_as(self.trunk)

    def excess(self) -> float:
        """The exact expected squared error above the labels' noise, mean over tasks."""
        return float((self.heads @ self.trunk - self.target).square().sum(1).mean())

    def validation(self, rows: int = 10_000) -> float:
        """Mean squared error on rows that are the same for all runs of a seed: what step sizes are chosen by."""
        draws = torch.Generator().manual_seed(self._seed + 1_000_000)
        x = torch.randn(rows, INPUTS, generator=draws)
        y = x @ self.target + NOISE * torch.randn(rows, generator=draws)
        return float((x @ (self.heads @ self.trunk).T - y[:, None]).square().mean())

    def change(self) -> None:
        """A new target, and in each group the last task moves on to the next group: another graph is right now."""
        last = [max(k for k, g in enumerate(self.group) if g == group) for group in sorted(set(self.group))]
        following = last[1:] + last[:1]
        self.heads[last] = self.heads[following]
        for k, group in zip(last, [self.group[j] for j in following], strict=True):
            self.group[k] = group
        self.target = self._unit()

    def true_edges(self) -> Tensor:
        """Pairs of tasks from different groups: BoolTensor ``[m, m]``."""
        group = torch.tensor(self.group)
        return group[:, None] != group

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self._draws, dtype=torch.float32)

    def _unit(self) -> Tensor:
        drawn = self._normal(INPUTS)
        return drawn / drawn.norm()


def edge_accuracy(found: Tensor, true: Tensor) -> float:
    """Share of all pairs that rightly have, or have not, an edge."""
    rows, columns = torch.triu_indices(len(true), len(true), offset=1)
    return float((found[rows, columns] == true[rows, columns]).double().mean())
