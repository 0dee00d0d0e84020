"""SON-GOKU: tasks whose gradients conflict do not train in the same step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import OptionError, ScheduleError
from ._colouring import colour, repeat_where_free
from ._conflict_graph import RULES, Rule, conflicts, cosines
from ._running_rows import RunningRows
from ._schedule import Schedule, Starving, check_count
from ._signal import Signal


@dataclass(frozen=True)
class Refresh:
    """One new graph.

    Attributes:
        step: the first step that follows it. tau: the threshold in force.
        edges: pairs of tasks that conflict. colours: classes, and so steps in a cycle.
        in_group_conflict: share of the pairs within a class whose cosine is below 0.
    """

    step: int
    tau: float
    edges: int
    colours: int
    in_group_conflict: float


class SonGoku(Schedule):
    """Colours the graph of conflicting tasks and trains one colour a step.

    Every ``refresh`` steps the schedule asks for the gradients of all tasks and joins two tasks by an edge where the
    cosine of their running means is below ``-tau``. Welsh and Powell's colouring cuts the tasks into classes without an
    edge inside; the steps until the next refresh take the classes in turn, from the first. Before the first gradients,
    and while ``tau`` is 1, there is no edge and all tasks train together.

    *A step takes fewer tasks*, so that at an equal number of steps tasks get fewer gradients than in joint training:
    compare at equal numbers of task gradients. And the graph must be visible: with a noise-to-signal ratio r of a
    gradient, cosines shrink to about ``cos / (1 + r^2 (1 - beta) / (1 + beta))``; choose ``tau`` below that, and
    batches of 128 or more.

    Source: Patapati and Srinivasan, "Graph Coloring for Multi-Task Learning", 2025 (arXiv 2509.16959). Different: the
    running means are of the gradients at refreshes, and ``follow`` adds those of every step (which then cost a backward
    pass a task); an interval by the number of tasks; a sketch by hashing in place of a dense projection.

    Args:
        tasks: see :class:`Schedule`.
        refresh: steps between graphs; ``None``: 32, or 4 a task where that is more, for refreshes cost a pass a task.
        growth: what the interval is multiplied by after each refresh; at least 1.
        beta: in [0, 1): of the running means; 0 takes the refresh batch alone, whose exact Gram matrix is then enough.
        follow: whether the running means also take in the gradients of the tasks of each step.
        tau: in [0, 1], the threshold at the end. tau_start: where it starts; 1 means no edges.
        warmup: steps at ``tau_start``. anneal: steps from there to ``tau``, evenly in the logarithm.
        least: classes of a cycle that each task should be in; it is added to classes where it conflicts with nobody.
        rule, density, neighbours: what makes an edge; see ``conflicts`` in the documentation.
        sketch: numbers kept of each running mean; ``None``: all.
        shuffle: deal the tasks to the classes at random, at each refresh anew: the control with groups of equal sizes.
        seed: of sketch and shuffling.
        max_absence, starving: see :class:`Schedule`.

    ``edges`` is the graph in force (BoolTensor ``[m, m]``), ``classes`` its groups, ``log`` a :class:`Refresh` each.

    Raises :class:`ScheduleError` for a gradient that is not finite, naming its task. Cost of a refresh: the gradients,
    O(m^2 n) for their inner products (n: ``sketch``, or the shared parameters), and the colouring.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        *,
        refresh: int | None = None,
        growth: float = 1.0,
        beta: float = 0.9,
        follow: bool = False,
        tau: float = 0.25,
        tau_start: float = 1.0,
        warmup: int = 0,
        anneal: int = 0,
        least: int = 1,
        rule: Rule = "threshold",
        density: float | None = None,
        neighbours: int = 4,
        sketch: int | None = None,
        shuffle: bool = False,
        seed: int = 0,
        max_absence: int | None = None,
        starving: Starving = "raise",
    ) -> None:
        super().__init__(tasks, seed=seed, max_absence=max_absence, starving=starving)
        self.refresh = max(32, 4 * len(self.names)) if refresh is None else refresh
        for option, count, smallest in (
            ("refresh", self.refresh, 1),
            ("warmup", warmup, 0),
            ("anneal", anneal, 0),
            ("least", least, 1),
            ("neighbours", neighbours, 1),
            ("sketch", 1 if sketch is None else sketch, 1),
        ):
            check_count(option, count, least=smallest)
        _check_range("beta", beta, 0 <= beta < 1, "lie in [0, 1)")
        _check_range("tau", tau, 0 <= tau <= 1, "lie in [0, 1]")
        _check_range("tau_start", tau_start, 0 < tau_start <= 1, "lie in (0, 1]")
        _check_range("growth", growth, 1 <= growth < float("inf"), "be a number from 1 on")
        _check_range("density", density, density is None or 0 < density <= 1, "lie in (0, 1]")
        if rule not in RULES:
            raise OptionError(f"rule must be one of {', '.join(RULES)}, got {rule!r}")
        if anneal and tau == 0:
            raise OptionError("tau must be above 0 to be reached evenly in the logarithm: set anneal=0 or a small tau")
        if follow and beta == 0:
            raise OptionError("follow adds to running means, and beta=0 keeps none: leave one of them out")
        self.growth, self.beta, self.follow, self.tau, self.tau_start = growth, beta, follow, tau, tau_start
        self.warmup, self.anneal, self.least, self.shuffle = warmup, anneal, least, shuffle
        self.rule: Rule = rule
        self.density, self.neighbours = density, neighbours
        self.uses = frozenset({"gram"} if beta == 0 and sketch is None else {"rows"})
        self.classes: list[list[str]] = [list(self.names)]
        self.edges = torch.zeros(len(self.names), len(self.names), dtype=torch.bool)
        self.log: list[Refresh] = []
        self._means = RunningRows(beta, sketch, seed)
        self._begin = self._due = 0
        self._interval = float(self.refresh)
        self._followed = -1

    def probes(self, step: int) -> list[str]:
        """All tasks where a refresh is due; with ``follow`` those of the step at others."""
        if step >= self._due:
            return list(self.names)
        return self._class(step) if self.follow and step > max(self._followed, self._step) else []

    def threshold(self, step: int) -> float:
        """``tau`` at a step."""
        if step < self.warmup:
            return self.tau_start
        progress = min(1.0, (step - self.warmup) / self.anneal) if self.anneal else 1.0
        return float(self.tau_start * (self.tau / self.tau_start) ** progress)

    def _class(self, step: int) -> list[str]:
        return self.classes[(step - self._begin) % len(self.classes)]

    def _choose(self, step: int) -> Sequence[str]:
        return self._class(step)

    def _learn(self, step: int, signal: Signal) -> None:
        found = signal.gradients
        if found is None:
            return
        self._followed = step
        if found.rows is not None:
            for name, row in zip(found.names, found.rows, strict=True):
                self._means.update(name, row)
            if step >= self._due:
                self._recolour(step, cosines(self._means.gram(self.names)))
        elif found.gram is not None:
            self._recolour(step, cosines(self._placed(found.names, found.gram)))
        else:
            raise ScheduleError("gradients came without gram and without rows: give the one that `uses` names")

    def _placed(self, names: Sequence[str], gram: Tensor) -> Tensor:
        """The Gram matrix in the order of all tasks; zeros for those that are absent."""
        if self.beta:
            raise ScheduleError(f"inner products cannot be averaged over steps: with beta={self.beta} give rows")
        bad = [name for name, norm in zip(names, gram.diagonal().tolist(), strict=True) if norm - norm != 0]
        if bad:
            raise ScheduleError(f'the gradient of task "{bad[0]}" is NaN or infinite: its conflicts cannot be told')
        placed = torch.zeros(len(self.names), len(self.names), dtype=torch.float64)
        places = torch.tensor([self.names.index(name) for name in names])
        placed[places[:, None], places] = gram.detach().cpu().double()
        return placed

    def _recolour(self, step: int, cosine: Tensor) -> None:
        tau = self.threshold(step)
        self.edges = conflicts(cosine, tau, self.rule, density=self.density, neighbours=self.neighbours)
        if step < self.warmup and self.tau_start == 1:
            self.edges = torch.zeros_like(self.edges)  # the rules without a threshold are warmed up too
        classes = repeat_where_free(colour(self.edges), self.edges, self.least)
        if self.shuffle:
            order = torch.randperm(len(self.names), generator=self.generator).tolist()
            classes = [sorted(order[i] for i in members) for members in classes]
        self.classes = [[self.names[i] for i in members] for members in classes]
        self.log.append(
            Refresh(step, tau, int(self.edges.sum()) // 2, len(classes), _share_below_zero(cosine, classes))
        )
        self._begin, self._due = step, step + round(self._interval)
        self._interval *= self.growth

    def _own_state(self) -> dict[str, Any]:
        return {
            "classes": [list(members) for members in self.classes],
            "edges": self.edges.clone(),
            "log": [asdict(entry) for entry in self.log],
            "means": self._means.state_dict(),
            "begin": self._begin,
            "due": self._due,
            "interval": self._interval,
            "followed": self._followed,
        }

    def _take(self, state: Mapping[str, Any]) -> None:
        self.classes = [list(members) for members in state["classes"]]
        self.edges = state["edges"].clone()
        self.log = [Refresh(**entry) for entry in state["log"]]
        self._means.load_state_dict(state["means"])
        self._begin, self._due, self._interval = state["begin"], state["due"], state["interval"]
        self._followed = state["followed"]


def _check_range(option: str, value: float | None, fine: bool, what: str) -> None:
    if not fine:
        raise OptionError(f"{option} must {what}, got {value}")


def _share_below_zero(cosine: Tensor, classes: Sequence[Sequence[int]]) -> float:
    """Of all pairs within a class, the share whose cosine is below zero; 0 where there is no pair."""
    pairs = below = 0
    for members in classes:
        inside = cosine[members][:, members].triu(1)
        pairs += len(members) * (len(members) - 1) // 2
        below += int((inside < 0).sum())
    return below / pairs if pairs else 0.0
