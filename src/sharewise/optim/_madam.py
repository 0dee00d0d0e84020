"""MAdam: gradients whitened by their curvature at today's weights, before Adam takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from ..balance import Balance, TaskRows
from ..errors import BalanceError, OptionError, nearest
from ._fisher import PIECE, Blocks, Update, pair_place
from ._second_moment import check_decay, memory
from ._wrapper import TaskOptimizer

_MOST = 8
_RAMP = 1000


class MAdam(TaskOptimizer):
    """Divides the balanced gradient by its size under *today's* weights; the optimizer inside then steps as ever.

    Adam divides by a running mean of the squares of past balanced gradients, ``d = sum_i w_i g_i``: by past weights.
    Here the running means are of products of two tasks' gradients, ``F_ij <- b F_ij + (1 - b) g_i g_j`` for all pairs
    i <= j and every entry, with the decay ``b`` of the optimizer's own second moment, and at each step

    ``C = sum_ij w_i w_j F_ij``,  ``.grad <- d / ((1 - r) + r (sqrt(C) + eps))``.

    ``C`` is the running mean that the squares of d would have, had today's weights been used all along. ``r`` rises
    from 0 to 1 over ``ramp_steps``. Parameters that are not balanced (task heads) are left to the optimizer as they
    are, and so is decoupled weight decay. Weights may have any size and sign: only their proportions count.

    Source: Liu et al., "MAdam: Metric-Aware Multi-Objective Adam", 2026 (arXiv 2606.03904), read in the abstract and
    the update equations. Assumed: the linear ramp, uniform pairs, bias correction block by block. Where a balancer has
    no weights, those of the nearest combination of rows with weights >= 0 stand in.

    Args:
        optimizer: one with a second moment: Adam, AdamW, NAdam, RAdam, Adamax, RMSprop, Adagrad, Adadelta, or one whose
            groups have ``betas``.
        tasks: the names of all tasks (C).
        beta2: decay of the blocks; default: that of each parameter group.
        eps: added to the metric; default: that of each group.
        ramp_steps: steps until r is 1; default ``1 / (1 - beta2)`` (1000 for Adagrad).
        pairs: ``"full"`` updates every block each step, from the rows of all tasks. ``"sampled"`` draws one pair of
            tasks a step, asks for their rows alone and updates their three blocks; C is then clamped at 0, for blocks
            of different age need not fit together, and nothing is whitened before every task was drawn once.
        seed: of the generator that draws pairs.
        force: allow more than 8 tasks in full mode.

    Raises :class:`OptionError` for an optimizer without a second moment, weight decay that is added to the gradient,
    and more than 8 tasks without ``force``; :class:`BalanceError` in :meth:`step` for a balance without rows.

    Memory: ``C (C + 1) / 2`` numbers a shared parameter besides the optimizer's own, whatever ``pairs``. Cost of a step
    besides it: ``C (C + 1)`` products and sums an entry, no backward pass (a method on losses takes a pass a row, see
    ``backward``).
    """

    def __init__(
        self,
        optimizer: Optimizer,
        tasks: Sequence[str],
        *,
        beta2: float | None = None,
        eps: float | None = None,
        ramp_steps: int | None = None,
        pairs: Literal["full", "sampled"] = "full",
        seed: int = 0,
        force: bool = False,
    ) -> None:
        super().__init__(optimizer)
        self.tasks = tuple(tasks)
        self.beta2, self.eps, self.ramp_steps, self.pairs = beta2, eps, ramp_steps, pairs
        self.generator = torch.Generator().manual_seed(seed)
        self._check(force)
        self._blocks: dict[Tensor, Blocks] = {}
        self._place = {name: i for i, name in enumerate(self.tasks)}

    def _check(self, force: bool) -> None:
        if isinstance(self.tasks, str) or not self.tasks or len(set(self.tasks)) < len(self.tasks):
            raise OptionError(f"tasks must be different names, at least one, got {list(self.tasks)}")
        if self.pairs not in ("full", "sampled"):
            raise OptionError(f'pairs "{self.pairs}" is not known; {nearest(str(self.pairs), ("full", "sampled"))}')
        if self.beta2 is not None and not 0 <= self.beta2 < 1:
            raise OptionError(f"beta2 must lie in [0, 1), got {self.beta2}")
        if self.eps is not None and not self.eps > 0:
            raise OptionError(f"eps must be above 0, got {self.eps}")
        if self.ramp_steps is not None and (not isinstance(self.ramp_steps, int) or self.ramp_steps < 0):
            raise OptionError(f"ramp_steps must be a whole number of at least 0, got {self.ramp_steps!r}")
        if self.pairs == "full" and len(self.tasks) > _MOST and not force:
            count = len(self.tasks) * (len(self.tasks) + 1) // 2
            raise OptionError(
                f'{len(self.tasks)} tasks need {count} numbers a parameter: take pairs="sampled" for fewer backward '
                "passes (not less memory), or force=True"
            )
        for group in self.param_groups:
            memory(self._innermost, group)
            check_decay(self._innermost, group)

    @property
    def _innermost(self) -> Optimizer:
        inner = self.optimizer
        while isinstance(inner, TaskOptimizer):
            inner = inner.optimizer
        return inner

    def rows(self, names: Sequence[str]) -> list[str]:
        """All tasks, or with ``pairs="sampled"`` two of those present (one, if there is only one)."""
        wanted = super().rows(names)
        chosen = list(names)
        if self.pairs == "sampled":
            chosen = [names[i] for i in torch.randperm(len(names), generator=self.generator)[:2].tolist()]
        return [name for name in names if name in chosen or name in wanted]

    @torch.no_grad()
    def step(self, balance: Balance | None = None) -> None:  # type: ignore[override]
        """Whiten ``.grad`` of the shared parameters, then step; ``balance`` is what ``backward`` returned.

        A skipped step (``balance.names`` is empty) whitens nothing and moves no state of this class.
        """
        if balance is None:
            raise BalanceError("MAdam steps by what backward returned: optimizer.step(balance)")
        for part in balance.groups.values() or [balance]:
            if part.names:
                self._precondition(part)
        self._inner_step(balance)

    def _precondition(self, balance: Balance) -> None:
        rows = balance.rows
        if rows is None:
            raise BalanceError(
                "MAdam needs the tasks' gradients: call backward(..., rows=optimizer.rows(list(losses))) first"
            )
        for name in balance.names:
            if name not in self._place:
                raise BalanceError(f'MAdam was not built for task "{name}": {nearest(name, self.tasks)}')
        weights = self._weights(balance, rows)
        places = tuple(self._place[name] for name in rows.names)
        known = {p: group for group in self.param_groups for p in group["params"]}
        bunch: list[tuple[Tensor, Tensor, Tensor]] = []
        last: Update | None = None
        for p, gradients in rows.parameters():
            if p not in known or p.grad is None:
                continue
            update = self._update(p, known[p], places, weights, [self._place[name] for name in balance.names])
            if last is not None and _alike(update, last):
                update = last  # what it has computed is used again
            elif last is not None:
                last.run(bunch)
                bunch = []
            last = update
            for piece in _pieces(self._blocks[p].values, gradients, p):
                if _full(bunch):
                    update.run(bunch)
                    bunch = []
                bunch.append(piece)
        if last is not None:
            last.run(bunch)

    def _weights(self, balance: Balance, rows: TaskRows) -> Tensor:
        """The weights ``[C]`` of the step, by place; 0 for absent tasks."""
        found, names = balance.weight_vector, balance.names
        if found is None:
            names, found = rows.names, _nearest_weights(rows)
        whole = torch.zeros(len(self.tasks), dtype=torch.promote_types(found.dtype, torch.float32), device=found.device)
        whole[[self._place[name] for name in names]] = found.detach().to(whole)
        return whole

    def _update(
        self, p: Tensor, group: Mapping[str, Any], places: tuple[int, ...], weights: Tensor, present: Sequence[int]
    ) -> Update:
        """What is to be done to a parameter, after counting this step."""
        blocks = self._blocks.setdefault(p, Blocks.empty(p, len(self.tasks)))
        count = len(self.tasks)
        for a, i in enumerate(places):
            for j in places[a:]:
                blocks.seen[pair_place(i, j, count)] += 1
        decay = memory(self._innermost, group) if self.beta2 is None else self.beta2
        ready = all(blocks.seen[pair_place(i, i, count)] for i in present)
        blocks.steps += ready
        ramp = (_RAMP if decay == 1 else round(1 / (1 - decay))) if self.ramp_steps is None else self.ramp_steps
        blend = 1.0 if blocks.steps >= ramp else blocks.steps / ramp
        eps = float(group.get("eps", 1e-8)) if self.eps is None else self.eps
        return Update(places, count, decay, tuple(blocks.seen), weights if ready else None, blend, eps)

    def _own_state(self) -> dict[str, Any]:
        held = {i: self._blocks[p] for i, p in enumerate(self._parameters()) if p in self._blocks}
        return {
            "tasks": list(self.tasks),
            "generator": self.generator.get_state(),
            "blocks": {i: b.values.clone() for i, b in held.items()},
            "seen": {i: list(b.seen) for i, b in held.items()},
            "steps": {i: b.steps for i, b in held.items()},
        }

    def _take_state(self, own: Mapping[str, Any]) -> None:
        if list(own.get("tasks", [])) != list(self.tasks):
            raise OptionError(f"the state is of the tasks {own.get('tasks')}, this MAdam of {list(self.tasks)}")
        parameters = self._parameters()
        for i, values in own["blocks"].items():
            if i >= len(parameters) or values.shape[1:] != parameters[i].shape:
                raise OptionError(f"the state of parameter {i} has another shape: give the same parameters in order")
        self.generator.set_state(own["generator"].cpu())
        self._blocks = {
            parameters[i]: Blocks(values.to(parameters[i].device, copy=True), list(own["seen"][i]), own["steps"][i])
            for i, values in own["blocks"].items()
        }


def _nearest_weights(rows: TaskRows) -> Tensor:
    """Weights >= 0 ``[k]`` (float64) of the combination of rows that is nearest to ``.grad``."""
    gram = rows.gram()
    wanted = rows.inner([torch.zeros_like(p) if p.grad is None else p.grad for p, _ in rows.parameters()])
    return (torch.linalg.pinv(gram, hermitian=True) @ wanted.to(gram)).clamp_min(0)


def _pieces(blocks: Tensor, rows: Tensor, p: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Blocks, rows and gradient of a parameter, cut to pieces that stay in the CPU's cache."""
    assert p.grad is not None
    if not p.grad.is_contiguous():
        p.grad = p.grad.contiguous()
    flat = blocks.flatten(1), rows.to(blocks.dtype).flatten(1), p.grad.view(-1)
    if p.device.type != "cpu" or p.numel() <= PIECE:
        return [flat]
    return list(zip(*(t.split(PIECE, dim=-1) for t in flat), strict=True))


def _full(bunch: Sequence[tuple[Tensor, Tensor, Tensor]]) -> bool:
    return bool(bunch) and bunch[0][2].device.type == "cpu" and sum(g.numel() for _, _, g in bunch) >= PIECE


def _alike(one: Update, two: Update) -> bool:
    """Whether two parameters go into one bunch."""
    return one.weights is two.weights and (one.seen, one.decay, one.blend, one.eps) == (
        two.seen,
        two.decay,
        two.blend,
        two.eps,
    )
