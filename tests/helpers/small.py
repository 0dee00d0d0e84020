"""A small problem that trains in milliseconds: two related regressions and a partly labelled yes-or-no."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import sharewise as sw
from sharewise.train import Callback, Loop

TASKS = (sw.regression("height"), sw.regression("weight"), sw.binary("tall"))


class SmallModel(nn.Module):
    """A trunk with dropout and a linear head a task."""

    def __init__(self, dropout: float = 0.2, seed: int = 0) -> None:
        super().__init__()
        generator = torch.random.get_rng_state()
        torch.manual_seed(seed)
        self.trunk = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 16), nn.ReLU())
        self.heads = nn.ModuleDict({t.name: nn.Linear(16, 1) for t in TASKS})
        torch.random.set_rng_state(generator)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        z = self.trunk(inputs)
        return {name: head(z).squeeze(1) for name, head in self.heads.items()}

    def shared_parameters(self) -> list[nn.Parameter]:
        return list(self.trunk.parameters())


class StopAt(Callback):
    """Raises at a step, as a kill would come between two steps."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, loop: Loop, balance: object) -> None:
        if loop.step == self.step:
            raise RuntimeError("killed")


def source(rows: int, seed: int) -> sw.TensorSource:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 5, generator=generator)
    hidden = x[:, 0] + 0.5 * x[:, 1].square()
    noise = 0.1 * torch.randn(rows, generator=generator)
    targets = {"height": hidden + noise, "weight": hidden - x[:, 2], "tall": (hidden > 0.5).float()}
    observed = {"tall": torch.rand(rows, generator=generator) < 0.5}
    return sw.TensorSource(x, targets, observed)


def splits(rows: int = 200) -> sw.Splits:
    return sw.Splits(source(rows, 1), source(80, 2), source(80, 3))
