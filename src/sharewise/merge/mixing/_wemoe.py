"""WEMoE: blocks whose weights are mixed anew for every example."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import MergeError
from .._layout import covers
from .._needs import declare
from .._running import arguments, logits_of
from ._descend import Batches, descend, entropy
from ._task_model import Named, State, TaskModel, each_own, module_at, pooled, task_vectors


class MixedBlock(nn.Module):
    """``theta(x) = theta_0 + sum_t w_t(x) tau_t`` for one module; ``w`` from its mean input over positions.

    Args:
        block: the module; called with ``[B, ..., d]`` as its first argument.
        base: its tensors.
        vectors: task vectors ``[T, *shape]``.
        width: ``d``.
        init: every weight before the router has learned.
    """

    def __init__(self, block: nn.Module, base: State, vectors: State, width: int, init: float, chunk: int) -> None:
        super().__init__()
        self._block, self.chunk = (block,), chunk
        self.base, self.vectors = Named(base), Named(vectors)
        tasks = len(next(iter(vectors.values())))
        self.router = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, tasks))
        last = self.router[2]
        assert isinstance(last, nn.Linear)
        nn.init.normal_(last.weight, std=0.01)
        nn.init.constant_(last.bias, init)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the block returns with every example's own weights."""
        weights = self.router(pooled(args[0]))
        base, vectors = self.base.tensors(), self.vectors.tensors()

        def values(share: Tensor) -> dict[str, Tensor]:
            return base | {name: base[name] + torch.tensordot(share, tau, 1) for name, tau in vectors.items()}

        return each_own(self._block[0], values, weights, args, kwargs, self.chunk)


@declare(base="yes", data="inputs", task="head", stored="1 and the blocks of T")
class WEMoE(TaskModel):
    """Task arithmetic everywhere but in ``blocks`` (a transformer's MLPs), whose task vectors a router mixes for every
    example.

    Tang et al., "Merging multi-task models via weight-ensembling mixture of experts" (ICML 2024, arXiv 2402.00433).
    Arguments as of :class:`TaskModel`, and:

    Args:
        base: what all were fine-tuned from.
        blocks: names of the modules that are mixed, and the length of each one's input, ``{"layers.0.mlp": 64}``.
        scale: ``lambda`` of task arithmetic, and the routers' first weights: before :meth:`fit` it is task arithmetic
            (but for a small random part).
        chunk: examples at once; memory grows by that many blocks.

    No task id is needed but for the head. Storage: the merged model and every task's blocks.
    """

    def __init__(
        self,
        model: nn.Module,
        states: Mapping[str, State],
        base: State,
        *,
        blocks: Mapping[str, int],
        scale: float = 0.3,
        chunk: int = 64,
        exclude: Sequence[str] = (),
    ) -> None:
        super().__init__(model, states, exclude)
        if not blocks:
            raise MergeError("name at least one block to mix, with the length of its input")
        vectors = task_vectors(states, base, self.shared)
        self.blocks = nn.ModuleList()
        mixed: set[str] = set()
        for block, width in blocks.items():
            names = [n for n in self.shared if covers(block, n)]
            inner = module_at(self.skeleton, block)
            own = {n.removeprefix(f"{block}."): base[n] for n in names}
            changes = {n.removeprefix(f"{block}."): vectors[n] for n in names if n in vectors}
            if not changes:
                raise MergeError(f'block "{block}" has no tensor to mix')
            self.blocks.append(MixedBlock(inner, own, changes, width, scale, chunk))
            parent, _, leaf = block.rpartition(".")
            setattr(self.skeleton.get_submodule(parent), leaf, self.blocks[-1])
            mixed.update(names)
        rest = {n: base[n] + scale * vectors[n].sum(0) if n in vectors else base[n] for n in self.shared}
        self.base = Named({n: value for n, value in rest.items() if n not in mixed})

    def fit(self, batches: Batches, *, steps: int = 1000, learning_rate: float = 1e-4) -> list[float]:
        """Teach the routers: Adam on the entropy of predictions for unlabelled inputs, one batch of each task a step.

        Returns the summed entropies, step by step, nats.
        """

        def losses(step: Mapping[str, Any]) -> dict[str, Tensor]:
            found = {}
            for task, batch in step.items():
                args, kwargs = arguments(batch)
                found[task] = entropy(logits_of(self(*args, task=task, **kwargs), task))
            return found

        routers = [p for block in self.blocks for p in block.router.parameters()]  # type: ignore[union-attr]
        return descend(routers, losses, batches, self.tasks, steps, learning_rate)

    def forward(self, *args: Any, task: str | None = None, **kwargs: Any) -> Any:
        """What the model returns, through the head of ``task`` where heads differ."""
        return self.call(self.base.tensors() | self.head(task), args, kwargs)
