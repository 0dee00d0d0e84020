"""Sharpness-aware minimisation, closure-free, for any optimizer and any balancer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..balance import Balance
from ..errors import BalanceError, ModelError, OptionError, nearest
from ._perturb import gradient_steps, moved
from ._wrapper import TaskOptimizer


def check_size(name: str, value: float) -> float:
    """A finite number >= 0, or :class:`OptionError`."""
    if not (math.isfinite(value) and value >= 0):
        raise OptionError(f"{name} must be a finite number >= 0, got {value}")
    return float(value)


class SAM(TaskOptimizer):
    """Steps by the gradient at ``theta + rho g / |g|``, the worst place nearby, instead of that at ``theta``.

    A step is two forward and backward passes on the same batch::

        sum(losses(batch).values()).backward()      # the ascent follows the plain sum: no balancer decides here
        with optimizer.perturbed(model):            # .grad is cleared, parameters moved, buffers of the model kept
            balance = sw.backward(losses(batch), balancer)
        optimizer.step(balance)                     # parameters are back, exactly

    which is what :func:`two_pass_step` does, and ``fit``. With the balancer inside, it decides once a step, by the
    gradients that are stepped by.

    Source: Foret et al., "Sharpness-Aware Minimization for Efficiently Improving Generalization", ICLR 2021, algorithm
    1 and equation 2. The norm is over all parameters together.

    Args:
        optimizer: takes the step.
        rho: radius; 0 is the optimizer alone, in one pass.
        adaptive: the ascent in proportion to the size of each entry (ASAM); ``rho`` is then about ten times as large.

    Raises :class:`OptionError` for a radius that is negative or not finite. Memory: a copy of the parameters within
    :meth:`perturbed`.
    """

    def __init__(self, optimizer: Optimizer, *, rho: float = 0.05, adaptive: bool = False) -> None:
        super().__init__(optimizer)
        self.rho, self.adaptive = check_size("rho", rho), adaptive

    @property
    def two_pass(self) -> bool:
        """Unless the radius is 0."""
        return self.rho > 0 or super().two_pass

    @contextmanager
    def perturbed(self, model: nn.Module | None = None) -> Iterator[None]:
        """Within: parameters are moved along ``.grad``, which is cleared. ``model``: its buffers are kept as they are.

        Nothing happens for a radius of 0.
        """
        if self.rho == 0:
            with super().perturbed(model):
                yield
            return
        with torch.no_grad():
            steps = self._ascent()
        self.zero_grad()
        with moved(steps, model):
            yield

    def _ascent(self) -> list[tuple[Tensor, Tensor]]:
        return gradient_steps(self._parameters(), self.rho, self.adaptive)

    def step(self, balance: Balance | None = None) -> None:  # type: ignore[override]
        """Step by what is in ``.grad``."""
        self._inner_step(balance)


class GroupSAM(TaskOptimizer):
    """SAM group by group: each group of parameters steps by its gradient at a point where it alone was moved.

    With G groups (say, shared and task-specific parameters) a step is 1 + G passes on the same batch::

        loss(batch).backward()
        for group in optimizer.groups:
            with optimizer.perturbed_group(group, model):
                loss(batch).backward()              # only the gradient of this group is kept
        optimizer.step()

    Parameters in no group keep the gradient of the first pass.

    Source: as used by Yu et al. (FedRecGEL, WWW 2026) for shared and client parameters, read in the authors' code.

    Args:
        optimizer: takes the step.
        groups: name -> its parameters, or a module.
        rho: radius, one for all or one a group; a group with 0 is passed at the point itself.

    Raises :class:`ModelError` for a parameter in two groups, :class:`OptionError` for radii of unknown groups;
    :class:`BalanceError` in :meth:`step` where a group was not passed. Memory: a copy of the group's parameters and
    the gradients.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        groups: Mapping[str, Iterable[Tensor] | nn.Module],
        *,
        rho: float | Mapping[str, float] = 0.05,
    ) -> None:
        super().__init__(optimizer)
        self.groups = {n: list(g.parameters() if isinstance(g, nn.Module) else g) for n, g in groups.items()}
        places = [id(p) for group in self.groups.values() for p in group]
        if len(set(places)) < len(places) or not places:
            raise ModelError("every group needs parameters, and each parameter belongs to one group at most")
        radii = rho if isinstance(rho, Mapping) else dict.fromkeys(self.groups, rho)
        for name in radii:
            if name not in self.groups:
                raise OptionError(f'rho names group "{name}"; {nearest(name, self.groups)}')
        if missing := [name for name in self.groups if name not in radii]:
            raise OptionError(f'rho has no radius for group "{missing[0]}": give one for each group')
        self.rho = {name: check_size(f'rho of group "{name}"', radii[name]) for name in self.groups}
        self._first: list[tuple[Tensor, Tensor | None]] = []
        self._kept: dict[str, list[Tensor | None]] = {}

    @contextmanager
    def perturbed_group(self, name: str, model: nn.Module | None = None) -> Iterator[None]:
        """Within: the group is moved along its gradient of the first pass, ``.grad`` is cleared; see :class:`SAM`."""
        if name not in self.groups:
            raise OptionError(f'no group is called "{name}"; {nearest(name, self.groups)}')
        if not self._first:
            self._first = [(p, p.grad) for p in self._parameters()]
        for p, gradient in self._first:
            p.grad = gradient
        with torch.no_grad():
            steps = gradient_steps(self.groups[name], self.rho[name])
        self.zero_grad()
        with moved(steps, model):
            yield
        self._kept[name] = [p.grad for p in self.groups[name]]

    def step(self, balance: Balance | None = None) -> None:  # type: ignore[override]
        """Put each group's gradient in place, and step."""
        if missing := [name for name in self.groups if name not in self._kept]:
            raise BalanceError(
                f'group "{missing[0]}" has no gradient: run a pass within perturbed_group("{missing[0]}") first'
            )
        for p, gradient in self._first:
            p.grad = gradient
        for name, gradients in self._kept.items():
            for p, gradient in zip(self.groups[name], gradients, strict=True):
                p.grad = gradient
        self._first, self._kept = [], {}
        self._inner_step(balance)
