"""Parameters somewhere else for a while, and put back exactly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def moved(steps: Sequence[tuple[Tensor, Tensor]], model: nn.Module | None = None) -> Iterator[None]:
    """Within: each parameter is moved by its step; afterwards all are what they were, bit for bit, whatever was raised.

    ``model``: whose buffers (running statistics of batch normalisation) are put back too. Memory: a copy of the
    parameters moved and of the buffers.
    """
    parameters = [p for p, _ in steps]
    kept = [p.detach().clone() for p in parameters]
    buffers = [] if model is None else [(b, b.clone()) for b in model.buffers()]
    try:
        with torch.no_grad():
            for p, step in steps:
                p.add_(step)
        yield
    finally:
        with torch.no_grad():
            for p, value in zip(parameters, kept, strict=True):
                p.copy_(value)
            for buffer, value in buffers:
                buffer.copy_(value)


def length(tensors: Sequence[Tensor]) -> Tensor:
    """The Euclidean norm of all entries together (scalar, at least float32)."""
    if not tensors:
        return torch.zeros(())
    norms = [torch.linalg.vector_norm(t, dtype=torch.promote_types(t.dtype, torch.float32)) for t in tensors]
    return torch.linalg.vector_norm(torch.stack([n.to(norms[0]) for n in norms]))


def gradient_steps(parameters: Sequence[Tensor], rho: float, adaptive: bool = False) -> list[tuple[Tensor, Tensor]]:
    """``rho g / |g|`` of the parameters with a gradient, the norm over all of them; no step where it is 0.

    ``adaptive``: ``rho w^2 g / |w g|`` (Kwon et al., "ASAM", ICML 2021, equation 4 with T = |w|).
    """
    present = [(p, p.grad) for p in parameters if p.grad is not None]
    sized = [p.detach().abs() * g if adaptive else g for p, g in present]
    norm = length(sized)
    scale = torch.where(norm > 0, rho / norm, 0.0)
    factors = [p.detach().abs() if adaptive else 1.0 for p, _ in present]
    return [(p, g * f * scale.to(g)) for (p, _), g, f in zip(present, sized, factors, strict=True)]
