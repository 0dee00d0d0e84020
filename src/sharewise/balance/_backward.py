"""``backward``: from the losses of several tasks to the gradients of one step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from . import _checks as checks
from ._balance import Balance
from ._balancer import Balancer, GramBalancer, LossBalancer
from ._gram import full_precision
from ._reducer import Reducer
from ._rows import Rows, add_gradients
from ._take import MODES, OwnGradients, is_one, seed, take_rows


def backward(
    losses: Mapping[str, Tensor],
    balancer: Balancer,
    *,
    shared: Iterable[Tensor] | nn.Module | None = None,
    representation: Tensor | Sequence[Tensor] | None = None,
    mode: str = "auto",
    reducer: Reducer | None = None,
    on_nonfinite: str = "raise",
    scale: float | Tensor = 1.0,
) -> Balance:
    """Fill ``.grad`` with one balanced update of several tasks, in place of ``sum(losses.values()).backward()``.

    Shared parameters get the balanced direction. Task-specific ones get the gradient of their own loss: times the
    task's weight for methods on losses (which differentiate the weighted sum), as it is for all others. Gradients
    are added to what ``.grad`` holds, as torch does. Where an error is raised before the pass, nothing is filled.

    Args:
        losses: task name -> scalar loss with a graph. A task without labels in this step is simply left out.
        balancer: see :func:`sharewise.balance.create`.
        shared: the shared parameters, or a module: its ``shared_parameters()`` if it has such a method, else all its
            parameters. Default: every parameter that two or more losses reach (all of them if there is one loss).
            Frozen parameters are left out. Not needed by methods on losses.
        representation: the activation, or activations, that all shared computation goes through. Per-task gradients
            are then taken with respect to it, and the trunk is passed once, with the balanced gradient: an upper
            bound for MGDA (Sener and Koltun 2018, section 3.3), a related method for the others.
        mode: ``loop``: a backward pass a task. ``batched``: one pass vectorised over tasks. ``representation``:
            as above. ``auto``: ``representation`` if one is given, else ``loop``, which is exact, works with every
            operation, and is the faster one on CPUs. Methods on losses always take one plain pass.
        reducer: combines losses and rows over processes before the decision; see :class:`Reducer`.
        on_nonfinite: what to do about a NaN or infinite loss, or gradient row: ``raise``; ``skip task``, balance the
            others; ``skip step``, fill nothing; ``ignore``, do not look, so that methods on losses never wait for
            the device. Methods on losses look at losses only.
        scale: loss scale of fp16 training: ``.grad`` comes out multiplied by it, the balancer decides on values
            without it. With a ``GradScaler``: ``scale=scaler.scale(torch.ones(()))``, ``on_nonfinite="ignore"``, so
            that an overflow reaches ``scaler.step``.

    Raises :class:`BalanceError` naming the task for a loss that is not finite, no scalar, without graph, or does not
    depend on any shared parameter, and for a task the balancer was not built for; :class:`ModelError` for a module
    wrapped in DistributedDataParallel; :class:`OptionError` for an unknown mode.

    Cost: one backward pass for methods on losses. For the others m passes, one matrix ``[m, n]`` of the n shared
    parameters and O(m^2 n) for its Gram matrix (with ``representation``: m passes of the heads, one of the trunk).
    """
    checks.check_balancer(balancer)
    checks.check_option("mode", mode, MODES)
    checks.check_option("on_nonfinite", on_nonfinite, checks.NONFINITE)
    checks.check_losses(losses)
    given = checks.shared_list(shared)
    present = Present.of(losses, reducer)
    balancer.check_names(len(losses), present.names)
    if on_nonfinite != "ignore":
        present = present.without(checks.not_finite(present.values), on_nonfinite, "the loss")
    if not present.names:
        return present.nothing()
    if isinstance(balancer, LossBalancer):
        return _weighted_backward(present, balancer, scale)
    checks.check_processes(reducer)
    taken = _take(present, given, representation, mode, reducer, on_nonfinite, scale)
    left = present.without(taken.bad, on_nonfinite, "the gradient")
    if not left.names:
        return left.nothing()
    with full_precision(taken.gram):
        return _balanced_backward(left, balancer, taken.good(), scale)


@dataclass(frozen=True)
class Present:
    """The tasks of a step that take part: names, losses with their graph, values ``[m]`` to decide by."""

    names: tuple[str, ...]
    losses: list[Tensor]
    values: Tensor
    skipped: tuple[str, ...] = ()

    @classmethod
    def of(cls, losses: Mapping[str, Tensor], reducer: Reducer | None) -> Present:
        """All losses; values in the widest of their dtypes, on the first one's device."""
        found = [loss.detach() for loss in losses.values()]
        wide = found[0].dtype
        for value in found[1:]:
            wide = torch.promote_types(wide, value.dtype)
        values = torch.stack([value.to(found[0].device, wide) for value in found])
        if reducer is not None:
            values = reducer.losses(values)
        return cls(tuple(losses), list(losses.values()), values)

    def without(self, bad: Sequence[int], on_nonfinite: str, what: str) -> Present:
        """What is left of the tasks when those at ``bad`` are not finite; raises if that is what was asked for."""
        if not bad:
            return self
        if on_nonfinite == "raise":
            raise checks.refuse([self.names[i] for i in bad], what)
        keep = [] if on_nonfinite == "skip step" else [i for i in range(len(self.names)) if i not in bad]
        return replace(
            self,
            names=tuple(self.names[i] for i in keep),
            losses=[self.losses[i] for i in keep],
            values=self.values[keep],
            skipped=self.skipped + tuple(self.names[i] for i in bad),
        )

    def nothing(self) -> Balance:
        """The outcome of a step that fills nothing."""
        return Balance((), self.values.new_zeros(()), skipped=self.skipped)


@dataclass(frozen=True)
class Taken:
    """Rows and own gradients of tasks, the Gram matrix, and the positions of tasks with a row that is not finite."""

    rows: Rows
    own: OwnGradients
    gram: Tensor
    bad: list[int]

    def good(self) -> Taken:
        """The same without the tasks at ``bad``."""
        if not self.bad:
            return self
        keep = [i for i in range(len(self.own)) if i not in self.bad]
        return Taken(self.rows.select(keep), [self.own[i] for i in keep], self.gram[keep][:, keep], [])


def _take(
    present: Present,
    shared: list[Tensor] | None,
    representation: Tensor | Sequence[Tensor] | None,
    mode: str,
    reducer: Reducer | None,
    on_nonfinite: str,
    scale: float | Tensor,
) -> Taken:
    """Differentiate, combine with other processes, and look at what came out."""
    rows, own = take_rows(present.losses, shared, representation, mode=mode, scale=scale)
    if reducer is not None:
        rows.reduce(reducer)
    gram = rows.gram() / scale**2
    checks.check_reached(present.names, present.losses, gram.diagonal(), rows.targets)
    bad = [] if on_nonfinite == "ignore" else checks.rows_not_finite(gram.diagonal(), rows.blocks)
    if bad and mode == "batched":
        # Zero times NaN is NaN: vectorised, one bad task spoils the rows of all, and only a loop tells whose it is.
        return _take(present, shared, representation, "loop", reducer, on_nonfinite, scale)
    return Taken(rows, own, gram, bad)


def _weighted_backward(present: Present, balancer: LossBalancer, scale: float | Tensor) -> Balance:
    weights = balancer.weights(present.values, names=present.names)
    stacked = torch.stack([loss.to(present.values) for loss in present.losses])
    objective = balancer.objective(stacked, weights, present.names)
    objective.backward(seed(objective, scale))
    weights = weights.detach()
    total = (weights * present.values).sum()
    return Balance(present.names, total, weights, skipped=present.skipped, notes=dict(balancer.notes))


def _balanced_backward(present: Present, balancer: Balancer, taken: Taken, scale: float | Tensor) -> Balance:
    rows, names, values = taken.rows, present.names, present.values
    weights = None
    if isinstance(balancer, GramBalancer):
        weights = balancer.weights(taken.gram, values, names=names).detach()
        gradients = rows.combine(weights)
        total = (weights.to(values) * values).sum()
    else:
        matrix = rows.matrix() if is_one(scale) else rows.matrix().div_(scale)
        gradients = rows.cut(balancer.aggregate(matrix, values, names=names) * scale)
        total = values.sum()
    rows.deposit(gradients)
    for pairs in taken.own:
        add_gradients(pairs)
    return Balance(names, total, weights, taken.gram, present.skipped, dict(balancer.notes))
