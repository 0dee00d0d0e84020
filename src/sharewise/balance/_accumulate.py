"""One decision for the gradients of one or several batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..errors import BalanceError
from . import _checks as checks
from ._balance import Balance
from ._balancer import Balancer, GradientBalancer, GramBalancer, LossBalancer, remembers_rows
from ._gram import full_precision
from ._part import Part, Present
from ._passes import Taken, is_one, seed
from ._reducer import Reducer
from ._rows import Rows, add_gradients
from ._shared import Parameters, Shared
from ._take import MODES, choose_mode, take_rows
from ._task_rows import TaskRows, Wanted, check_wanted, wanted_names


class Accumulation:
    """A step over several batches: rows are added up, the balancer decides once, ``.grad`` is filled once.

    For each batch call :meth:`add`, at last :meth:`resolve`; :func:`sharewise.backward` is this for a single batch,
    and its arguments are the same. Decided on are the means over ``batches``, as if the batches were one: a task
    without labels in a batch counts as zero there. Methods on losses weigh each batch by itself, and fill ``.grad``
    with each.

    Args:
        balancer: see :func:`sharewise.balance.create`.
        batches: how many will be added; the ``gram`` mode chooses by it which rows to form.
        rows: see :func:`sharewise.backward`; kept are the means over batches, and their Gram matrices of each batch.

    Memory: that of one batch where rows are formed; where they are kept as products, ``batches`` times that of one
    (which is less than forming them). With a representation the graphs of all batches are kept.
    """

    def __init__(
        self,
        balancer: Balancer,
        *,
        batches: int = 1,
        shared: Parameters | Mapping[str, Parameters] | None = None,
        mode: str = "auto",
        reducer: Reducer | None = None,
        on_nonfinite: str = "raise",
        scale: float | Tensor = 1.0,
        rows: Wanted = False,
    ) -> None:
        checks.check_balancer(balancer)
        checks.check_option("mode", mode, MODES)
        checks.check_option("on_nonfinite", on_nonfinite, checks.NONFINITE)
        checks.check_batches(batches)
        self.balancer, self.batches, self.mode = balancer, batches, mode
        self.reducer, self.on_nonfinite, self.scale, self.rows = reducer, on_nonfinite, scale, rows
        self.shared = Shared.of(shared)
        self._begin()

    def _begin(self) -> None:
        self._added = 0
        self._parts: list[Part | None] = []  # one for each sample of a batch
        self._weighted: list[Balance] = []
        self._skipped: dict[str, None] = {}
        self._within: list[tuple[tuple[str, ...], Tensor]] = []  # where rows are kept, the Gram matrix of each batch

    def add(
        self,
        losses: Mapping[str, Tensor] | Sequence[Mapping[str, Tensor]],
        *,
        representation: Tensor | Sequence[Tensor] | None = None,
    ) -> None:
        """Differentiate the losses of a batch; arguments and errors are those of :func:`sharewise.backward`."""
        samples = checks.check_samples(losses, self.balancer)
        if self._added == self.batches:
            raise BalanceError(f"all {self.batches} batches announced were added: call resolve() before one more")
        parts: list[Part | None] = []
        for last, sample in zip([*[False] * (len(samples) - 1), True], samples, strict=True):
            present = Present.of(sample, self.reducer)
            if self.rows and self.batches == 1:  # over several, a task may be in some only
                check_wanted(self.rows, present.names, representation)
            self.balancer.check_names(len(present.names), present.names)
            if self.on_nonfinite != "ignore":
                present = present.without(checks.not_finite(present.values), self.on_nonfinite)
                self._skipped |= dict.fromkeys(present.skipped)
            if isinstance(self.balancer, LossBalancer):
                if self.rows and present.names:
                    wanted = present.select(wanted_names(self.rows, present.names))
                    parts.append(self._differentiate(wanted, representation, last=False, keep=True))
                self._weighted.append(self._weigh(self.balancer, present))
            else:
                parts.append(self._differentiate(present, representation, last))
        if self.rows and self.batches > 1 and parts and (part := parts[-1]) is not None:
            self._within.append((part.names, part.rows.gram() / self.scale**2))
        self._added += 1
        if self._added == 1:
            self._parts = parts
        else:
            join = representation is not None
            pairs = zip(self._parts, parts, strict=True)
            self._parts = [b if a is None else a if b is None else a.plus(b, join=join) for a, b in pairs]

    def resolve(self) -> Balance:
        """Decide, fill ``.grad``, and be ready for another step; see :func:`sharewise.backward`."""
        if self._added < self.batches:
            raise BalanceError(f"{self.batches} batches were announced and {self._added} added: add the others first")
        parts, weighted, skipped = self._parts, self._weighted, tuple(self._skipped)
        self._singly = self._within
        self._begin()
        if weighted:
            balance, part = _mean_balance(weighted, skipped), parts[-1] if parts else None
            return balance if part is None else self._with_rows(balance, part)
        names = [n for n in parts[-1].names if n not in skipped] if parts[-1] is not None else []
        if not names or (skipped and self.on_nonfinite == "skip step"):
            return Balance((), torch.zeros(()), skipped=skipped)
        ready = [self._ready(part, names) for part in parts if part is not None]
        balance = self._decide(ready, skipped)
        if not self.rows:  # else they stay with who asked for them
            blocks = [block for part in parts if part is not None for block in part.rows.blocks]
            self.balancer.room.put_back(blocks)
        return balance

    def _weigh(self, balancer: LossBalancer, present: Present) -> Balance:
        if not present.names:
            return Balance((), present.values.new_zeros(()))
        weights = balancer.weights(present.values, names=present.names)
        stacked = torch.stack([loss.to(present.values) for loss in present.losses])
        objective = balancer.objective(stacked, weights, present.names)
        objective.backward(seed(objective, self.scale if self.batches == 1 else self.scale / self.batches))
        weights = weights.detach()
        return Balance(present.names, (weights * present.values).sum(), weights, notes=dict(balancer.notes))

    def _differentiate(
        self, present: Present, representation: Tensor | Sequence[Tensor] | None, last: bool, keep: bool = False
    ) -> Part | None:
        """Rows of one sample; the last one's own gradients are the ones to keep."""
        if not present.names:
            return None
        checks.check_processes(self.reducer)
        mode = choose_mode(self.mode, self.balancer.needs, self.reducer, representation)
        taken = self._take(present, representation, mode, keep)
        look = mode == "batched" and self.on_nonfinite != "ignore"
        if look and not all(taken.rows.finite(t) for t in range(len(present.names))):
            # Zero times NaN is NaN: vectorised, one bad task spoils the rows of all; only a loop tells whose it is.
            taken = self._take(present, representation, "loop", keep)
        checks.check_reached(present.names, taken.reached)
        own = taken.own if last else [[] for _ in present.names]
        return Part(present.names, present.values, taken.rows, own)

    def _take(self, present: Present, representation: Tensor | Sequence[Tensor] | None, mode: str, keep: bool) -> Taken:
        return take_rows(
            present.losses,
            self.shared.parameters,
            representation,
            mode=mode,
            labels=self.shared.labels,
            batches=self.batches,
            scale=self.scale,
            keep=keep,
            room=self.balancer.room,
            arrange=self._arrange,
        )

    def _arrange(self, targets: list[Tensor]) -> list[Tensor]:
        """Columns of rows that are remembered belong to the same parameters in every step."""
        if targets and isinstance(self.balancer, GradientBalancer) and remembers_rows(self.balancer):
            return self.balancer.columns.arrange(targets, self.shared)
        return targets

    def _ready(self, part: Part, names: Sequence[str]) -> Part:
        """The tasks left, averaged over batches and processes."""
        chosen = part.select(names).mean(self.batches)
        if self.reducer is not None:
            chosen.rows.reduce(self.reducer)
        return chosen

    def _decide(self, samples: list[Part], skipped: tuple[str, ...]) -> Balance:
        part = samples[-1]
        gram = part.rows.gram() / self.scale**2
        if self.on_nonfinite != "ignore":
            bad = [part.names[t] for t in checks.not_finite(gram.diagonal()) if not part.rows.finite(t)]
            if bad and self.on_nonfinite == "raise":
                raise checks.refuse(bad, "the gradient")
            if bad:
                skipped = (*skipped, *bad)
                left = [] if self.on_nonfinite == "skip step" else [n for n in part.names if n not in bad]
                if not left:
                    return Balance((), part.values.new_zeros(()), skipped=skipped)
                return self._decide([p.select(left) for p in samples], skipped)
        with full_precision(gram):
            return self._fill(samples, gram, skipped)

    def _fill(self, samples: list[Part], gram: Tensor, skipped: tuple[str, ...]) -> Balance:
        part = samples[-1]
        groups = self.shared.groups(part.rows.targets)
        all_rows = [p.rows for p in samples]
        if not groups:
            balance, gradients = self._direction(self.balancer, all_rows, gram, part)
        else:
            gradients, found = {}, {}
            for name, places in groups.items():
                cut = [rows.part(places) for rows in all_rows]
                alone = cut[-1].gram() / self.scale**2
                found[name], more = self._direction(self.balancer.group(name), cut, alone, part)
                gradients |= more
            balance = Balance(part.names, part.values.sum(), None, gram, groups=found)
        balance.skipped = skipped
        if self.rows:
            balance.rows = None if groups else self._kept(part, part.rows, gram)
            for name, places in groups.items():
                balance.groups[name].rows = self._kept(part, part.rows.part(places), gram)
        part.rows.deposit(gradients)
        for pairs in part.own:
            add_gradients(pairs)
        return balance

    def _direction(
        self, balancer: Balancer, samples: list[Rows], gram: Tensor, part: Part
    ) -> tuple[Balance, dict[int, Tensor]]:
        """What one balancer decides for these rows: the outcome, and the gradients by position."""
        rows, names, values = samples[-1], part.names, part.values
        if isinstance(balancer, GramBalancer):
            cross = gram if len(samples) == 1 else samples[0].gram(samples[1]) / self.scale**2
            weights = balancer.weights(cross, values, names=names).detach()
            total = (weights.to(values) * values).sum()
            return Balance(names, total, weights, gram, notes=dict(balancer.notes)), rows.combine(weights)
        whole = rows.matrix()
        matrix = whole if is_one(self.scale) else whole / self.scale if self.rows else whole.div_(self.scale)
        gradients = rows.cut(balancer.aggregate(matrix, values, names=names) * self.scale)
        weighed = balancer.notes.get("weights")  # of methods that weigh rows, or what they remember of them
        total = values.sum() if weighed is None else (weighed.to(values) * values).sum()
        return Balance(names, total, weighed, gram, notes=dict(balancer.notes)), gradients

    def _with_rows(self, balance: Balance, part: Part) -> Balance:
        """The outcome of a method on losses, with the rows that were taken besides."""
        ready = self._ready(part, part.names)
        gram = ready.rows.gram() / self.scale**2
        balance.rows = self._kept(ready, ready.rows, gram)
        balance.gram = gram if ready.names == balance.names else None
        return balance

    def _kept(self, part: Part, rows: Rows, gram: Tensor) -> TaskRows:
        """The rows of the tasks that were asked for; an overflow, which a loss scaler waits for, is left out."""
        bad = checks.not_finite(gram.diagonal()) if self.on_nonfinite == "ignore" else []
        wanted = wanted_names(self.rows, part.names)
        places = tuple(i for i, name in enumerate(part.names) if name in wanted and i not in bad)
        names = tuple(part.names[i] for i in places)
        known = bool(self._singly) and all(n == part.names for n, _ in self._singly)
        total = torch.stack([g for _, g in self._singly]).sum(0)[list(places)][:, list(places)] if known else None
        return TaskRows(names, rows, places, self.scale, self.batches, None if self.shared.labels else total)


def _mean_balance(found: list[Balance], skipped: tuple[str, ...]) -> Balance:
    """The outcome of batches that were weighed one by one: weights are means over the batches with the task."""
    if len(found) == 1:
        found[0].skipped = skipped
        return found[0]
    names = tuple(dict.fromkeys(n for b in found for n in b.names))
    loss = torch.stack([b.loss for b in found]).mean()
    if not names:
        return Balance((), loss, skipped=skipped)
    weights = [torch.stack([b.weights[n] for b in found if n in b.weights]).mean() for n in names]
    return Balance(names, loss, torch.stack(weights), skipped=skipped, notes=found[-1].notes)
