"""EMR and TALL masks as they are meant to be used: one merged vector, and a bit an entry and task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ...errors import OptionError
from .._needs import declare
from ..methods._masks import tall_masks, unified
from ._task_model import Named, State, TaskModel, task_vectors


@declare(base="yes", task="yes", stored="2 and T / 32")
class Masked(TaskModel):
    """For task t the model ``theta_0 + s_t M_t * tau``: one vector for all, one bit an entry and a number a task.

    Arguments as of :class:`TaskModel`, and:

    Args:
        base: what all were fine-tuned from.
        how: ``emr`` (Huang et al., arXiv 2405.17461): the unified vector, masks of agreeing signs, rescaled;
            ``tall`` (Wang et al., arXiv 2405.07813): the summed vector, masks of entries that matter to the task.
        mask_lambda: of ``tall``.

    Needs the task's name at inference. Storage: two models, plus a 32nd of one (float32) a task.
    """

    def __init__(
        self,
        model: nn.Module,
        states: Mapping[str, State],
        base: State,
        *,
        how: Literal["emr", "tall"] = "emr",
        mask_lambda: float = 0.4,
        exclude: Sequence[str] = (),
    ) -> None:
        super().__init__(model, states, exclude)
        if how not in ("emr", "tall"):
            raise OptionError(f'how must be "emr" or "tall", found {how!r}')
        vectors = task_vectors(states, base, self.shared)
        merged, masks = {}, {}
        own, shown = (torch.zeros(len(self.tasks), dtype=torch.float64) for _ in range(2))
        for name, tau in vectors.items():
            total = unified(tau) if how == "emr" else tau.sum(0)
            mask = tau * total > 0 if how == "emr" else tall_masks(tau, total, mask_lambda) > 0
            merged[name], masks[name] = total, pack(mask.flatten(1))
            own += tau.abs().flatten(1).sum(1, dtype=torch.float64)
            shown += (mask * total).abs().flatten(1).sum(1, dtype=torch.float64)
        scale = torch.where(shown > 0, own / shown.clamp(min=1e-300), 1.0) if how == "emr" else torch.ones_like(own)
        self.base = Named({name: base[name] for name in self.shared})
        self.merged, self.masks = Named(merged), Named(masks)
        self.register_buffer("scale", scale)

    def state(self, task: str) -> dict[str, Tensor]:
        """The state dict of one task, its head too."""
        t, masks = self.index(task), self.masks.tensors()
        found = self.base.tensors()
        for name, tau in self.merged.tensors().items():
            mask = unpack(masks[name][t], tau.numel()).view(tau.shape)
            found[name] = found[name] + (tau * mask * self.get_buffer("scale")[t]).to(tau.dtype)
        return found | self.head(task)

    def forward(self, *args: Any, task: str, **kwargs: Any) -> Any:
        """What the model of ``task`` returns."""
        return self.call(self.state(task), args, kwargs)


def pack(bits: Tensor) -> Tensor:
    """``[T, n]`` truth values -> ``[T, ceil(n / 8)]`` bytes."""
    short = -bits.shape[1] % 8
    eights = nn.functional.pad(bits.to(torch.uint8), (0, short)).unflatten(1, (-1, 8))
    return (eights << torch.arange(8, dtype=torch.uint8, device=bits.device)).sum(2, dtype=torch.uint8)


def unpack(packed: Tensor, entries: int) -> Tensor:
    """Bytes ``[m]`` -> ``[entries]`` truth values."""
    places = torch.arange(8, dtype=torch.uint8, device=packed.device)
    return ((packed.unsqueeze(1) >> places) & 1).flatten()[:entries].bool()
