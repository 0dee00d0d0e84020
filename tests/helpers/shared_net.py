"""Small nets with a trunk and heads, and their losses."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Net(nn.Module):
    """``trunk`` and a head for each of ``names``; float64, so that modes can be compared exactly."""

    def __init__(self, names: list[str], trunk: nn.Module | None = None, width: int = 6) -> None:
        super().__init__()
        self.trunk = trunk or nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, width), nn.Tanh())
        self.heads = nn.ModuleList([nn.Linear(width, 1) for _ in names])
        self.names = names
        self.double()

    def losses(self, x: Tensor, z: Tensor | None = None) -> dict[str, Tensor]:
        """Squared errors against targets that pull the tasks apart."""
        z = self.trunk(x) if z is None else z
        made = {}
        for i, (name, head) in enumerate(zip(self.names, self.heads, strict=True)):
            target = (-1.0) ** i * (i + 1) * x.flatten(1)[:, 0]
            made[name] = (head(z).squeeze(1) - target).square().mean()
        return made

    def shared_parameters(self) -> list[nn.Parameter]:
        return list(self.trunk.parameters())


def net(count: int = 3, seed: int = 0) -> Net:
    torch.manual_seed(seed)
    return Net([f"task {i}" for i in range(count)])


def batch(rows: int = 10, seed: int = 1) -> Tensor:
    return torch.randn(rows, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradients(module: nn.Module) -> dict[str, Tensor | None]:
    """``.grad`` of all parameters by name."""
    return {name: None if p.grad is None else p.grad.clone() for name, p in module.named_parameters()}


def jacobian(losses: dict[str, Tensor], parameters: list[nn.Parameter]) -> Tensor:
    """The plain way: one row a loss, ``[m, n]``."""
    rows = []
    for loss in losses.values():
        parts = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        rows.append(
            torch.cat(
                [(torch.zeros_like(p) if g is None else g).flatten() for p, g in zip(parameters, parts, strict=True)]
            )
        )
    return torch.stack(rows)


def flat(parameters: list[nn.Parameter]) -> Tensor:
    """``.grad`` of parameters as one vector."""
    return torch.cat([p.grad.flatten() for p in parameters])
