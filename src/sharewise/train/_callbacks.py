"""Hooks into training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from ..balance import Balance
    from ..data import Batch
    from ._loop import Loop
    from ._settings import EpochRecord


class Callback:
    """Something that watches training; override what you need.

    Callbacks see the loop itself (``loop.model``, ``loop.step``, ``loop.epoch``, ...). Setting ``loop.stop = True``
    ends training after the current step. ``state_dict``/``load_state_dict`` travel in the checkpoint, so what a
    callback collects survives a kill.
    """

    def on_fit_start(self, loop: Loop) -> None:
        """Before the first step, after a resumed state was loaded."""

    def on_losses(self, loop: Loop, batch: Batch, losses: dict[str, Tensor]) -> None:
        """After the forward pass, before any gradient: the graph is still there."""

    def on_step(self, loop: Loop, balance: Balance) -> None:
        """After the optimizer's step."""

    def on_epoch_end(self, loop: Loop, record: EpochRecord) -> None:
        """After validation."""

    def on_fit_end(self, loop: Loop) -> None:
        """After the last epoch, with the best weights in place."""

    def state_dict(self) -> dict:
        """What must survive a kill: nested dicts and lists of tensors, numbers and strings."""
        return {}

    def load_state_dict(self, state: dict) -> None:
        """Take back what :meth:`state_dict` gave."""
