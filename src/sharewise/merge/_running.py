"""Running a model over batches, however they are given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from ..data import Batch
from ..errors import MergeError

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def arguments(batch: Any) -> Arguments:
    """What a model is called with for a batch: a :class:`~sharewise.Batch` gives its inputs, a mapping keywords, a
    tuple or list its first item, and anything else itself."""
    if isinstance(batch, Batch):
        return (batch.inputs,), {}
    if isinstance(batch, Mapping) or hasattr(batch, "keys"):
        return (), {key: batch[key] for key in batch.keys()}  # noqa: SIM118 (tokenizers' batches iterate otherwise)
    if isinstance(batch, tuple | list):
        return (batch[0],), {}
    return (batch,), {}


def logits_of(output: Any, task: str | None) -> Tensor:
    """The logits ``[B, classes]`` in what a model returned: a tensor, ``.logits``, or ``task``'s of a mapping by task.

    Logits ``[B]`` or ``[B, 1]`` of a binary task become those of two classes. Raises :class:`MergeError` for others.
    """
    if isinstance(output, Mapping) and not hasattr(output, "logits"):
        if task is None and len(output) == 1:
            task = next(iter(output))
        if task not in output:
            raise MergeError(
                f"the model predicts {', '.join(map(str, output))}: say for which task, found task={task!r}"
            )
        output = output[task]
    logits = getattr(output, "logits", output)
    if not isinstance(logits, Tensor) or logits.ndim not in (1, 2):
        found = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise MergeError(f"expected logits [batch, classes] from the model, found {found}")
    logits = logits.reshape(len(logits), -1)
    if logits.shape[1] == 1:
        return nn.functional.pad(logits, (1, 0))  # the first class's logit is 0: softmax is then the sigmoid
    return logits


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model without dropout and with fixed normalization; every module is then as it was."""
    former = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in former.items():
            module.training = training
