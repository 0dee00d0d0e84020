"""Trunks of every kind of layer, with an input each, to hold the modes of ``backward`` against plain autograd."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

WIDTH = 6


class Recurrent(nn.Module):
    """The last state of a recurrent layer; its weights are used once a time step."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.layer = getattr(nn, kind)(4, WIDTH, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.layer(x)[0][:, -1])


class Twice(nn.Module):
    """One layer applied twice, and a weight that is used without being transposed, with half of a shift."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again = nn.Linear(4, 12), nn.Linear(12, 12)
        self.matrix, self.shift = nn.Parameter(torch.randn(12, WIDTH)), nn.Parameter(torch.randn(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        z = torch.tanh(self.again(torch.tanh(self.again(torch.tanh(self.first(x))))))
        return torch.tanh(torch.addmm(self.shift, z, self.matrix, beta=0.5))


class Tied(nn.Module):
    """One weight used in two ways that do not go together: as ``W.T`` and as ``W``."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(12, 12) / 3)
        self.first, self.last = nn.Linear(4, 12), nn.Linear(12, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        z = torch.tanh(self.first(x)) @ self.weight
        return self.last(torch.tanh(z @ self.weight.T))


class Checkpointed(nn.Module):
    """Activations of the middle are recomputed in the backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.middle = nn.Linear(4, 16), nn.Sequential(nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.middle, torch.tanh(self.first(x)), use_reentrant=False)


class Scaled(nn.Module):
    """Parameters outside of any layer: a scale, a shift, a frozen weight."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.randn(4)), nn.Parameter(torch.randn(1, 4))
        self.frozen, self.last = nn.Linear(4, 12).requires_grad_(False), nn.Linear(12, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.frozen(x * self.scale + self.shift)))


class Words(nn.Module):
    """An embedding with a padding entry, averaged."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.last = nn.Embedding(50, 8, padding_idx=0), nn.Linear(8, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.last(self.table(x).mean(1)))


class Attention(nn.Module):
    """A transformer layer, averaged over its sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 40, dropout=0.0, batch_first=True)
        self.last = nn.Linear(8, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.layer(self.first(x)).mean(1))


def _mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 20), nn.Tanh(), nn.Linear(20, 16), nn.LayerNorm(16), nn.Linear(16, WIDTH))


def _convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, stride=2),
        nn.GroupNorm(2, 8),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, dilation=2),
        nn.Conv2d(12, 12, 1, groups=2),
        nn.ReLU(),
        nn.Conv2d(12, WIDTH, 2, bias=False),
        nn.Flatten(),
    )


def _sequence() -> nn.Module:
    return nn.Sequential(nn.Conv1d(4, 16, 5), nn.ReLU(), nn.Conv1d(16, WIDTH, 4, stride=2), nn.Flatten())


def _batch_norm() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, WIDTH))


def _vectors() -> Tensor:
    return torch.randn(5, 4)


def _steps() -> Tensor:
    return torch.randn(5, 3, 4)


TRUNKS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "linear and layer norm": (_mlp, _vectors),
    "batch norm": (_batch_norm, _vectors),
    "convolutions": (_convolutions, lambda: torch.randn(4, 3, 11, 11)),
    "convolutions in one dimension": (_sequence, lambda: torch.randn(4, 4, 9)),
    "sequence of vectors": (lambda: nn.Sequential(nn.Linear(4, 30), nn.Tanh(), nn.Linear(30, 2)), _steps),
    "embedding": (Words, lambda: torch.randint(0, 50, (5, 3)).index_fill_(1, torch.tensor(1), 0)),  # padded
    "attention": (Attention, _steps),
    "RNN": (lambda: Recurrent("RNN"), _steps),
    "GRU": (lambda: Recurrent("GRU"), _steps),
    "LSTM": (lambda: Recurrent("LSTM"), _steps),
    "layer used twice": (Twice, _vectors),
    "weight used in two ways": (Tied, _vectors),
    "checkpointing": (Checkpointed, _vectors),
    "parameters of no layer": (Scaled, _vectors),
}
MIXING = ("batch norm",)
"""Trunks in which an example's result depends on other examples."""


class Tasks(nn.Module):
    """A trunk and a linear head for each of ``count`` tasks, in float64."""

    def __init__(self, name: str, count: int = 3, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        trunk, example = TRUNKS[name]
        self.trunk = trunk().double()
        self.x = example()
        self.x = self.x.double() if self.x.is_floating_point() else self.x
        wide = self.trunk(self.x).flatten(1).shape[1]
        self.heads = nn.ModuleList([nn.Linear(wide, 1) for _ in range(count)]).double()
        self.y = torch.randn(count, len(self.x), dtype=torch.float64)

    def losses(self, x: Tensor | None = None) -> dict[str, Tensor]:
        """Every example has a label of every task."""
        z = self.trunk(self.x if x is None else x).flatten(1)
        return {str(t): (h(z)[:, 0] - self.y[t, : len(z)]).square().mean() for t, h in enumerate(self.heads)}

    def losses_apart(self) -> dict[str, Tensor]:
        """Every example of one batch belongs to one task; the last task has none beyond the others' number."""
        z = self.trunk(self.x).flatten(1)
        owner = torch.arange(len(self.x)) % len(self.heads)
        return {str(t): (h(z)[owner == t, 0] - self.y[t, owner == t]).square().sum() for t, h in enumerate(self.heads)}

    def losses_of_passes(self) -> dict[str, Tensor]:
        """Every task has a forward pass of its own, on a batch of its own."""
        found = {}
        for t, head in enumerate(self.heads):
            x = self.x.roll(t, 0) if self.x.dtype == torch.long else self.x + 0.1 * t
            found[str(t)] = (head(self.trunk(x).flatten(1))[:, 0] - self.y[t]).square().mean()
        return found

    def shared(self) -> list[nn.Parameter]:
        return [p for p in self.trunk.parameters() if p.requires_grad]
