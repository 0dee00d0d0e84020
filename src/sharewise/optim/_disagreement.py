"""How far the gradients of several distributions lie apart, and diagnostics of small models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..errors import ModelError

_MOST = 4096
_SAME = 1e-12


def disagreement(gram: Tensor) -> Tensor:
    """``tr(Sigma_g) = (1/N) sum_i |g_i - mean|^2`` (scalar) from inner products ``[N, N]`` of N gradients.

    As half the mean squared distance of two of them, so that equal gradients give 0; what is lost in rounding counts as
    0. With products between batches (:meth:`sharewise.balance.TaskRows.between`) the noise of the batches drops out,
    and the value, right on average, may be negative.
    """
    own = gram.diagonal()
    value = (own + own[:, None] - gram - gram.T).mean() / 2
    return torch.where(value.abs() > _SAME * own.abs().mean(), value, 0.0)


def top_curvature(loss: Tensor, parameters: Sequence[Tensor], *, iterations: int = 50, seed: int = 0) -> Tensor:
    """The eigenvalue of the Hessian of ``loss`` that is largest in size (scalar), by power iteration.

    Cost: one backward pass with a graph and one more an iteration. The graph of ``loss`` is kept.
    """
    gradients = torch.autograd.grad(loss, parameters, create_graph=True)
    generator = torch.Generator().manual_seed(seed)
    vector = [torch.randn(p.shape, generator=generator, dtype=p.dtype).to(p.device) for p in parameters]
    value = loss.new_zeros(())
    for _ in range(iterations):
        size = torch.stack([v.square().sum() for v in vector]).sum().sqrt()
        if not bool(size > 0):
            break
        vector = [v / size for v in vector]
        product = torch.autograd.grad(gradients, parameters, vector, retain_graph=True, materialize_grads=True)
        value = torch.stack([(a * b).sum() for a, b in zip(vector, product, strict=True)]).sum()
        vector = list(product)
    return value.detach()


def hessian(loss: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """The Hessian ``[n, n]`` of ``loss`` in n backward passes; :class:`ModelError` for more than 4096 parameters."""
    count = sum(p.numel() for p in parameters)
    if count > _MOST:
        raise ModelError(f"the whole Hessian is for models of up to {_MOST} parameters, this one has {count}")
    gradients = torch.autograd.grad(loss, parameters, create_graph=True)
    rows = []
    for entry in torch.cat([g.flatten() for g in gradients]):
        if not entry.requires_grad:  # a loss that is linear in this parameter
            rows.append(entry.new_zeros(count))
            continue
        found = torch.autograd.grad(entry, parameters, retain_graph=True, materialize_grads=True)
        rows.append(torch.cat([g.flatten() for g in found]))
    return torch.stack(rows).detach()


def alignment(losses: Mapping[str, Tensor], parameters: Sequence[Tensor], *, damping: float = 0.0) -> Tensor:
    """``tr((H + damping)^-1 Sigma_g)`` (scalar): H the Hessian of the mean loss, Sigma_g the gradients' covariance.

    For small models, see :func:`hessian`. Raises what ``torch.linalg.solve`` does where H is singular.
    """
    rows = [
        torch.autograd.grad(loss, parameters, retain_graph=True, materialize_grads=True) for loss in losses.values()
    ]
    jacobian = torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])
    apart = jacobian - jacobian.mean(0)
    whole = hessian(torch.stack(list(losses.values())).mean(), parameters)
    whole = whole + damping * torch.eye(len(whole), dtype=whole.dtype, device=whole.device)
    return (apart * torch.linalg.solve(whole, apart.T).T).sum() / len(apart)
