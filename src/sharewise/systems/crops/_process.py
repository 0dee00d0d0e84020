"""What every biophysical model of this folder offers: one vectorised day, and the roll-out over a season.

A model has exactly one state that carries a gradient from day to day, its *level* (the development stage
of the phenology model, the hardiness of the cold-hardiness model). All other states only decide between
branches. That makes the gradient of a whole roll-out cheap and exact: run the days without a graph, then
evaluate all days at once from the recorded states and carry the adjoint back through the scalar recurrence
(:func:`replay`).
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ._parameters import ParameterBox

State = tuple[Tensor, ...]


class Process(Protocol):
    """A daily biophysical model, vectorised over any batch shape.

    ``states`` are tuples of equally shaped tensors, the level first. ``step`` must be elementwise over the
    batch shape and must not branch in Python on a tensor's value.
    """

    name: str
    box: ParameterBox
    output_loc: float
    output_scale: float

    def start(self, like: Tensor) -> State:
        """The states before the first day, shaped, typed and placed as ``like``."""

    def step(
        self,
        state: State,
        temperature: Tensor,
        day_length: Tensor,
        theta: Tensor,
        response: Tensor | None = None,
    ) -> State:
        """The states after one day. Shapes ``[...]`` and for ``theta`` ``[..., P]``."""

    def output(self, level: Tensor) -> Tensor:
        """What is compared with observations, ``[...]``."""


class _Scan(torch.autograd.Function):
    """Adjoint of ``x_t = f_t(x_{t-1}, u_t)`` with elementwise slopes ``gain_t = df_t / dx_{t-1}``.

    The forward pass returns the recorded ``value``; the gradient reaches ``fresh``, which holds the same
    numbers computed day by day from the recorded ``x_{t-1}``.
    """

    @staticmethod
    def forward(ctx: Any, fresh: Tensor, gain: Tensor, value: Tensor) -> Tensor:
        ctx.save_for_backward(gain)
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (gain,) = ctx.saved_tensors
        days, slopes = grad.unbind(1), gain.unbind(1)
        carried = days[-1]
        adjoint = [carried]
        for t in range(len(days) - 1, 0, -1):
            carried = torch.addcmul(days[t - 1], slopes[t], carried)
            adjoint.append(carried)
        adjoint.reverse()
        return torch.stack(adjoint, 1), None, None


def scan(fresh: Tensor, gain: Tensor, value: Tensor) -> Tensor:
    """``value`` with the gradient of the recurrence it came from; all ``[G, T, ...]``, time second."""
    carried: Tensor = _Scan.apply(fresh, gain, value)
    return carried


def replay(
    process: Process,
    before: State,
    after: Tensor,
    temperature: Tensor,
    day_length: Tensor,
    theta: Tensor,
    response: Tensor | None = None,
) -> Tensor:
    """The level of every day ``[G, T, B]`` with the exact gradient to ``theta`` and ``response``.

    Args:
        process: the model that was run.
        before: recorded states before each day, each ``[G, T, B]``.
        after: recorded level after each day, ``[G, T, B]``.
        temperature: degrees Celsius, ``[G, T, B]``.
        day_length: hours, ``[G, T, B]``.
        theta: parameters of each day, ``[G, T, B, P]``.
        response: daily effective temperature that replaces the model's own, ``[G, T, B]``.

    Cost: two evaluations of ``step`` on all days at once, plus one multiply-add a day backwards.
    """
    with torch.enable_grad():
        level = before[0].detach().requires_grad_()
        held = None if response is None else response.detach()
        again = process.step((level, *before[1:]), temperature, day_length, theta.detach(), held)[0]
        (gain,) = torch.autograd.grad(again.sum(), level)
    fresh = process.step(before, temperature, day_length, theta, response)[0]
    return scan(fresh, gain, after)


def run(
    process: Process,
    temperature: Tensor,
    day_length: Tensor,
    theta: Tensor,
    response: Tensor | None = None,
) -> Tensor:
    """Outputs of a season ``[G, T, B]`` under parameters ``theta`` ``[G, T, B, P]`` known in advance.

    Differentiable in ``theta`` and ``response``. The other arguments are as in :func:`replay`.
    """
    with torch.no_grad():
        state = process.start(temperature[:, 0])
        before: list[State] = []
        levels = []
        days = zip(temperature.unbind(1), day_length.unbind(1), theta.unbind(1), strict=True)
        answers = [None] * temperature.shape[1] if response is None else response.unbind(1)
        for (warmth, light, values), answer in zip(days, answers, strict=True):
            before.append(state)
            state = process.step(state, warmth, light, values, answer)
            levels.append(state[0])
        level = torch.stack(levels, 1)
        recorded = stack_days(before)
    needed = theta.requires_grad or (response is not None and response.requires_grad)
    if torch.is_grad_enabled() and needed:
        level = replay(process, recorded, level, temperature, day_length, theta, response)
    return process.output(level)


def stack_days(states: list[State]) -> State:
    """Daily states, each ``[G, B]``, stacked to ``[G, T, B]``."""
    return tuple(torch.stack(parts, 1) for parts in zip(*states, strict=True))
