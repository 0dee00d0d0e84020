"""An agent that learns several games: one network, a replay a game, and a schedule that says which is played."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ...data import PerTaskReplay
from ...errors import OptionError, RunError, TaskError, nearest
from ...schedule import Schedule, Signal
from .._state import load_state, save_state
from ._options import DQNOptions
from ._play import GameMaker, Lanes, check_games
from ._score import Score, play
from ._update import update

Array = npt.NDArray[Any]


class MultiTaskDQN:
    """Double deep Q-learning of several games. One is played at a time; all are learned all the time.

    After each ``update_every`` frames the network takes one gradient step for every game in turn, from that game's
    replay, whichever is being played. The ``schedule`` is asked at the end of each episode which game comes next, and
    told the episode's return and the parameters. (Episodes of several lanes that end in the same step count as one, of
    their mean return: nothing was learned between them.) Of a schedule that names several games, these take steps in
    turn.

    Args:
        network: ``network(observations [B, ...], task) -> action values [B, actions]``, with the attributes ``tasks``,
            ``shape`` and ``actions``; see :class:`sharewise.sharing.DuelingDSQN`.
        games: task -> maker of its environment, a ``gymnasium.Env`` or ``VectorEnv`` with discrete actions.
        schedule: which game is played, for instance :class:`sharewise.schedule.PlateauSwitch`.
        options: see :class:`DQNOptions`. seed: of exploration, replay and games.

    Attributes: ``frames`` and ``episodes`` played of each game, ``frame`` their sum, ``returns`` of each game's
    episodes in order, ``schedule.log`` its switches.

    Environments cannot be saved in general. Every call of :meth:`learn`, and every checkpoint within one, begins the
    games anew with seeds of its own; so a run that was continued from a checkpoint equals, on a CPU bit for bit, the
    one that was not interrupted.

    Raises :class:`ModelError` for games the network does not fit, :class:`DataError` for a reward that is not finite,
    :class:`BalanceError` for a loss that is not; all name the game.

    Source: the training loop of Putra, Devkota, Shafique, "SwitchMT", 2025 (arXiv 2504.13541), Different from its code:
    actions are chosen in evaluation mode (there batch normalisation sees batches of one), and a time limit is not taken
    for an end of the game.
    """

    def __init__(
        self,
        network: nn.Module,
        games: Mapping[str, GameMaker],
        *,
        schedule: Schedule,
        options: DQNOptions | None = None,
        seed: int = 0,
    ) -> None:
        self.network, self.schedule, self.seed = network, schedule, seed
        self.options = options or DQNOptions()
        self.tasks = tuple(games)
        if set(schedule.names) != set(self.tasks):
            raise OptionError(f"the schedule is of tasks {list(schedule.names)}, the games are {list(self.tasks)}")
        self._makers = dict(games)
        self._games = self._open(self._makers, self.options.lanes)
        self.target = copy.deepcopy(network)
        self.optimizer = torch.optim.Adam(network.parameters(), lr=self.options.learning_rate, fused=True)
        self.replay = PerTaskReplay(self.tasks, self.options.capacity, seed=seed)
        self._generator = torch.Generator().manual_seed(seed)
        self.frames = dict.fromkeys(self.tasks, 0)
        self.returns: dict[str, list[float]] = {task: [] for task in self.tasks}
        self._episode = self._step = self._segment = 0

    @property
    def frame(self) -> int:
        """Frames played so far, of all games together."""
        return sum(self.frames.values())

    @property
    def episodes(self) -> dict[str, int]:
        """Finished episodes of each game."""
        return {task: len(found) for task, found in self.returns.items()}

    def learn(
        self,
        frames: int,
        *,
        out: Path | str | None = None,
        checkpoint_every: int | None = None,
        on_round: Callable[[MultiTaskDQN], None] | None = None,
    ) -> MultiTaskDQN:
        """Play and learn until ``frames`` frames have been played in all, and return the agent.

        Args:
            out: file for checkpoints. If it is there already, the run continues from it.
            checkpoint_every: frames between them; ``None``: one at the end.
            on_round: called whenever all games have had their turn, for instance ``lambda agent: agent.evaluate(5)``.

        Raises :class:`RunError` if ``out`` is of another run.
        """
        if checkpoint_every is not None and checkpoint_every < 1:
            raise OptionError(f"checkpoint_every must be at least 1 frame, got {checkpoint_every}")
        if out is not None and Path(out).exists():
            self.load(out)
        self._warm_up()
        while self.frame < frames:
            every = checkpoint_every or frames
            self._play(min(frames, (self.frame // every + 1) * every), on_round)
            if out is not None:
                self.save(out)
        return self

    def act(self, observations: Tensor | Array, task: str, *, epsilon: float = 0.0) -> Array:
        """Observations ``[B, ...]`` -> actions ``[B]``: the best ones, or a share ``epsilon`` of random ones."""
        count = len(observations)
        actions = torch.zeros(count, dtype=torch.int64)
        random = torch.zeros(count, dtype=torch.bool)
        if epsilon > 0:
            random = torch.rand(count, generator=self._generator) < epsilon
            actions = torch.randint(self._actions, (count,), generator=self._generator)
        if not random.all():
            greedy = self._greedy(torch.as_tensor(observations)[~random], task)
            actions[~random] = greedy
        return actions.numpy()

    def evaluate(
        self,
        episodes: int = 5,
        *,
        games: Mapping[str, GameMaker] | None = None,
        seed: int = 0,
        max_steps: int = 27_000,
    ) -> dict[str, Score]:
        """Greedy play of new environments: the score of each game.

        Args:
            games: other makers than those of training, for instance without clipped rewards.
            max_steps: of each lane before it is given up; the default is half an hour of Atari a lane.

        Raises :class:`DataError`, naming the game, where episodes do not end in time.
        """
        opened = self._open(self._makers if games is None else games, min(episodes, self.options.lanes))
        found = {}
        for task, lanes in opened.items():

            def policy(observations: Array, task: str = task) -> Array:
                return self.act(observations, task)

            found[task] = play(lanes, policy, episodes, seed=seed, max_steps=max_steps)
            lanes.close()
        return found

    def close(self) -> None:
        """Free what the games hold."""
        for lanes in self._games.values():
            lanes.close()

    def state_dict(self) -> dict[str, Any]:
        """All that decides how training goes on: tensors, numbers and strings, replay included."""
        return {
            "tasks": list(self.tasks),
            "seed": self.seed,
            "network": self.network.state_dict(),
            "target": self.target.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "replay": self.replay.state_dict(),
            "schedule": self.schedule.state_dict(),
            "generator": self._generator.get_state(),
            "frames": dict(self.frames),
            "returns": {task: list(found) for task, found in self.returns.items()},
            "counts": [self._episode, self._step, self._segment],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what :meth:`state_dict` gave; raises :class:`RunError` if that was of other games or seeds."""
        if list(state["tasks"]) != list(self.tasks) or state["seed"] != self.seed:
            raise RunError(
                f"the state is of games {state['tasks']} with seed {state['seed']}, this agent plays "
                f"{list(self.tasks)} with seed {self.seed}"
            )
        self.network.load_state_dict(state["network"])
        self.target.load_state_dict(state["target"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.replay.load_state_dict(state["replay"])
        self.schedule.load_state_dict(state["schedule"])
        self._generator.set_state(state["generator"])
        self.frames = dict(state["frames"])
        self.returns = {task: list(found) for task, found in state["returns"].items()}
        self._episode, self._step, self._segment = state["counts"]

    def save(self, path: Path | str) -> None:
        """Write the state to one file, atomically; as large as the replay."""
        save_state(path, self.state_dict())

    def load(self, path: Path | str) -> None:
        """Read what :meth:`save` wrote; raises :class:`RunError` for a file of another kind or run."""
        self.load_state_dict(load_state(path))

    def _open(self, makers: Mapping[str, GameMaker], lanes: int) -> dict[str, Lanes]:
        for task in makers:
            if task not in self.tasks:
                raise TaskError(f'there is no game "{task}"; {nearest(task, self.tasks)}')
        opened = {task: Lanes(task, make, lanes) for task, make in makers.items()}
        network = cast(Any, self.network)
        check_games(opened, tuple(network.shape), network.actions, tuple(network.tasks))
        return opened

    @property
    def _actions(self) -> int:
        return int(cast(Any, self.network).actions)

    @torch.no_grad()
    def _greedy(self, observations: Tensor, task: str) -> Tensor:
        training = self.network.training
        self.network.eval()
        best = self.network(observations, task).argmax(1)
        self.network.train(training)
        return best

    def _warm_up(self) -> None:
        """Random play of each game, before anything else."""
        for i, (task, lanes) in enumerate(self._games.items()):
            if self.replay.size(task):
                continue
            lanes.reset(self._seed_of(i, segment=0))
            for _ in range(-(-self.options.warm_up // lanes.lanes)):
                moves, _ = lanes.step(self.act(lanes.observations, task, epsilon=1.0))
                self.replay.push(task, *moves)

    def _seed_of(self, game: int, segment: int) -> int:
        """Of a game's environments in a segment; every pair has its own."""
        return int(np.random.SeedSequence([self.seed, game, segment]).generate_state(1)[0] >> 1)

    def _play(self, until: int, on_round: Callable[[MultiTaskDQN], None] | None) -> None:
        """One segment: games begin anew, and go on until ``until`` frames."""
        self._segment += 1
        self.network.train()
        begun: set[str] = set()
        while self.frame < until:
            playing = self.schedule.tasks(self._episode)
            task = playing[self._step % len(playing)]
            if task not in begun:
                self._games[task].reset(self._seed_of(self.tasks.index(task), self._segment))
                begun.add(task)
            self._advance(task, on_round)

    def _advance(self, task: str, on_round: Callable[[MultiTaskDQN], None] | None) -> None:
        """One step of all lanes of a game, and the updates that are due."""
        lanes, before = self._games[task], self.frame
        actions = self.act(lanes.observations, task, epsilon=self.options.epsilon(before))
        moves, finished = lanes.step(actions)
        self.replay.push(task, *moves)
        self.frames[task] += len(moves.actions)
        self._step += 1
        self._learn(before, self.frame)
        if finished:
            totals = [episode.total for _, episode in finished]
            self.returns[task] += totals
            self._tell(task, float(np.mean(totals)), on_round)

    def _learn(self, before: int, now: int) -> None:
        every, copies = self.options.update_every, self.options.target_every
        for _ in range(now // every - before // every):
            for task in self.tasks:
                batch = self.replay.sample(task, self.options.batch)
                update(
                    self.network,
                    self.target,
                    self.optimizer,
                    task,
                    batch,
                    gamma=self.options.gamma,
                    clamp=self.options.clamp,
                )
        if now // copies > before // copies:
            self.target.load_state_dict(self.network.state_dict())

    def _tell(self, task: str, total: float, on_round: Callable[[MultiTaskDQN], None] | None) -> None:
        rounds = getattr(self.schedule, "rounds", 0)
        self.schedule.observe(self._episode, Signal(rewards={task: total}, parameters=self.network.parameters()))
        self._episode += 1
        if on_round is not None and getattr(self.schedule, "rounds", 0) > rounds:
            on_round(self)
