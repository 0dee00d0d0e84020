"""``backward``: from the losses of several tasks to the gradients of one step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from ._accumulate import Accumulation
from ._balance import Balance
from ._balancer import Balancer
from ._reducer import Reducer
from ._shared import Parameters
from ._task_rows import Wanted


def backward(
    losses: Mapping[str, Tensor] | Sequence[Mapping[str, Tensor]],
    balancer: Balancer,
    *,
    shared: Parameters | Mapping[str, Parameters] | None = None,
    representation: Tensor | Sequence[Tensor] | None = None,
    mode: str = "auto",
    reducer: Reducer | None = None,
    on_nonfinite: str = "raise",
    scale: float | Tensor = 1.0,
    rows: Wanted = False,
) -> Balance:
    """Fill ``.grad`` with one balanced update of several tasks, in place of ``sum(losses.values()).backward()``.

    Shared parameters get the balanced direction. Task-specific ones get the gradient of their own loss: times the
    task's weight for methods on losses (which differentiate the weighted sum), as it is for all others. Gradients
    are added to what ``.grad`` holds, as torch does. Where an error is raised, nothing is filled. For one decision
    over several batches see :class:`Accumulation`.

    Args:
        losses: task name -> scalar loss with a graph. A task without labels in this step is simply left out. For
            methods with ``samples`` > 1, a list of such mappings, of the same tasks on independent batches: the
            last is the one that is differentiated for the update.
        balancer: see :func:`sharewise.balance.create`.
        shared: the shared parameters, or a module: its ``shared_parameters()`` if it has such a method, else all its
            parameters. Default: every parameter that two or more losses reach (all of them if there is one loss).
            Frozen parameters are left out. Not needed by methods on losses. A mapping from names to parameters or
            modules (:func:`layers` makes one) decides group by group, each with a state of its own.
        representation: the activation, or activations, that all shared computation goes through. Per-task gradients
            are then taken with respect to it, and the trunk is passed once, with the balanced gradient: an upper
            bound for MGDA (Sener and Koltun 2018, section 3.3), a related method for the others.
        mode: ``auto`` takes the cheapest of the exact modes. Methods on losses always take one plain pass.

            - ``loop``: a backward pass a task, every row formed; works with every operation.
            - ``batched``: one pass vectorised over tasks.
            - ``gram``: for methods on the Gram matrix. The passes stop at the outputs of layers whose weight is
              larger than their batch, and the rows of such weights are never formed (see the docs); all other
              parameters are treated as in ``loop``.
            - ``disjoint``: for methods on the Gram matrix, where no example belongs to two tasks: what tasks share is
              passed once for all. Refused where a row of a layer's batch has gradients of two tasks (batch
              normalisation). ``auto`` takes it where the graph proves that rows stay apart.
            - ``representation``: as above.
        reducer: combines losses and rows over processes before the decision; see :class:`Reducer`.
        on_nonfinite: what to do about a NaN or infinite loss, or gradient row: ``raise``; ``skip task``, balance the
            others; ``skip step``, fill nothing; ``ignore``, do not look, so that methods on losses never wait for
            the device. Methods on losses look at losses only.
        scale: loss scale of fp16 training: ``.grad`` comes out multiplied by it, the balancer decides on values
            without it. With a ``GradScaler``: ``scale=scaler.scale(torch.ones(()))``, ``on_nonfinite="ignore"``, so
            that an overflow reaches ``scaler.step``.
        rows: whose gradient rows to hand back as ``Balance.rows``, for an optimizer that works with them
            (:class:`sharewise.optim.MAdam`): ``True`` for all tasks, or names. Methods on losses then take a backward
            pass for each of them besides, and leave out rows that are not finite.

    Raises :class:`BalanceError` naming the task for a loss that is not finite, no scalar, without graph, or does not
    depend on any shared parameter, and for a task the balancer was not built for; :class:`ModelError` for a module
    wrapped in DistributedDataParallel; :class:`OptionError` for an unknown mode, or one the balancer cannot use.

    Cost: one backward pass for methods on losses. For the others m passes, one matrix ``[m, n]`` of the n shared
    parameters whose rows are formed, and O(m^2 n) for its Gram matrix; a layer with d_in inputs and N < d_in rows in
    its batch costs ``N (m + d_in / d_out)`` numbers instead of ``m d_in``, and about half of each pass (with
    ``representation``: m passes of the heads, one of the trunk).
    """
    step = Accumulation(
        balancer, shared=shared, mode=mode, reducer=reducer, on_nonfinite=on_nonfinite, scale=scale, rows=rows
    )
    step.add(losses, representation=representation)
    return step.resolve()
