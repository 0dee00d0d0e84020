"""What every balancer is: weights or a direction from losses, a Gram matrix or gradient rows."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from ..errors import BalanceError, OptionError, nearest
from ._gram import gram_matrix, weighted_sum
from ._remembered import Columns
from ._room import Room
from ._row_state import RowState
from ._state import TaskState, decode_names, encode_names

Needs = Literal["losses", "gram", "gradients"]


class Balancer(nn.Module):
    """Turns the losses of m tasks into one update. Derive from one of its three kinds, not from this class.

    Args:
        tasks: the names the balancer is for. A task outside them is refused; ``None`` admits any.
        seed: seed of the balancer's own ``generator``, for those that draw random numbers; ``None`` for the others.

    State: parameters and buffers as in any module, ``task_state`` (entries by task name), the names, and the
    generator. ``state_dict`` holds tensors only (no pickled objects), so safetensors can store it; loading it into
    a new balancer with the same options continues bit for bit. A task absent from a step keeps its state.
    """

    needs: ClassVar[Needs]
    looks_again: ClassVar[bool] = False
    """Whether :meth:`look_again` must be called after each optimizer step."""
    samples: ClassVar[int] = 1
    """Independent batches the method's guarantee asks for; with fewer, one batch stands in for the others."""

    def __init__(self, *, tasks: Sequence[str] | None = None, seed: int | None = None) -> None:
        super().__init__()
        if tasks is not None and len(set(tasks)) < len(tasks):
            raise OptionError(f"two tasks of {list(tasks)} have the same name: give each task its own")
        self.tasks = None if tasks is None else tuple(tasks)
        self.task_state = TaskState()
        self.generator = None if seed is None else torch.Generator().manual_seed(seed)
        self.group_names: list[str] = []
        self.group_balancers = nn.ModuleList()
        self.room = Room()  # no part of the state
        self.notes: dict[str, Tensor] = {}
        """What the last decision has to tell observers besides its weights (``projected``: bool ``[m, m]``, task i's
        gradient lost its part along task j's; ``weights``: ``[m]``, where a method on gradients has them); never part
        of the state."""

    def group(self, name: str) -> Balancer:
        """The balancer that decides for one group of parameters: a copy of this one, with a state of its own.

        Made when first asked for, saved and loaded with this one; its generator starts from a seed of its own.
        """
        if name not in self.group_names:
            alone = copy.deepcopy(self)
            alone.group_names, alone.group_balancers = [], nn.ModuleList()
            if alone.generator is not None:
                alone.generator.manual_seed(alone.generator.initial_seed() + 1 + len(self.group_names))
            self.group_names.append(name)
            self.group_balancers.append(alone)
        found: Balancer = self.group_balancers[self.group_names.index(name)]  # type: ignore[assignment]
        return found

    def end_epoch(self) -> None:
        """Told at the end of each epoch; :func:`sharewise.fit` does it. Passed on to the balancers of groups, so a
        method that overrides this calls ``super().end_epoch()``."""
        for name in self.group_names:
            self.group(name).end_epoch()

    def look_again(self, losses: Mapping[str, Tensor]) -> None:
        """Told the losses of the same batch after the optimizer step, where ``looks_again``; ``fit`` does it."""
        raise NotImplementedError

    def aggregate(self, rows: Tensor, losses: Tensor | None = None, *, names: Sequence[str] | None = None) -> Tensor:
        """The direction ``[n]`` this balancer makes of gradient rows ``[m, n]`` (m >= 1), in the rows' dtype.

        Args:
            rows: one gradient a task; lent, for the next step writes to the same memory.
            losses: ``[m]``; ones if not given.
            names: the tasks' names, which key all state; "0", "1", ... if not given.

        Raises :class:`BalanceError` for names that repeat or that the balancer was not built for.
        """
        raise NotImplementedError

    def check_names(self, count: int, names: Sequence[str] | None = None) -> tuple[str, ...]:
        """``names`` checked, or "0", "1", ... for ``count`` tasks."""
        chosen = tuple(str(i) for i in range(count)) if names is None else tuple(names)
        if len(chosen) != count or len(set(chosen)) < count:
            raise BalanceError(f"{count} tasks need {count} different names, got {list(chosen)}")
        if self.tasks is not None:
            for name in chosen:
                if name not in self.tasks:
                    raise BalanceError(
                        f'task "{name}" is not one {type(self).__name__} was built for ({len(self.tasks)} tasks): '
                        f"{nearest(name, self.tasks)}; build it with all of them: tasks=[...]"
                    )
        return chosen

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Balancer:
        super()._apply(fn, recurse)
        self.task_state.to(fn(torch.empty(0)).device)
        return self

    def _own_state(self) -> dict[str, Tensor]:
        """What is saved beside parameters and buffers; keys as in the state_dict, without prefix."""
        own = {f"task_state.{field}": value for field, value in self.task_state.tensors.items()}
        own["task_state.names"] = encode_names(self.task_state.names)
        if self.generator is not None:
            own["generator"] = self.generator.get_state()
        if self.group_names:
            own["group_names"] = encode_names(self.group_names)
        return own

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination.update({prefix + key: value.clone() for key, value in self._own_state().items()})

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        for name in decode_names(state_dict[prefix + "group_names"]) if prefix + "group_names" in state_dict else ():
            self.group(name)
        found = {}
        for key in self._own_state():
            if prefix + key in state_dict:
                found[key] = state_dict.pop(prefix + key)
            else:
                missing_keys.append(prefix + key)
        self._take(found)
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )

    def _take(self, own: dict[str, Tensor]) -> None:
        if "task_state.names" in own:
            fields = {k.removeprefix("task_state."): v for k, v in own.items() if k.startswith("task_state.")}
            self.task_state.restore(decode_names(fields.pop("names")), fields)
        if "generator" in own and self.generator is not None:
            self.generator.set_state(own["generator"].cpu())


class LossBalancer(Balancer):
    """Weights from the losses alone: one backward pass of the weighted sum."""

    needs: ClassVar[Needs] = "losses"

    def weights(self, losses: Tensor, *, names: Sequence[str] | None = None) -> Tensor:
        """Weights ``[m]`` of the (detached) losses ``[m]``; they may depend on the balancer's own parameters."""
        raise NotImplementedError

    def objective(self, losses: Tensor, weights: Tensor, names: Sequence[str]) -> Tensor:
        """The scalar that is differentiated: the weighted sum, plus a term of the balancer's parameters if any."""
        return (weights * losses).sum()

    def aggregate(self, rows: Tensor, losses: Tensor | None = None, *, names: Sequence[str] | None = None) -> Tensor:
        """See :meth:`Balancer.aggregate`. Cost O(mn)."""
        known = self.check_names(len(rows), names)
        given = rows.new_ones(len(rows)) if losses is None else losses.detach()
        return weighted_sum(self.weights(given, names=known).detach(), rows)


class GramBalancer(Balancer):
    """Weights from the inner products of the gradient rows: the direction is ``weights @ rows``."""

    needs: ClassVar[Needs] = "gram"

    def weights(self, gram: Tensor, losses: Tensor | None = None, *, names: Sequence[str] | None = None) -> Tensor:
        """Weights ``[m]`` (float64) from the Gram matrix ``[m, m]`` (float64, positive semi-definite)."""
        raise NotImplementedError

    def aggregate(self, rows: Tensor, losses: Tensor | None = None, *, names: Sequence[str] | None = None) -> Tensor:
        """See :meth:`Balancer.aggregate`. Cost O(m^2 n) for the Gram matrix, besides the decision."""
        known = self.check_names(len(rows), names)
        return weighted_sum(self.weights(gram_matrix([rows]), losses, names=known), rows)


class GradientBalancer(Balancer):
    """A direction that is no linear combination with m weights: needs the rows themselves.

    ``row_state`` keeps rows by task name, for methods that remember gradients; saved with the rest of the state.
    """

    needs: ClassVar[Needs] = "gradients"

    def __init__(self, *, tasks: Sequence[str] | None = None, seed: int | None = None) -> None:
        super().__init__(tasks=tasks, seed=seed)
        self.row_state = RowState()
        self.columns = Columns()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Balancer:
        super()._apply(fn, recurse)
        self.row_state.to(fn(torch.empty(0)).device)
        return self

    def _own_state(self) -> dict[str, Tensor]:
        own = super()._own_state()
        if self.row_state.tensors:
            own |= {f"row_state.{field}": value for field, value in self.row_state.tensors.items()}
            own["row_state.names"] = encode_names(self.row_state.names)
        return own

    def _take(self, own: dict[str, Tensor]) -> None:
        super()._take(own)
        if "row_state.names" in own:
            fields = {k.removeprefix("row_state."): v for k, v in own.items() if k.startswith("row_state.")}
            self.row_state.restore(decode_names(fields.pop("names")), fields)
            self.columns = Columns(lost=bool(self.row_state.names))


def remembers_rows(balancer: Balancer) -> bool:
    """Whether it keeps gradient rows, whose columns must belong to the same parameters in every step."""
    return isinstance(balancer, GradientBalancer) and bool(balancer.row_state.tensors)
