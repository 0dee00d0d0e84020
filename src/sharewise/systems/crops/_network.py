"""The recurrent network, ``G`` independent copies at a time.

Every parameter has a leading dimension of nets. One net for all cultivars is multi-task learning; one net
for each cultivar is single-task learning, trained in one batch of matrix products instead of one after
another, with the same arithmetic as separate training.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ...errors import OptionError, nearest

Conditioning = Literal["concat", "add", "mult", "multi-head", "one-hot", "none"]


def stacked_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``x [G, ..., i]`` through ``G`` linear layers, ``weight [G, i, o]``, ``bias [G, o]``: ``[G, ..., o]``."""
    flat = x.reshape(len(x), -1, x.shape[-1])
    return torch.baddbmm(bias.unsqueeze(1), flat, weight).reshape(*x.shape[:-1], -1)


def _check(conditioning: str, hidden: int, n_fed: int, activation: bool) -> None:
    if conditioning not in get_args(Conditioning):
        raise OptionError(
            f'conditioning "{conditioning}" is not known: {nearest(conditioning, get_args(Conditioning))}'
        )
    if hidden < 2 or hidden % 2:
        raise OptionError(f"hidden must be an even number of at least 2, found {hidden}")
    if activation and n_fed:
        raise OptionError("activation=True needs n_fed=0: feedback relies on linear input layers")


class _GRUScan(torch.autograd.Function):
    """Adjoint of a GRU whose days were all evaluated from recorded hidden states.

    With ``h = (1 - z) n + z h'``, the derivative of one day to yesterday's state ``h'`` is
    ``diag(z) + (f_r, f_z, f_n) * W_hh`` with elementwise factors that are known once the gates are.
    """

    @staticmethod
    def forward(ctx: Any, fresh: Tensor, value: Tensor, keep: Tensor, factors: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(keep, factors, weight)
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        keep, factors, weight = ctx.saved_tensors
        back = weight.transpose(1, 2)
        days, keeps, slopes = grad.unbind(1), keep.unbind(1), factors.unbind(1)
        carried = days[-1]
        adjoint = [carried]
        for t in range(len(days) - 1, 0, -1):
            gates = (slopes[t] * carried.unsqueeze(-2)).flatten(-2)
            carried = torch.addcmul(days[t - 1], keeps[t], carried).baddbmm_(gates, back)
            adjoint.append(carried)
        adjoint.reverse()
        return torch.stack(adjoint, 1), None, None, None, None


class StackedGRU(nn.Module):
    """Conditioning, two linear layers, a GRU and a two-layer head (EmbedFCGRU of the paper), ``G`` times.

    ``Linear(d, H/2) -> Linear(H/2, H)`` without an activation between, one-layer GRU(H) with a learned
    first state, ``ReLU -> Linear(H, H/2) -> ReLU -> Linear(H/2, outputs)``. The input of a day is the
    ``n_fed`` outputs fed back from yesterday followed by the ``n_features`` features of the day; the
    cultivar enters by ``conditioning``:

    - ``"concat"``: an embedding of the input's width in front of the input (the paper's default);
    - ``"add"``, ``"mult"``: an embedding added to or multiplied with the input;
    - ``"one-hot"``: an indicator in front of the input;
    - ``"multi-head"``: no embedding, one last linear layer for each cultivar;
    - ``"none"``: the network does not know the cultivar (single-task nets).

    Args:
        seeds: one for each net; net ``g`` starts as the single net with seed ``seeds[g]`` would.
        n_features, n_fed, n_outputs, n_cultivars: widths.
        hidden: H, even; 1024 in the paper.
        activation: a ReLU after both input layers (the paper's deep baselines). Not possible with feedback.

    Initialised as torch's own layers: embeddings standard normal, others uniform in ``1 / sqrt(fan_in)``.
    """

    weight_1: Tensor
    bias_1: Tensor
    weight_2: Tensor
    bias_2: Tensor
    weight_ih: Tensor
    bias_ih: Tensor
    weight_hh: Tensor
    bias_hh: Tensor
    weight_3: Tensor
    bias_3: Tensor
    weight_4: Tensor
    bias_4: Tensor

    def __init__(
        self,
        seeds: Sequence[int],
        n_features: int,
        n_outputs: int,
        n_cultivars: int,
        hidden: int,
        conditioning: Conditioning = "concat",
        n_fed: int = 1,
        activation: bool = False,
    ) -> None:
        super().__init__()
        _check(conditioning, hidden, n_fed, activation)
        self.conditioning, self.n_fed, self.activation = conditioning, n_fed, activation
        self.n_cultivars, self.hidden = n_cultivars, hidden
        width = n_fed + n_features
        entry = {"concat": 2 * width, "one-hot": n_cultivars + width}.get(conditioning, width)
        heads = n_cultivars if conditioning == "multi-head" else 1
        half = hidden // 2
        shapes: dict[str, tuple[tuple[int, ...], int]] = {
            "weight_1": ((entry, half), entry),
            "bias_1": ((half,), entry),
            "weight_2": ((half, hidden), half),
            "bias_2": ((hidden,), half),
            "weight_ih": ((hidden, 3 * hidden), hidden),
            "bias_ih": ((3 * hidden,), hidden),
            "weight_hh": ((hidden, 3 * hidden), hidden),
            "bias_hh": ((3 * hidden,), hidden),
            "weight_3": ((hidden, half), hidden),
            "bias_3": ((half,), hidden),
            "weight_4": ((heads, half, n_outputs), half),
            "bias_4": ((heads, n_outputs), half),
        }
        generators = [torch.Generator().manual_seed(int(s)) for s in seeds]
        for name, (shape, fan_in) in shapes.items():
            bound = 1 / math.sqrt(fan_in)
            drawn = [(torch.rand(shape, generator=g) * 2 - 1) * bound for g in generators]
            self.register_parameter(name, nn.Parameter(torch.stack(drawn)))
        self.start_state = nn.Parameter(torch.zeros(len(generators), hidden))
        self.embedding: nn.Parameter | None = None
        if conditioning in ("concat", "add", "mult"):
            table = [torch.randn(n_cultivars, width, generator=g) for g in generators]
            self.embedding = nn.Parameter(torch.stack(table))

    def encode(self, x: Tensor, cultivar: Tensor) -> Tensor:
        """Input part of the gates ``[G, T, B, 3H]`` of ``x [G, T, B, width]``, ``cultivar [G, B]``."""
        if self.embedding is not None:
            nets = torch.arange(len(x), device=x.device).unsqueeze(1)
            told = self.embedding[nets, cultivar].unsqueeze(1)
            if self.conditioning == "concat":
                x = torch.cat([told.expand_as(x), x], -1)
            else:
                x = x + told if self.conditioning == "add" else x * told
        elif self.conditioning == "one-hot":
            told = nn.functional.one_hot(cultivar, self.n_cultivars).to(x).unsqueeze(1)
            x = torch.cat([told.expand(*x.shape[:-1], -1), x], -1)
        x = stacked_linear(x, self.weight_1, self.bias_1)
        x = torch.relu(x) if self.activation else x
        x = stacked_linear(x, self.weight_2, self.bias_2)
        x = torch.relu(x) if self.activation else x
        return stacked_linear(x, self.weight_ih, self.bias_ih)

    def cell(self, gates: Tensor, state: Tensor) -> Tensor:
        """One day of the GRU: ``gates [G, B, 3H]`` from :meth:`encode`, ``state [G, B, H]``."""
        _, z, n, _ = self._gates(gates, state)
        return torch.lerp(n, state, z)

    def _gates(self, gates: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        width = self.hidden
        carried = stacked_linear(state, self.weight_hh, self.bias_hh)
        r, z = torch.sigmoid(gates[..., : 2 * width] + carried[..., : 2 * width]).chunk(2, -1)
        inner = carried[..., 2 * width :]
        return r, z, torch.tanh(torch.addcmul(gates[..., 2 * width :], r, inner)), inner

    def head_weights(self, cultivar: Tensor) -> tuple[Tensor, Tensor]:
        """Last layer of each season, ``[G, B, H/2, outputs]`` and ``[G, B, outputs]``, or of each net."""
        if self.conditioning != "multi-head":
            return self.weight_4[:, 0], self.bias_4[:, 0]
        nets = torch.arange(len(cultivar), device=cultivar.device).unsqueeze(1)
        return self.weight_4[nets, cultivar], self.bias_4[nets, cultivar]

    def head(self, state: Tensor, weights: tuple[Tensor, Tensor]) -> Tensor:
        """Outputs ``[G, (T,) B, outputs]`` of hidden states ``[G, (T,) B, H]``."""
        x = torch.relu(stacked_linear(torch.relu(state), self.weight_3, self.bias_3))
        weight, bias = weights
        if self.conditioning != "multi-head":
            return stacked_linear(x, weight, bias)
        if x.ndim == 4:
            weight, bias = weight.unsqueeze(1), bias.unsqueeze(1)
        return (x.unsqueeze(-2) @ weight).squeeze(-2) + bias

    def start(self, seasons: int) -> Tensor:
        """The learned first state for every season, ``[G, B, H]``."""
        return self.start_state.unsqueeze(1).expand(-1, seasons, -1)

    def replay(self, gates: Tensor, states: Tensor) -> Tensor:
        """Hidden states ``[G, T, B, H]`` with the exact gradient of back-propagation through time.

        Args:
            gates: :meth:`encode` of all days, with its graph, ``[G, T, B, 3H]``.
            states: hidden states after each day, recorded without a graph, ``[G, T, B, H]``.

        All days are evaluated at once from the recorded states; only the adjoint runs day by day.
        """
        first = self.start(states.shape[2]).unsqueeze(1)
        yesterday = torch.cat([first, states[:, :-1]], 1)
        r, z, n, inner = self._gates(gates, yesterday)
        fresh = torch.lerp(n, yesterday, z)
        with torch.no_grad():
            through_n = (1 - z) * (1 - n * n)
            factors = torch.stack([through_n * inner * r * (1 - r), (yesterday - n) * z * (1 - z), through_n * r], -2)
        adjoint: Tensor = _GRUScan.apply(fresh, states, z.detach(), factors, self.weight_hh.detach())
        return adjoint

    def sequence(self, x: Tensor, cultivar: Tensor) -> Tensor:
        """Outputs ``[G, T, B, outputs]`` of a whole season of inputs ``[G, T, B, features]`` (no feedback)."""
        gates = self.encode(x, cultivar)
        with torch.no_grad():
            state, states = self.start(x.shape[2]), []
            for day in gates.detach().unbind(1):
                state = self.cell(day, state)
                states.append(state)
            hidden = torch.stack(states, 1)
        if torch.is_grad_enabled():
            hidden = self.replay(gates, hidden)
        return self.head(hidden, self.head_weights(cultivar))
