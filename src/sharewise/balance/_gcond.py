"""GCond: accumulate the gradients first, then resolve their conflicts, the worst first, with a winner and a loser."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from ._arbitration import ZONES, Decision, Scores, in_rows, resolve
from ._balancer import GradientBalancer
from ._gcond_memory import FIELD, remember, settled, stability, usual
from ._gcond_options import as_thresholds, check_options
from ._gram import gram_matrix, weighted_sum


class GCond(GradientBalancer):
    """Accumulates gradients over batches, then changes the pairs that conflict, the most severe first, and sums.

    For the pair with the smallest cosine ``c < weak`` an arbitrator names a winner w and a loser l, and both are
    changed at once: ``g_w -= s_w <g_w, g_l> / |g_l|^2 g_l`` and ``g_l -= s_l <g_w, g_l> / |g_w|^2 g_w``. Mild conflict
    (``c >= main``): ``s_w = s_l``, fading to 0 at ``weak``. Moderate: ``s_l = 1``, and ``s_w`` falls from 1 to 0.
    Critical (``c <= critical``): the loser alone, fully. Then the next pair, at most ``changes`` times. The winner has
    the larger ``a max(0, cos(g_i, g_i of the step before)) + b r_i / (r_i + r_j)`` with ``arbitration=(a, b)``; ``r``
    is a gradient's norm over its running mean, which starts at 1. A tie goes to the first.

    With ``accumulate=1`` each call decides. With ``accumulate=K`` rows are added up: K - 1 calls give zeros, every Kth
    the direction for all tasks seen in the K, so step the optimizer after every Kth. As in all accumulation, divide
    each loss by the number of calls its task is in: K, or fewer where a call brings one task alone, whose graph is
    then freed at once.

    Decided on the Gram matrix and m products with the last gradients: O(m^2 n). Memory: a matrix ``[m, n]`` for them
    (none with ``arbitration=(0, 1)``), and one for sums if ``accumulate > 1``.

    Source: Limarenko et al., "GCond: Gradient Conflict Resolution via Accumulation-based Stabilization for Large-Scale
    Multi-Task Learning", IEEE Access 2026 (arXiv 2509.07252). Different: sums and last gradients are kept in float32,
    not bfloat16, in which sums lose small terms; a gradient counts as zero against its own length, not a constant;
    scores come from the accumulated gradients, not from those half resolved. The paper's momentum goes with any method
    and stands apart: :class:`sharewise.optim.GradientMomentum`.

    Args:
        accumulate: calls to a decision, K.
        thresholds: ``(critical, main, weak)``, cosines that do not fall; may be set anew between steps.
        power: of the winner's fall in moderate conflicts, above 0. Larger: later and steeper.
        changes: most changes of a pair in a step; ``None``: 2 m, as in the authors' code (3 in the paper).
        arbitration: weights of stability and strength.
        window: after so many wins in a row a task loses its next conflict; 0: never.
        norm_cap: gradients longer than this are shortened to it; ``None``: none are.
        previous: what stability compares with: the ``"raw"`` gradient of the step before or, as in the authors' code,
            the ``"resolved"`` one.
        zones: ``"smooth"``, or ``"stepped"``, the earlier form: the loser is dropped in critical conflicts, projected
            alone in moderate ones, and both are projected fully in mild ones, without arbitration.
        tasks: see :class:`Balancer`.

    Raises :class:`OptionError` for options out of range.
    """

    calls: Tensor

    def __init__(
        self,
        *,
        accumulate: int = 1,
        thresholds: Sequence[float] = (-0.8, -0.5, 0.0),
        power: float = 2.0,
        changes: int | None = None,
        arbitration: tuple[float, float] = (0.8, 0.2),
        window: int = 0,
        norm_cap: float | None = None,
        previous: Literal["raw", "resolved"] = "raw",
        zones: Literal["smooth", "stepped"] = "smooth",
        tasks: Sequence[str] | None = None,
    ) -> None:
        super().__init__(tasks=tasks)
        check_options(accumulate, power, changes, arbitration, window, norm_cap, previous, zones)
        self.accumulate, self.power, self.changes, self.window = accumulate, power, changes, window
        self.arbitration, self.norm_cap, self.previous, self.zones = arbitration, norm_cap, previous, zones
        self.thresholds = thresholds
        self.decision: Decision | None = None
        """How the last step was decided; not part of the state."""
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        for field, initial in (("norm", 1.0), ("streak", 0.0), ("seen", 0.0)):
            self.task_state.declare(field, initial)
        for field, needed in (("sum", accumulate > 1), (FIELD, arbitration[0] > 0)):
            if needed:
                self.row_state.declare(field)

    @property
    def thresholds(self) -> Sequence[float]:
        """``(critical, main, weak)``."""
        return self._thresholds

    @thresholds.setter
    def thresholds(self, values: Sequence[float]) -> None:
        self._thresholds = as_thresholds(values)

    def aggregate(self, rows: Tensor, losses: Tensor | None = None, *, names: Sequence[str] | None = None) -> Tensor:
        """The direction ``[n]``, or zeros where more calls are to come."""
        known, self.notes = self.check_names(len(rows), names), {}
        if self.row_state.tensors:
            self.row_state.admit(known, rows)
        if self.accumulate == 1:
            return self._decide(known, rows)
        for columns, total in self.row_state.pieces("sum", known):
            total += rows[:, columns].to(total)
        self.task_state.write("seen", known, torch.ones(len(known)))
        self.calls += 1
        if int(self.calls) < self.accumulate:
            return torch.zeros_like(rows[0])
        self.calls.zero_()
        sums = self.row_state.tensors["sum"]
        seen = self.task_state.read("seen", self.row_state.names).bool().to(sums.device)
        present = tuple(name for name, here in zip(self.row_state.names, seen.tolist(), strict=True) if here)
        direction = self._decide(present, sums if bool(seen.all()) else sums[seen]).to(rows)
        sums.zero_()
        self.task_state.tensors["seen"].zero_()
        if present != known:
            self.notes = {}  # observers read them in the order of this call's tasks
        return direction

    def _decide(self, names: tuple[str, ...], rows: Tensor) -> Tensor:
        """The direction for the accumulated gradients ``rows``."""
        gram = gram_matrix([rows]).cpu()
        norms = gram.diagonal().sqrt()
        if not bool(norms.isfinite().all()):  # it must reach the loss scaler, and nothing of it the state
            return weighted_sum(torch.ones(len(names)), rows)
        mean = usual(self.task_state, names, norms)
        kept = torch.ones_like(norms) if self.norm_cap is None else (self.norm_cap / norms).clamp_max(1.0)
        stable = stability(self.row_state, names, rows, keep=self.previous == "raw")
        scores = Scores(self.arbitration, stable.clamp_min(0).tolist(), (kept * norms / mean).tolist())
        inverse = torch.where(norms > 0, 1 / norms, 0.0)
        cosines = (gram * inverse * inverse[:, None]).clamp(-1, 1)
        change = partial(ZONES[self.zones], thresholds=self._thresholds, power=self.power)
        most = 2 * len(names) if self.changes is None else self.changes
        found = resolve(cosines, self._thresholds.weak, most, partial(self._choose, names, scores), change)
        resolved = in_rows(found.coefficients, norms) * kept[:, None]
        if self.previous == "resolved":
            remember(self.row_state, names, resolved, rows)
        self.decision = Decision(names, cosines, resolved.sum(0), found.won, found.lost, stable)
        self.notes = {"projected": found.lost, "won": found.won, "stability": stable}
        return weighted_sum(resolved.sum(0), rows)

    def _choose(self, names: Sequence[str], scores: Scores, i: int, j: int, cosine: float) -> tuple[int, int]:
        """Winner and loser among the tasks at i and j."""
        if self.zones == "stepped" and cosine >= self._thresholds.main:
            return i, j  # both are projected alike: nobody wins
        return settled(self.task_state, names, (i, j), scores.lead(i, j), self.window)
