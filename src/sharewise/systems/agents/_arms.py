"""The arms of the system ``switchmt``: what is played when, and what the network is told of the task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch

from ...schedule import FixedSwitch, PlateauSwitch, Schedule
from ...sharing import DuelingDSQN
from ...sharing._dendrites import GateMode, Select
from ...train.deepq import DQNOptions, MultiTaskDQN, Score
from ._scores import Games, arcade, pixels

Switching = Literal["plateau", "reward", "aliased", "fixed"]


@dataclass(frozen=True)
class Arm:
    """How the agent switches, and the gate of its network: ``scalar`` as in the released code, largest response wins;
    ``per_neuron`` as in the papers on active dendrites, the largest absolute one."""

    switching: Switching = "plateau"
    gate: GateMode | None = "per_neuron"


ARMS: dict[str, Arm] = {
    "switchmt": Arm(),
    "fixed": Arm("fixed"),
    "ungated": Arm(gate=None),
    "scalar": Arm(gate="scalar"),
    "reward": Arm("reward"),
    "aliased": Arm("aliased"),
}
SEPARATE = "separate"
"""One agent a game, without a gate, with a share of the frames each."""


@dataclass(frozen=True)
class Sizes:
    """Of one scale. ``frames`` is of all games together."""

    games: Callable[[], Games]
    options: DQNOptions
    frames: int
    network: Mapping[str, Any] = field(default_factory=dict)
    min_episodes: int = 25
    window: int = 5
    threshold: float = 0.1
    episodes: int = 5


PIXELS: dict[str, Any] = {
    "shape": (2, 6, 6),
    "actions": 3,
    "convolutions": [(8, 4, 2)],
    "hidden": 128,
    "normalise": "none",
    "scale": 0.1,
}
DEFAULT = Sizes(
    pixels,
    DQNOptions(
        gamma=0.8,
        learning_rate=3e-3,
        batch=32,
        capacity=10_000,
        warm_up=400,
        update_every=6,
        target_every=90,
        epsilon_frames=1200,
    ),
    frames=2400,
    network=PIXELS,
    min_episodes=10,
    episodes=100,
)
SMOKE = Sizes(
    partial(pixels, episodes=8, lanes=8),
    replace(DEFAULT.options, batch=4, warm_up=8, update_every=48),
    frames=96,
    network=PIXELS,
    min_episodes=1,
    window=1,
    episodes=8,
)
SMOKE_ARCADE = Sizes(
    partial(arcade, lanes=1, episodes=1, max_frames=16),
    DQNOptions(batch=2, capacity=50, warm_up=2, update_every=6, target_every=6),
    frames=12,
    network={"hidden": 16},
    min_episodes=1,
    window=1,
    episodes=1,
)
"""A few steps of the real games, in an arm of its own: making an Atari environment takes longer than playing it."""
PAPER = Sizes(partial(arcade, lanes=8, episodes=32, max_frames=108_000), DQNOptions(capacity=2**17), frames=12_000_000)


def arms(sizes: Sizes) -> dict[str, Callable[[int], dict[str, float]]]:
    """Every arm: seed in, metrics out."""
    found: dict[str, Callable[[int], dict[str, float]]] = {
        name: partial(run_shared, arm, sizes) for name, arm in ARMS.items()
    }
    found[SEPARATE] = partial(run_separate, sizes)
    return found | ({"arcade": partial(run_shared, Arm(), SMOKE_ARCADE)} if sizes is SMOKE else {})


def make_schedule(switching: Switching, tasks: Sequence[str], sizes: Sizes) -> Schedule:
    """What is played when.

    ``aliased`` is the released tracker, which compares the parameters with themselves and so finds a change of 0: it
    leaves a game as soon as its window is full, as any threshold above all changes would.
    """
    if switching == "fixed":
        return FixedSwitch(tasks, sizes.min_episodes)
    return PlateauSwitch(
        tasks,
        window=sizes.window,
        min_episodes=sizes.min_episodes,
        threshold=np.finfo(np.float64).max if switching == "aliased" else sizes.threshold,
        use_reward=switching == "reward",
    )


def train(games: Games, tasks: Sequence[str], arm: Arm, sizes: Sizes, seed: int) -> MultiTaskDQN:
    """An agent that has learned."""
    torch.manual_seed(seed)
    select: Select = "max" if arm.gate == "scalar" else "absolute"
    network = DuelingDSQN(tasks, gate=arm.gate, select=select, **sizes.network)
    makers = {task: games.learn[task] for task in tasks}
    schedule = make_schedule(arm.switching, tasks, sizes)
    return MultiTaskDQN(network, makers, schedule=schedule, options=sizes.options, seed=seed).learn(sizes.frames)


def run_shared(arm: Arm, sizes: Sizes, seed: int) -> dict[str, float]:
    """One network for all games."""
    games = sizes.games()
    agent = train(games, list(games.learn), arm, sizes, seed)
    return _metrics(games, dict.fromkeys(agent.tasks, agent), sizes, seed)


def run_separate(sizes: Sizes, seed: int) -> dict[str, float]:
    """One network a game; frames and gradient steps a game are those of the shared network, in the mean."""
    games = sizes.games()
    count = len(games.learn)
    each = replace(
        sizes,
        frames=sizes.frames // count,
        options=replace(
            sizes.options,
            update_every=sizes.options.update_every // count,
            target_every=sizes.options.target_every // count,
            epsilon_frames=sizes.options.epsilon_frames // count,
        ),
    )
    agents = {task: train(games, [task], Arm("fixed", None), each, seed) for task in games.learn}
    return _metrics(games, agents, sizes, seed)


def _metrics(games: Games, agents: Mapping[str, MultiTaskDQN], sizes: Sizes, seed: int) -> dict[str, float]:
    """Greedy play of new environments, whose seeds no training environment has."""
    scores: dict[str, Score] = {}
    for task, agent in agents.items():
        scores |= agent.evaluate(sizes.episodes, games={task: games.score[task]}, seed=1_000_000 + seed)
        agent.close()
    tasks = list(agents)
    normal = {task: games.normalise(task, scores[task].mean) for task in tasks}
    frames = {task: float(agents[task].frames[task]) for task in tasks}
    found = {
        "normalised": float(np.mean(list(normal.values()))),
        "worst_of_two": min(normal[task] for task in tasks[:2]),
        "frames_third": frames[tasks[2]],
        "switches": float(sum(len(getattr(a.schedule, "log", [])) for a in set(agents.values()))),
    }
    for task in tasks:
        found |= {
            f"normalised_{task}": normal[task],
            f"return_{task}": scores[task].mean,
            f"length_{task}": scores[task].length,
            f"frames_{task}": frames[task],
            f"episodes_{task}": float(agents[task].episodes[task]),
        }
    return found | _energy(agents)


def _energy(agents: Mapping[str, MultiTaskDQN]) -> dict[str, float]:
    """Spikes and operations of an inference, the mean over games."""
    seen = {task: agent.replay.sample(task, agent.options.batch).observations for task, agent in agents.items()}
    found = [agents[task].network.activity(frames, task) for task, frames in seen.items()]  # type: ignore[operator]
    names = ("spike_rate", "synaptic_operations", "dense_operations")
    return {name: float(np.mean([getattr(one, name) for one in found])) for name in names}
