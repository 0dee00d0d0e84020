"""``backward``: from the losses of several tasks to the gradients of one step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import BalanceError, OptionError
from . import _checks as checks
from ._balance import Balance
from ._balancer import Balancer, GramBalancer, LossBalancer
from ._graph import leaves_before, split_leaves
from ._reducer import Reducer
from ._rows import OwnGradients, Rows, add_gradients, take_batched, take_in_loop

_TAKE: dict[str, Callable[..., tuple[Rows, OwnGradients]]] = {"loop": take_in_loop, "batched": take_batched}
MODES = ("auto", *_TAKE, "representation")


def backward(
    losses: Mapping[str, Tensor],
    balancer: Balancer,
    *,
    shared: Iterable[Tensor] | nn.Module | None = None,
    representation: Tensor | Sequence[Tensor] | None = None,
    mode: str = "auto",
    reducer: Reducer | None = None,
    on_nonfinite: str = "raise",
    scale: float = 1.0,
) -> Balance:
    """Fill ``.grad`` with one balanced update of several tasks: in place of ``sum(losses.values()).backward()``.

    Shared parameters get the balanced direction. Task-specific ones get the gradient of their own loss: times the
    task's weight for methods on losses (which differentiate the weighted sum), as it is for all others. Gradients
    are added to what ``.grad`` holds, as torch does. Nothing is filled when an error is raised.

    Args:
        losses: task name -> scalar loss with a graph. A task without labels in this step is simply left out.
        balancer: see :func:`sharewise.balance.create`.
        shared: the shared parameters, or a module: its ``shared_parameters()`` if it has such a method, else all its
            parameters. Default: every parameter that two or more losses reach (all of them if there is one loss).
            Frozen parameters are left out. Not needed by methods on losses.
        representation: the activation, or activations, that all shared computation goes through. Per-task gradients
            are then taken with respect to it, and the trunk is passed once, with the balanced gradient: an upper
            bound of the exact method (Sener and Koltun 2018 for MGDA), another method for others.
        mode: ``loop``: a backward pass a task. ``batched``: one pass vectorised over tasks. ``representation``:
            as above. ``auto``: ``representation`` if one is given, else ``loop``, which is exact, works with every
            operation, and is the faster one on CPUs. Methods on losses always take one plain pass.
        reducer: combines losses and rows over processes before the decision; see :class:`Reducer`.
        on_nonfinite: what to do about a NaN or infinite loss, or gradient row: ``raise``; ``skip task``, balance the
            others; ``skip step``, fill nothing; ``ignore``, do not look (no wait for the device in methods on
            losses).
        scale: loss scale of fp16 training (``scaler.get_scale()``): ``.grad`` comes out multiplied by it, the
            balancer decides on values without it.

    Raises :class:`BalanceError` naming the task for a loss that is not finite, no scalar, without graph, or does not
    depend on any shared parameter, and for a task the balancer was not built for; :class:`ModelError` for a module
    wrapped in DistributedDataParallel; :class:`OptionError` for an unknown mode.

    Cost: one backward pass for methods on losses. For the others m passes and one matrix ``[m, n]`` of the n shared
    parameters (``representation``: m passes of the heads and one of the trunk), O(m^2 n) for the Gram matrix.
    """
    checks.check_option("mode", mode, MODES)
    checks.check_option("on_nonfinite", on_nonfinite, checks.NONFINITE)
    checks.check_losses(losses)
    given = checks.shared_list(shared)
    values = _values(losses)
    if reducer is not None and hasattr(reducer, "losses"):
        values = reducer.losses(values)
    names = tuple(losses)
    balancer.names(len(names), names)
    bad = [] if on_nonfinite == "ignore" else checks.not_finite(values)
    kept, skipped = _leave_out(names, bad, on_nonfinite, "the loss")
    if not kept:
        return Balance((), values.new_zeros(()), skipped=skipped)
    names, values = tuple(names[i] for i in kept), values[kept] if skipped else values
    chosen = [losses[name] for name in names]
    if isinstance(balancer, LossBalancer):
        return _weighted_backward(chosen, values, balancer, names, skipped, scale)
    request = _Request(names, chosen, values, skipped, scale, on_nonfinite, mode, reducer)
    return _balanced_backward(request, balancer, given, representation)


@dataclass
class _Request:
    """What a step that needs rows was asked for."""

    names: tuple[str, ...]
    losses: list[Tensor]
    values: Tensor
    skipped: tuple[str, ...]
    scale: float
    on_nonfinite: str
    mode: str
    reducer: Reducer | None

    def take(
        self, shared: list[Tensor] | None, representation: Tensor | Sequence[Tensor] | None
    ) -> tuple[Rows, OwnGradients]:
        """Differentiate: the rows of this process combined with the others', and the heads' gradients."""
        if representation is not None:
            targets = [representation] if isinstance(representation, Tensor) else list(representation)
            checks.check_representation(targets)
            own = leaves_before(self.losses, targets)
        elif self.mode == "representation":
            raise OptionError('mode "representation" needs the activation: representation=z')
        else:
            targets, own = split_leaves(self.losses, shared)
        if not targets:
            raise BalanceError(
                "no parameter is reached by two or more of the losses, so there is nothing to balance: "
                "name the shared ones with shared=..., or call .backward() on the sum"
            )
        take = _TAKE.get(self.mode, take_in_loop)
        rows, own_gradients = take(self.losses, targets, own, scale=self.scale, keep=representation is not None)
        if self.reducer is not None:
            rows.blocks = [self.reducer.rows(b) for b in rows.blocks]
        return rows, own_gradients


def _balanced_backward(
    request: _Request,
    balancer: Balancer,
    shared: list[Tensor] | None,
    representation: Tensor | Sequence[Tensor] | None,
) -> Balance:
    rows, own = request.take(shared, representation)
    gram = rows.gram() / request.scale**2
    squares = gram.diagonal()
    checks.check_reached(request.names, request.losses, squares, rows.targets)
    bad = [] if request.on_nonfinite == "ignore" else checks.rows_not_finite(squares, rows.blocks)
    kept, skipped = _leave_out(request.names, bad, request.on_nonfinite, "the gradient")
    skipped = request.skipped + skipped
    names, values = tuple(request.names[i] for i in kept), request.values
    if not kept:
        return Balance((), values.new_zeros(()), skipped=skipped)
    if bad:
        rows, gram, values = rows.select(kept), gram[kept][:, kept], values[kept]
    weights = None
    if isinstance(balancer, GramBalancer):
        weights = balancer.weights(gram, values, names=names)
        gradients = rows.combine(weights)
    else:
        matrix = rows.matrix() if request.scale == 1 else rows.matrix() / request.scale
        gradients = rows.cut(balancer.aggregate(matrix, values, names=names) * request.scale)
    if representation is None:
        add_gradients(rows.targets, gradients)
    else:
        torch.autograd.backward(rows.targets, gradients)
    own.deposit(kept)
    total = values.sum() if weights is None else (weights.to(values) * values).sum()
    return Balance(names, total, weights, gram, skipped)


def _weighted_backward(
    losses: list[Tensor],
    values: Tensor,
    balancer: LossBalancer,
    names: tuple[str, ...],
    skipped: tuple[str, ...],
    scale: float,
) -> Balance:
    weights = balancer.weights(values, names=names)
    objective = balancer.objective(torch.stack([loss.to(values) for loss in losses]), weights, names)
    objective.backward(None if scale == 1 else torch.full_like(objective, scale))
    weights = weights.detach()
    return Balance(names, (weights * values).sum(), weights, skipped=skipped)


def _values(losses: Mapping[str, Tensor]) -> Tensor:
    """The losses detached, ``[m]``, in the widest of their dtypes, on the first one's device."""
    found = [loss.detach() for loss in losses.values()]
    wide = found[0].dtype
    for value in found[1:]:
        wide = torch.promote_types(wide, value.dtype)
    return torch.stack([value.to(found[0].device, wide) for value in found])


def _leave_out(
    names: tuple[str, ...], bad: list[int], on_nonfinite: str, what: str
) -> tuple[list[int], tuple[str, ...]]:
    """Positions to go on with, and the names of the tasks that are left out; see ``on_nonfinite``."""
    if bad and on_nonfinite == "raise":
        raise checks.refuse([names[i] for i in bad], what)
    kept = [] if bad and on_nonfinite == "skip step" else [i for i in range(len(names)) if i not in bad]
    return kept, tuple(names[i] for i in bad)
