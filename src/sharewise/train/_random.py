"""The global random state, as data, and forward passes that leave nothing behind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def random_state(device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """The state of the generators that dropout and the like draw from: ``cpu``, and ``cuda`` on such a device."""
    state = {"cpu": torch.get_rng_state()}
    if torch.device(device).type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: Mapping[str, Tensor], device: torch.device | str = "cpu") -> None:
    """Take back what :func:`random_state` gave."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


@contextmanager
def aside(model: nn.Module, device: torch.device | str = "cpu") -> Iterator[None]:
    """Passes inside leave no trace: buffers (running statistics of batch normalisation) and the global random state
    are afterwards what they were.

    Args:
        model: whose buffers are kept.
        device: where its passes draw random numbers.

    Cost: a copy of the buffers.
    """
    kept = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with torch.random.fork_rng(devices=[device] if torch.device(device).type == "cuda" else []):
        try:
            yield
        finally:
            with torch.no_grad():
                for name, buffer in model.named_buffers():
                    buffer.copy_(kept[name])


@contextmanager
def once_more(model: nn.Module, state: Mapping[str, Tensor], device: torch.device | str = "cpu") -> Iterator[None]:
    """A forward pass inside draws the random numbers that one from ``state`` drew, has no graph, and leaves no trace.

    For :meth:`sharewise.balance.Balancer.look_again`: the same dropout masks; see :func:`aside`.

    Args:
        model, device: see :func:`aside`.
        state: :func:`random_state` right before the first forward pass.
    """
    with aside(model, device), torch.no_grad():
        set_random_state(state, device)
        yield
