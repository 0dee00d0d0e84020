"""A deep spiking Q-network for several games: shared spiking trunk, gated duelling streams."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from ..errors import ModelError, OptionError, TaskError, nearest
from ._activity import Activity, convolution_operations, dense_operations, linear_operations
from ._dendrites import ActiveDendriteGate, GateMode, Select
from ._spiking import IF, LIF, Backend


class Convolution(NamedTuple):
    """Channels out, kernel and stride of one spiking convolution."""

    channels: int
    kernel: int
    stride: int


ATARI = (Convolution(32, 8, 4), Convolution(64, 4, 2), Convolution(64, 3, 1))
"""The trunk for frames of 84 x 84 pixels."""
Normalise = Literal["shared", "per_task", "none"]


class DuelingDSQN(nn.Module):
    """Action values of several games from one spiking network: ``Q = mean_t (V_t + A_t - mean_a A_t)``.

    Spiking convolutions (:class:`LIF`) see the same frames in each of ``steps`` steps. Two streams follow, of the value
    ``V`` and of the advantages ``A``: a linear layer whose currents the task's context gates
    (:class:`ActiveDendriteGate`), neurons without a leak (:class:`IF`), and a linear output whose potentials are read,
    not fired. All potentials start at rest in each call: the network keeps no state.

    Args:
        tasks: names of the games. shape: of an observation, ``(channels, height, width)``.
        actions: how many there are, the same in all games.
        convolutions: ``(channels, kernel, stride)`` each; the default is Atari's trunk.
        hidden: neurons of each stream. steps: simulated for each observation.
        gate: ``scalar``, ``per_neuron``, or ``None``: the network is not told the task.
        segments: of a dendrite; default: as many as tasks. select: see :class:`ActiveDendriteGate`.
        normalise: batch normalisation behind each convolution: ``shared`` by the tasks (as in the released code),
            ``per_task`` (no task's batches move another's statistics), ``none``.
        scale: observations are divided by it.
        backend: of the neurons, see :class:`LIF`.

    Source: Putra, Devkota, Shafique, "SwitchMT", 2025 (arXiv 2504.13541), and its released code. Different: the first
    convolution is computed once, since its input does not change, and normalisation takes its statistics over all steps
    at once. The released output neuron starts anew in each step, so that it passes its input on, as here.

    Cost of a forward pass: one first convolution and ``steps`` passes through everything behind.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        shape: Sequence[int] = (4, 84, 84),
        actions: int = 18,
        *,
        convolutions: Sequence[Sequence[int]] = ATARI,
        hidden: int = 512,
        steps: int = 4,
        gate: GateMode | None = "scalar",
        segments: int | None = None,
        select: Select = "max",
        normalise: Normalise = "shared",
        scale: float = 255.0,
        backend: Backend = "fused",
    ) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        _check(self.tasks, shape, actions=actions, hidden=hidden, steps=steps)
        if normalise not in ("shared", "per_task", "none"):
            raise OptionError(f'no normalise "{normalise}": {nearest(normalise, ("shared", "per_task", "none"))}')
        self.shape, self.actions, self.steps, self.scale = tuple(shape), actions, steps, float(scale)
        self.trunk = nn.ModuleList()
        channels, size = self.shape[0], list(self.shape[1:])
        for layer in map(Convolution._make, convolutions):
            self.trunk.append(_Block(channels, layer, self.tasks, normalise, backend))
            channels, size = layer.channels, [(s - layer.kernel) // layer.stride + 1 for s in size]
            if min(size) < 1:
                raise OptionError(f"observations {list(shape)} are too small for a kernel of {layer.kernel}")
        width = channels * size[0] * size[1]
        count = len(self.tasks) if segments is None else segments
        gates = [
            None if gate is None else ActiveDendriteGate(len(tasks), hidden, segments=count, mode=gate, select=select)
            for _ in range(2)
        ]
        self.advantage = _Stream(width, hidden, actions, gates[0], backend)
        self.value = _Stream(width, hidden, 1, gates[1], backend)

    def context(self, task: str) -> Tensor:
        """The one-hot context of a task, ``[1, tasks]``; raises :class:`TaskError` for an unknown one."""
        if task not in self.tasks:
            raise TaskError(f'the network knows no task "{task}"; {nearest(task, self.tasks)}')
        first = next(self.parameters())
        return torch.eye(len(self.tasks), dtype=first.dtype, device=first.device)[[self.tasks.index(task)]]

    def forward(self, observations: Tensor, task: str) -> Tensor:
        """Observations ``[B, channels, height, width]`` of one task -> action values ``[B, actions]``."""
        return self._run(observations, task)[0]

    @torch.no_grad()
    def activity(self, observations: Tensor, task: str) -> Activity:
        """Spikes and operations of an inference, averaged over ``observations``: a proxy for energy.

        In evaluation mode, which is taken back. See :class:`Activity` for what is counted. Cost: a forward pass, and
        a convolution of the spikes with ones for each convolution.
        """
        training = self.training
        self.eval()
        _, spikes = self._run(observations, task)
        self.train(training)
        blocks = self._blocks
        sparse = [convolution_operations(block.convolution, s) for block, s in zip(blocks[1:], spikes, strict=False)]
        flat = spikes[len(blocks) - 1].flatten(2) if blocks else None
        for stream, fired in zip((self.advantage, self.value), spikes[len(blocks) :], strict=True):
            sparse += [] if flat is None else [linear_operations(stream.first, flat)]
            sparse.append(linear_operations(stream.last, fired))
        return Activity.of(spikes, sparse, dense_operations(self, observations[:1], task))

    def _run(self, observations: Tensor, task: str) -> tuple[Tensor, list[Tensor]]:
        """Action values, and the spikes ``[steps, B, ...]`` of each layer of neurons."""
        if tuple(observations.shape[1:]) != self.shape:
            raise ModelError(f"observations have shape {list(observations.shape)}, expected [B, *{list(self.shape)}]")
        context = self.context(task)
        hidden = (observations.to(context.dtype) / self.scale).unsqueeze(0)
        spikes = []
        for block in self._blocks:
            hidden = block(hidden, task, self.steps)
            spikes.append(hidden)
        flat = hidden.flatten(2).expand(self.steps, -1, -1)
        advantage, fired = self.advantage(flat, context)
        value, also = self.value(flat, context)
        q = (value + advantage - advantage.mean(-1, keepdim=True)).mean(0)
        return q, [*spikes, fired, also]

    @property
    def _blocks(self) -> list[_Block]:
        return cast(list[_Block], list(self.trunk))


class _Block(nn.Module):
    """Convolution, normalisation, leaky neurons."""

    def __init__(
        self, channels: int, layer: Convolution, tasks: Sequence[str], normalise: Normalise, backend: Backend
    ) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, layer.channels, layer.kernel, layer.stride)
        self.tasks = tuple(tasks) if normalise == "per_task" else ()
        count = {"shared": 1, "per_task": len(tasks), "none": 0}[normalise]
        norm = nn.BatchNorm2d(layer.channels)
        self.norms = nn.ModuleList([copy.deepcopy(norm) for _ in range(count)])
        self.neurons = LIF(backend=backend)

    def forward(self, inputs: Tensor, task: str, steps: int) -> Tensor:
        """Inputs ``[1 or steps, B, c, h, w]`` -> spikes ``[steps, B, ...]``; one step stands for equal ones."""
        currents = self.convolution(inputs.flatten(0, 1))
        if self.norms:
            currents = self.norms[self.tasks.index(task) if self.tasks else 0](currents)
        currents = currents.unflatten(0, inputs.shape[:2])
        return self.neurons(currents.expand(steps, *currents.shape[1:]))


class _Stream(nn.Module):
    """Linear layer, gate, neurons without a leak, linear output."""

    def __init__(
        self, width: int, hidden: int, outputs: int, gate: ActiveDendriteGate | None, backend: Backend
    ) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(width, hidden), nn.Linear(hidden, outputs)
        self.gate = gate
        self.neurons = IF(backend=backend)

    def forward(self, inputs: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Spikes ``[steps, B, width]`` -> potentials ``[steps, B, outputs]`` and the hidden spikes."""
        currents = self.first(inputs)
        if self.gate is not None:
            currents = self.gate(currents, context)
        fired = self.neurons(currents)
        return self.last(fired), fired


def _check(tasks: tuple[str, ...], shape: Sequence[int], **counts: int) -> None:
    if not tasks or len(set(tasks)) < len(tasks):
        raise OptionError(f"a network needs one or more tasks with different names, got {list(tasks)}")
    if len(shape) != 3:
        raise OptionError(f"observations must be (channels, height, width), got shape {tuple(shape)}")
    for option, value in counts.items():
        if not isinstance(value, int) or value < 1:
            raise OptionError(f"{option} must be a whole number of at least 1, got {value!r}")
