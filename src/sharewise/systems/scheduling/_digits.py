"""Handwritten digits with helpful and harmful auxiliary tasks."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TASKS = {"digit": 10, "parity": 2, "large": 2, "shuffled": 10, "mirrored": 10}
"""Task -> classes. ``digit`` is the one that counts; ``parity`` and ``large`` (5 or more) follow from it;
``shuffled`` has labels in a random order; ``mirrored`` sees flipped images and has its labels swapped in pairs."""


@lru_cache(maxsize=1)
def images() -> tuple[Tensor, Tensor]:
    """scikit-learn's 1,797 digits: ``[N, 64]`` from 0 to 1, and their classes."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return torch.tensor(found.data / 16.0, dtype=torch.float32), torch.tensor(found.target)


class DigitTasks:
    """A network on five tasks, of which two contradict the others; rows split anew by each seed.

    Args:
        seed: of the split, the weights, the shuffled labels and the batches.
        batch: rows a task and step; each task draws its own.
        rate: step size of Adam.
        rows: training rows; 400 others each for validation and test.
    """

    def __init__(self, seed: int, *, batch: int, rate: float, rows: int = 600) -> None:
        x, y = images()
        self.names, self.batch = list(TASKS), batch
        self._draws = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(x), generator=self._draws)
        self._parts = order[:rows], order[rows : rows + 400], order[rows + 400 : rows + 800]
        self._labels = {
            "digit": y,
            "parity": y % 2,
            "large": (y >= 5).long(),
            "shuffled": y[torch.randperm(len(y), generator=self._draws)],
            "mirrored": y + 1 - 2 * (y % 2),
        }
        flipped = x.view(-1, 8, 8).flip(2).flatten(1)
        self._inputs = {name: flipped if name == "mirrored" else x for name in self.names}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.trunk = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 24), nn.ReLU())
            self.heads = nn.ModuleDict({name: nn.Linear(24, classes) for name, classes in TASKS.items()})
        self._shared = list(self.trunk.parameters())
        self._optimizer = torch.optim.Adam([*self._shared, *self.heads.parameters()], lr=rate)

    def gradients(self, names: list[str]) -> Tensor:
        """Gradients of the cross-entropies for the trunk ``[g, n]``; the heads' own are kept for :meth:`step`."""
        self._own: dict[str, tuple[Tensor, ...]] = {}
        rows = []
        for name in names:
            chosen = self._parts[0][torch.randint(len(self._parts[0]), (self.batch,), generator=self._draws)]
            raw = self.heads[name](self.trunk(self._inputs[name][chosen]))
            loss = F.cross_entropy(raw, self._labels[name][chosen])
            found = torch.autograd.grad(loss, [*self._shared, *self.heads[name].parameters()])
            rows.append(torch.cat([g.flatten() for g in found[: len(self._shared)]]))
            self._own[name] = found[len(self._shared) :]
        return torch.stack(rows)

    def step(self, names: list[str], direction: Tensor) -> None:
        """One step of Adam; heads of tasks that are not among ``names`` have no gradient and stand still."""
        self._optimizer.zero_grad(set_to_none=True)
        pieces = direction.split([p.numel() for p in self._shared])
        for parameter, piece in zip(self._shared, pieces, strict=True):
            parameter.grad = piece.view_as(parameter).to(parameter)
        for name in names:
            for parameter, gradient in zip(self.heads[name].parameters(), self._own[name], strict=True):
                parameter.grad = gradient
        self._optimizer.step()

    def error(self, part: str, task: str = "digit") -> float:
        """Share of wrong answers on ``valid`` or ``test`` rows."""
        rows = self._parts[("train", "valid", "test").index(part)]
        with torch.no_grad():
            found = self.heads[task](self.trunk(self._inputs[task][rows])).argmax(1)
        return float((found != self._labels[task][rows]).double().mean())
