"""Guidance: examples that the model is not trained on, for balancers that learn from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..balance import Balance, GuidedBalancer
from ..errors import DataError, OptionError
from ._callbacks import Callback
from ._feed import Feed
from ._random import aside
from ._settings import EpochLosses

if TYPE_CHECKING:
    from torch import Tensor

    from ..data import Batch, Source
    from ._loop import Loop


class Guide(Callback):
    """After each step, shows the balancer (:class:`sharewise.balance.GuidedBalancer`: ``aim``) a batch held out.

    Cycles through the examples, shuffled anew each time. The model learns nothing from them: no gradient is kept, and
    running statistics and the random numbers drawn later are those of training without them. Of several processes each
    takes its part. With a schedule, the tasks of the step are shown; a batch in which fewer than two of them have
    labels is passed over. Where groups of parameters are decided on by themselves, each group's balancer learns for
    itself.

    Args:
        source: examples that are not among those trained on; a tenth as many, say.
        batch_size: of guidance batches; default: that of the training.
        cross: take the products of guidance gradients with those of the step's last training batch, for which its
            gradients are taken once more after the step; otherwise guidance gradients stand in for these.

    Cost a step: a forward pass of the guidance batch and a backward pass a task; with ``cross`` of both batches.
    """

    def __init__(self, source: Source, *, batch_size: int | None = None, cross: bool = False) -> None:
        if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
            raise OptionError(f"batch_size must be a whole number of at least 1, got {batch_size!r}")
        self.source, self.batch_size, self.cross = source, batch_size, cross
        self.history: list[dict[str, float]] = []
        """Epoch by epoch, the mean loss of what the balancer learns (``total``) and its parts."""
        self._epoch = self._batch = 0
        self._parts = EpochLosses()
        self._trained: Batch

    def on_fit_start(self, loop: Loop) -> None:
        """Begin with the first batch, or where a resumed run left off."""
        if loop.step == 0:
            self.history, self._epoch, self._batch, self._parts = [], 0, 0, EpochLosses()
        world, rank = loop.fabric.world_size, loop.fabric.global_rank
        size = self.size(loop.settings.batch_size)
        self._batches = self._cycle(Feed(self.source, size, loop.settings.seed, world=world, rank=rank))

    def size(self, training: int) -> int:
        """Of a guidance batch, where training batches have so many examples."""
        return self.batch_size or training

    def on_losses(self, loop: Loop, batch: Batch, losses: dict[str, Tensor]) -> None:
        """Keep the batch for the products with its gradients."""
        self._trained = batch

    def on_step(self, loop: Loop, balance: Balance) -> None:
        """Let the balancer learn."""
        assert isinstance(loop.balancer, GuidedBalancer)
        batch = next(self._batches)
        if len(balance.names) < 2:
            return
        with aside(loop.model, loop.fabric.device):
            losses = loop.losses(batch.to(loop.fabric.device), balance.names)
            trained = loop.losses(self._trained, balance.names) if self.cross else None
            if len(losses) > 1:
                shared = loop.shared or loop.shared_parameters()
                parts = loop.balancer.guide(losses, trained=trained, shared=shared, reducer=loop.reducer)
                self._parts.add(parts)

    def on_epoch_end(self, loop: Loop, record: Any) -> None:
        """Close the epoch's means."""
        self.history.append(self._parts.means())
        self._parts = EpochLosses()

    def state_dict(self) -> dict[str, Any]:
        """Where in the examples it is, and the means so far."""
        history = [dict(parts) for parts in self.history]
        return {"epoch": self._epoch, "batch": self._batch, "history": history, "parts": self._parts.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._epoch, self._batch, self.history = state["epoch"], state["batch"], list(state["history"])
        self._parts.load_state_dict(state["parts"])

    def _cycle(self, feed: Feed) -> Iterator[Batch]:
        while True:
            for batch in feed.batches(self._epoch, self._batch, list):
                self._batch += 1
                yield batch
            self._epoch, self._batch = self._epoch + 1, 0


def check_guidance(loop: Loop) -> None:
    """Refuse, before training, a balancer that would learn from guidance and has none, and the other way round.

    Raises :class:`OptionError`, and :class:`DataError` for too few examples.
    """
    guides = [callback for callback in loop.callbacks if isinstance(callback, Guide)]
    name, guided = type(loop.balancer).__name__, isinstance(loop.balancer, GuidedBalancer)
    if guides and not guided:
        raise OptionError(f"{name} learns nothing from guidance batches: leave out Guide, or take aim for the balancer")
    if len(guides) > 1:
        raise OptionError("two Guides are among the callbacks: join their examples in one")
    if isinstance(loop.balancer, GuidedBalancer) and loop.balancer.learns and not guides:
        raise OptionError(
            f"{name} learns from guidance batches, and would stay as it is without: hold out examples and pass "
            "callbacks=[sharewise.train.Guide(examples)], or freeze it with lr=0"
        )
    for guide in guides:
        size, world, count = guide.size(loop.settings.batch_size), loop.fabric.world_size, len(guide.source)
        if count <= size * (world - 1):
            raise DataError(
                f"{count} guidance examples do not give each of {world} process(es) a batch of {size}: hold out more "
                "of them, or give Guide a smaller batch_size"
            )
