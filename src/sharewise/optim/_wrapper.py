"""Optimizers around an optimizer: same parameter groups, same schedulers, one state to save."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from ..balance import Balance
from ..errors import OptionError


class TaskOptimizer(Optimizer):
    """An optimizer that does something to the gradients of a balanced step before another one takes it.

    It *is* a :class:`torch.optim.Optimizer` with the parameter groups of the one inside, so learning-rate schedulers,
    ``GradScaler`` and gradient clipping work as ever. It may be put around another of its kind. Derived:
    :class:`MAdam`, :class:`SAM`, :class:`SAGE`.

    A step, with any of them::

        balance = sw.backward(losses, balancer, rows=optimizer.rows(list(losses)))
        optimizer.step(balance)  # or scaler.step(optimizer, balance)

    and, where :attr:`two_pass`, before it a first backward pass and ``backward`` within :meth:`perturbed`.

    Raises :class:`OptionError` for anything but an optimizer.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise OptionError(
                f"{type(self).__name__} goes around an optimizer, got {type(optimizer).__name__}: build that first, "
                f"{type(self).__name__}(torch.optim.AdamW(model.parameters()))"
            )
        self.optimizer = optimizer
        super().__init__(optimizer.param_groups, optimizer.defaults)
        self._link()

    def _link(self) -> None:
        """One list of groups and one state for both."""
        self.optimizer.param_groups, self.state = self.param_groups, self.optimizer.state

    @property
    def two_pass(self) -> bool:
        """Whether a step needs gradients at two places."""
        return isinstance(self.optimizer, TaskOptimizer) and self.optimizer.two_pass

    def rows(self, names: Sequence[str]) -> list[str]:
        """The tasks of this step whose gradient rows are needed: for ``backward(..., rows=...)``; call once a step."""
        return self.optimizer.rows(names) if isinstance(self.optimizer, TaskOptimizer) else []

    @contextmanager
    def perturbed(self, model: nn.Module | None = None) -> Iterator[None]:
        """Within: the parameters are where the second gradient is to be taken; see :class:`SAM`."""
        if not isinstance(self.optimizer, TaskOptimizer):
            yield
            return
        with self.optimizer.perturbed(model):
            yield

    def step(self, balance: Balance | None = None) -> None:  # type: ignore[override]
        """Take the step of the gradients in ``.grad``; ``balance`` is what ``backward`` returned."""
        raise NotImplementedError

    def _inner_step(self, balance: Balance | None) -> None:
        if isinstance(self.optimizer, TaskOptimizer):
            self.optimizer.step(balance)
        else:
            self.optimizer.step()

    def _parameters(self) -> list[Tensor]:
        """All parameters, in the order that keys the state."""
        return [p for group in self.param_groups for p in group["params"]]

    def _own_state(self) -> dict[str, Any]:
        """What is saved besides the state of the optimizer inside: tensors, numbers, strings and nests of them."""
        return {}

    def _take_state(self, own: Mapping[str, Any]) -> None:
        """Take back what :meth:`_own_state` gave."""

    def state_dict(self) -> dict[str, Any]:
        """That of the optimizer inside, and under ``"sharewise"`` what this one remembers."""
        inner = self.optimizer.state_dict()
        nested = {"inner": inner.pop("sharewise")} if "sharewise" in inner else {}
        return {**inner, "sharewise": {**self._own_state(), **nested}}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`, bit for bit; raises :class:`OptionError` for another optimizer's state."""
        inner = dict(state_dict)
        own = inner.pop("sharewise", None)
        if own is None or ("inner" in own) != isinstance(self.optimizer, TaskOptimizer):
            raise OptionError(
                f"the state is not one of {type(self).__name__} around {type(self.optimizer).__name__}: "
                "load it into the optimizer it was saved from"
            )
        own = dict(own)
        if "inner" in own:
            inner["sharewise"] = own.pop("inner")
        self._take_state(own)
        self.optimizer.load_state_dict(inner)
        self.param_groups = self.optimizer.param_groups
        self._link()
