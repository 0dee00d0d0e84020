"""The outer loop of online-within-online learning: where each round of training starts."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ..errors import BalanceError, OptionError


class OuterUpdate:
    """Moves the start of the next round a part of the way to where this one ended, and starts there.

    ``phi <- phi + beta (x_K - phi)``, a gradient step on ``|phi - x_K|^2 / 2``, where ``x_K`` are the parameters after
    the round's K steps; then the parameters are set to ``phi``. ``beta = 1`` goes on from where the round ended, as if
    there were no outer loop; ``beta = 0`` starts every round at the same point.

    Source: the outer rule of Denevi, Stamos, Ciliberto, Pontil, "Online-Within-Online Meta-Learning", NeurIPS 2019; as
    Reptile with one task at a time (Nichol, Achiam, Schulman, 2018) and as the slow weights of Lookahead (Zhang et al.,
    NeurIPS 2019).

    Args:
        parameters: the shared ones, changed in place by :meth:`end_round`.
        beta: part of the way, in [0, 1].
        average: use the mean of the round's iterates for ``x_K``; :meth:`step` must then follow every optimizer step.

    Holds one copy of the parameters, two with ``average``; cost one pass over them a round. An optimizer's own
    moments are left alone.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], *, beta: float = 0.3, average: bool = False) -> None:
        if not 0 <= beta <= 1:
            raise OptionError(f"beta is a part of the way, between 0 and 1, got {beta}")
        self.parameters = list(parameters)
        if not self.parameters:
            raise OptionError("no parameters given: pass those of the shared trunk")
        self.beta, self.average = float(beta), average
        self.start = [p.detach().clone() for p in self.parameters]
        self.total = [torch.zeros_like(p) for p in self.start] if average else []
        self.steps = 0

    @torch.no_grad()
    def step(self) -> None:
        """Note the parameters after an optimizer step."""
        self.steps += 1
        if self.average:
            for total, p in zip(self.total, self.parameters, strict=True):
                total.add_(p)

    @torch.no_grad()
    def end_round(self) -> None:
        """Move the start, and set the parameters to it; raises :class:`BalanceError` if there is nothing to average."""
        if self.average and self.steps == 0:
            raise BalanceError("the round has no iterates to average: call step() after every optimizer step")
        ends = [total / self.steps for total in self.total] if self.average else self.parameters
        for start, end, p in zip(self.start, ends, self.parameters, strict=True):
            start.lerp_(end.detach(), self.beta)
            p.copy_(start)
        for total in self.total:
            total.zero_()
        self.steps = 0

    def state_dict(self) -> dict[str, Tensor]:
        """Tensors only: the start, and the running total of the round."""
        parts = {f"start.{i}": p.clone() for i, p in enumerate(self.start)}
        parts |= {f"total.{i}": p.clone() for i, p in enumerate(self.total)}
        return parts | {"steps": torch.tensor(self.steps)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue from what :meth:`state_dict` gave; raises :class:`BalanceError` where it does not fit."""
        mine = self.state_dict()
        if state.keys() != mine.keys() or any(state[k].shape != mine[k].shape for k in mine):
            raise BalanceError(
                "the saved outer loop is of other parameters: build it with those it was saved for and the same average"
            )
        for kind, held in (("start", self.start), ("total", self.total)):
            for i, p in enumerate(held):
                p.copy_(state[f"{kind}.{i}"])
        self.steps = int(state["steps"])
