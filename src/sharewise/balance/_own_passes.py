"""The passes of the tasks' own operations, down to where the tasks meet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from ._graph import SHARED
from ._meeting import Meeting
from ._ownership import PLACING
from ._passes import OwnGradients, in_loop, seed
from ._sinks import Sink

_FIRST = 2  # tasks passed one by one: where all look at all examples, the second one already shows it


class Clash(Exception):
    """Two tasks have a gradient at the same place."""


@dataclass
class Meet:
    """The sum of the tasks' gradients where they meet, and whose each place is (see ``_ownership``)."""

    edge: GradientEdge
    target: int = -1
    total: Tensor | None = None
    label: Tensor = field(default_factory=lambda: torch.zeros(()))

    @property
    def places(self) -> Sequence[GradientEdge]:
        """See :class:`Sink`."""
        return (self.edge,)

    def put(self, task: int, gradients: Sequence[Tensor | None]) -> bool:
        """See :meth:`Sink.put`; raises :class:`Clash`."""
        (gradient,) = gradients
        if gradient is None:
            return False
        mine = _not_zero(gradient)
        if self.total is None:
            self.total, self.label = gradient.clone(), mine * (task + 1.0)
            return True
        if bool((mine & (self.label > 0)).any()):
            raise Clash
        self.total += gradient
        self.label += mine * (task + 1.0)
        return True

    def put_rows(self, task: int, rows: Tensor, gradients: Tensor, shape: Sequence[int]) -> None:
        """:meth:`put` where the gradient is zero but for these rows, which may come more than once."""
        if self.total is None:
            self.total = gradients.new_zeros(shape)
            self.label = self.total.new_zeros(*self.total.shape[:-1], 1) if self.total.dim() > 1 else self.total.clone()
        touched = torch.zeros_like(self.label).index_add_(0, rows, _not_zero(gradients).to(self.label)) > 0
        if bool((touched & (self.label > 0)).any()):
            raise Clash
        self.total.index_add_(0, rows, gradients)
        self.label += touched * (task + 1.0)


def _not_zero(gradient: Tensor) -> Tensor:
    """Where, but for the last of several axes, the gradient is not zero throughout."""
    if gradient.dim() < 2:
        return gradient != 0
    return (gradient.amax(-1, keepdim=True) != 0) | (gradient.amin(-1, keepdim=True) != 0)


@dataclass
class Kept:
    """The gradient of an output of one of a task's own operations."""

    node: Any
    gradient: Tensor | None = None
    target: int = -1

    @property
    def places(self) -> Sequence[GradientEdge]:
        """See :class:`Sink`."""
        return (GradientEdge(self.node, 0),)

    def put(self, task: int, gradients: Sequence[Tensor | None]) -> bool:
        """See :meth:`Sink.put`."""
        (self.gradient,) = gradients
        return self.gradient is not None


def pass_own(
    losses: Sequence[Tensor],
    sinks: Sequence[Sequence[Sink]],
    own: Sequence[Sequence[Tensor]],
    meeting: Meeting,
    nodes: Mapping[Any, int],
    scale: float | Tensor,
    keep: bool,
) -> tuple[list[set[int]], OwnGradients]:
    """Hand every sink its gradients, the meeting places last; as :func:`in_loop`, whose results these are.

    One pass for all tasks, where the operations that enter the meeting places only pick rows: these are then asked
    one by one what they make of their gradients, for one task each. Else, and for the first tasks, a pass a task.
    """
    users = {user: nodes[user] for several in meeting.users for user in several}
    first = _FIRST if keep and _separable(sinks, own, users) else len(losses)
    reached, mine = in_loop(losses[:first], sinks[:first], own[:first], scale, keep or first < len(losses))
    late = range(first, len(losses))
    if not late:
        return reached, mine
    kept = [(t, sink) for t in late for sink in sinks[t] if isinstance(sink, Kept)]
    entries = [(user, t) for user, t in users.items() if t >= first]
    leaves = [(t, leaf) for t in late for leaf in own[t]]
    places: list[Any] = [GradientEdge(user, 0) for user, _ in entries]
    places += [place for _, sink in kept for place in sink.places]
    places += [leaf for _, leaf in leaves]
    seeds = [seed(losses[t], scale) for t in late]
    found = iter(torch.autograd.grad([losses[t] for t in late], places, seeds, retain_graph=True, allow_unused=True))
    reached += [set() for _ in late]
    mine += [[] for _ in late]
    given: dict[Any, Tensor | None] = {user: next(found) for user, _ in entries}
    for t, sink in kept:
        if sink.put(t, [next(found)]):
            reached[t].add(sink.target)
    for t, leaf in leaves:
        if (own_gradient := next(found)) is not None:
            mine[t].append((leaf, own_gradient))
    meets = [sink for sink in sinks[0] if isinstance(sink, Meet)]
    for meet, several in zip(meets, meeting.users, strict=True):
        for user in several:
            if (gradient := given.get(user)) is not None:
                _enter(meet, user, nodes[user], gradient)
                reached[nodes[user]].add(meet.target)
    return reached, mine


@torch.no_grad()
def _enter(meet: Meet, user: Any, task: int, gradient: Tensor) -> None:
    """Hand on what an operation makes of its gradient; for rows that were picked (``z[mine]``) just these."""
    picked = [i for i in user._saved_indices if i is not None] if user.name() == "IndexBackward0" else []
    if len(picked) == 1 and picked[0].dim() == 1 and user._saved_indices[0] is not None:
        rows = picked[0].nonzero()[:, 0] if picked[0].dtype == torch.bool else picked[0]
        meet.put_rows(task, rows, gradient, user._saved_self_sym_sizes)
    else:
        meet.put(task, [user(gradient)])


def _separable(sinks: Sequence[Sequence[Sink]], own: Sequence[Sequence[Tensor]], users: Mapping[Any, int]) -> bool:
    """Whether one pass of all losses tells what each task's would have given."""
    simple = all(t != SHARED and user.name() in PLACING and len(user._input_metadata) == 1 for user, t in users.items())
    apart = all(isinstance(sink, Kept | Meet) for several in sinks for sink in several)
    counts = Counter(id(leaf) for leaves in own for leaf in leaves)
    return simple and apart and all(count == 1 for count in counts.values())
