"""Twin-Merging: shared knowledge in one model, what is each task's own in small parts that a router mixes in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .._needs import declare
from .._running import arguments
from ._descend import Batches, descend
from ._task_model import Named, State, Tapped, TaskModel, each_own, module_at, pooled, task_vectors


@declare(base="yes", data="inputs", task="head", stored="1 and parts of rank r a task")
class TwinMerging(TaskModel):
    """``theta(x) = theta* + sum_t w_t(x) v_t``: ``theta*`` merged by task arithmetic, ``v_t`` the leading singular part
    of ``theta_t - theta*``, ``w(x)`` a router's softmax of the representation that ``theta*`` gives.

    Lu et al., "Twin-Merging" (NeurIPS 2024, arXiv 2406.15479). Weights are each example's own (the
    model runs by ``vmap``). Arguments as of :class:`TaskModel`, and:

    Args:
        base: what all were fine-tuned from.
        at: the module whose output is the representation; positions are averaged.
        width: the representation's length.
        scale: ``lambda`` of task arithmetic.
        rank: share of a matrix's singular values kept, in (0, 1]; vectors are kept whole.
        chunk: examples at once; memory grows by that many models.

    Call :meth:`fit` before use: it learns which inputs are which task's, without labels.
    """

    def __init__(
        self,
        model: nn.Module,
        states: Mapping[str, State],
        base: State,
        *,
        at: str,
        width: int,
        scale: float = 0.3,
        rank: float = 0.1,
        chunk: int = 64,
        exclude: Sequence[str] = (),
    ) -> None:
        super().__init__(model, states, exclude)
        self.at, self.chunk = at, chunk
        module_at(self.skeleton, at)
        shared, left, right, whole = {n: base[n].detach() for n in self.shared}, {}, {}, {}
        for name, tau in task_vectors(states, base, self.shared).items():
            change = scale * tau.sum(0)
            shared[name] = base[name].detach() + change
            if tau.ndim > 2 and min(tau[0].flatten(1).shape) > 1:
                left[name], right[name] = leading((tau - change).flatten(2), rank)
            else:
                whole[name] = tau - change
        self.base = Named(shared)
        self.left, self.right, self.whole = Named(left), Named(right), Named(whole)
        hidden = max(width // 2, len(self.tasks))
        self.router = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, len(self.tasks)))

    def represent(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
        """The shared model's representation ``[B, d]``."""
        with torch.no_grad(), Tapped(module_at(self.skeleton, self.at)) as tap:
            self.call(self.base.tensors() | self.head(self.tasks[0]), args, kwargs)
        return pooled(tap.seen)

    def fit(self, batches: Batches, *, steps: int = 500, learning_rate: float = 1e-3) -> list[float]:
        """Teach the router whose inputs are whose: Adam on the cross-entropy of the task, one batch of each a step.

        Returns the summed losses, step by step. The router's first values are drawn when it is made: seed torch before.
        """

        def losses(step: Mapping[str, Any]) -> dict[str, Tensor]:
            found = {}
            for task, batch in step.items():
                logits = self.router(self.represent(*arguments(batch)))
                found[task] = nn.functional.cross_entropy(
                    logits, torch.full((len(logits),), self.index(task), device=logits.device)
                )
            return found

        return descend(self.router.parameters(), losses, batches, self.tasks, steps, learning_rate)

    def forward(self, *args: Any, task: str | None = None, **kwargs: Any) -> Any:
        """What the model returns with every example's own mixture, through the head of ``task`` where heads differ."""
        weights = self.router(self.represent(args, kwargs)).softmax(-1)
        base, head, whole = self.base.tensors(), self.head(task), self.whole.tensors()
        left, right = self.left.tensors(), self.right.tensors()

        def values(share: Tensor) -> dict[str, Tensor]:
            found = base | head
            for name in left:
                change = torch.einsum("t,tor,tri->oi", share, left[name], right[name])
                found[name] = base[name] + change.view(base[name].shape)
            for name, own in whole.items():
                found[name] = base[name] + torch.tensordot(share, own, 1)
            return found

        return each_own(self.skeleton, values, weights, args, kwargs, self.chunk)


def leading(matrices: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """``[T, out, in]`` -> ``[T, out, r]``, ``[T, r, in]``: the nearest product of rank r = share of min(out, in)."""
    rank = max(1, round(share * min(matrices.shape[1:])))
    u, s, v = torch.linalg.svd(matrices.float(), full_matrices=False)
    return (u[:, :, :rank] * s[:, None, :rank]).to(matrices.dtype), v[:, :rank].to(matrices.dtype)
