"""Representation surgery: a small adapter a task moves the merged model's features back to its own model's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .._needs import declare
from .._running import arguments
from ._descend import Batches, descend
from ._task_model import Named, State, Tapped, TaskModel, module_at


@declare(data="inputs", task="yes", stored="1, and 2 rank d a task")
class Surgery(TaskModel):
    """``h'(x) = h(x) - B_t ReLU(A_t h(x))`` for the representation ``h`` of any merged model, ``A_t`` and ``B_t`` of
    low rank, learned so that ``h'`` is near (L1) to what the task's own model gives.

    Yang et al., "Representation surgery for multi-task model merging" (ICML 2024, arXiv 2402.02705).
    Arguments as of :class:`TaskModel`, and:

    Args:
        merged: the merged tensors, from any method.
        at: the module whose output is the representation ``[B, ..., d]``; every position is changed.
        width: ``d``.
        rank: of the adapters.

    ``B`` starts at 0: before :meth:`fit` this is the merged model. Needs the task's name at inference. Storage: the
    merged model and ``2 rank d`` numbers a task.
    """

    def __init__(
        self,
        model: nn.Module,
        states: Mapping[str, State],
        merged: State,
        *,
        at: str,
        width: int,
        rank: int = 16,
        exclude: Sequence[str] = (),
    ) -> None:
        super().__init__(model, states, exclude)
        self.at = at
        module_at(self.skeleton, at)
        self.base = Named({name: merged[name] for name in self.shared})
        self.adapters = nn.ModuleList(
            nn.Sequential(nn.Linear(width, rank, bias=False), nn.ReLU(), nn.Linear(rank, width, bias=False))
            for _ in self.tasks
        )
        for adapter in self.adapters:
            nn.init.zeros_(adapter[2].weight)  # type: ignore[index]
        self._teachers = ({t: {n: s[n].detach() for n in self.shared} for t, s in states.items()},)

    def _features(self, values: State, batch: Any, task: str) -> Tensor:
        args, kwargs = arguments(batch)
        with torch.no_grad(), Tapped(module_at(self.skeleton, self.at)) as tap:
            self.call({**values, **self.head(task)}, args, kwargs)
        return tap.seen

    def fit(self, batches: Batches, *, steps: int = 1000, learning_rate: float = 1e-3) -> list[float]:
        """Adam on the mean absolute difference to each task's own features, on unlabelled inputs, one batch of each
        task a step; the sums, step by step."""

        own = self.base.tensors()
        teachers = {t: {n: v.to(own[n]) for n, v in state.items()} for t, state in self._teachers[0].items()}

        def losses(step: Mapping[str, Any]) -> dict[str, Tensor]:
            found = {}
            for task, batch in step.items():
                h = self._features(own, batch, task)
                wanted = self._features(teachers[task], batch, task)
                found[task] = (self.operate(h, task) - wanted).abs().mean()
            return found

        return descend(self.adapters.parameters(), losses, batches, self.tasks, steps, learning_rate)

    def operate(self, features: Tensor, task: str) -> Tensor:
        """The representation as ``task`` wants it: ``[..., d]`` -> ``[..., d]``."""
        changed: Tensor = features - self.adapters[self.index(task)](features)
        return changed

    def forward(self, *args: Any, task: str, **kwargs: Any) -> Any:
        """What the merged model returns for ``task``, its representation changed."""
        with Tapped(module_at(self.skeleton, self.at), lambda h: self.operate(h, task)):
            return self.call(self.base.tensors() | self.head(task), args, kwargs)
