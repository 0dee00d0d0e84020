"""GCond: accumulate the gradients first, then resolve their conflicts, the worst first, with a winner and a loser."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from ..errors import OptionError
from ._arbitration import ZONES, Decision, Scores, Thresholds, in_rows, resolve
from ._balancer import GradientBalancer
from ._gram import gram_matrix, weighted_sum

_MEMORY = 0.95  # of the running mean of norms


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
        for good, what in (
            (accumulate >= 1, f"accumulate must be at least 1 call, got {accumulate}"),
            (power > 0, f"power must be above 0, got {power}"),
            (changes is None or changes >= 1, f"changes must be at least 1, or None for 2 m, got {changes}"),
            (_weights(arbitration), f"arbitration must be two weights, none negative, one above 0, got {arbitration}"),
            (window >= 0, f"window must be a number of wins, or 0 for never, got {window}"),
            (norm_cap is None or norm_cap > 0, f"norm_cap must be above 0, or None for no cap, got {norm_cap}"),
            (previous in ("raw", "resolved"), f'previous must be "raw" or "resolved", got "{previous}"'),
            (zones in ZONES, f'zones must be "smooth" or "stepped", got "{zones}"'),
        ):  # fmt: skip
            if not good:
                raise OptionError(what)
        self.accumulate, self.power, self.changes, self.window = accumulate, power, changes, window
        self.arbitration, self.norm_cap, self.previous, self.zones = arbitration, norm_cap, previous, zones
        self.thresholds = thresholds
        self.decision: Decision | None = None
        """How the last step was decided; not part of the state."""
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        for field, initial in (("norm", 1.0), ("streak", 0.0), ("seen", 0.0)):
            self.task_state.declare(field, initial)
        for field, needed in (("sum", accumulate > 1), ("last", arbitration[0] > 0)):
            if needed:
                self.row_state.declare(field)

    @property
    def thresholds(self) -> Sequence[float]:
        """``(critical, main, weak)``."""
        return self._thresholds

    @thresholds.setter
    def thresholds(self, values: Sequence[float]) -> None:
        if len(values) != 3 or not -1 <= values[0] <= values[1] <= values[2] <= 1:
            raise OptionError(f"thresholds must be three cosines in [-1, 1] that do not fall, got {tuple(values)}")
        self._thresholds = Thresholds(*values)

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
        mean = _MEMORY * self.task_state.read("norm", names).cpu() + (1 - _MEMORY) * norms
        self.task_state.write("norm", names, mean)
        kept = torch.ones_like(norms) if self.norm_cap is None else (self.norm_cap / norms).clamp_max(1.0)
        stability = self._stability(names, rows)
        scores = Scores(self.arbitration, stability.clamp_min(0).tolist(), (kept * norms / mean).tolist())
        inverse = torch.where(norms > 0, 1 / norms, 0.0)
        cosines = (gram * inverse * inverse[:, None]).clamp(-1, 1)
        change = partial(ZONES[self.zones], thresholds=self._thresholds, power=self.power)
        most = 2 * len(names) if self.changes is None else self.changes
        found = resolve(cosines, self._thresholds.weak, most, partial(self._choose, names, scores), change)
        resolved = in_rows(found.coefficients, norms) * kept[:, None]
        if self.previous == "resolved" and "last" in self.row_state.tensors:
            for columns, last in self.row_state.pieces("last", names):
                last.copy_(resolved.to(last) @ rows[:, columns].to(last))
        self.decision = Decision(names, cosines, resolved.sum(0), found.won, found.lost, stability)
        self.notes = {"projected": found.lost, "won": found.won, "stability": stability}
        return weighted_sum(resolved.sum(0), rows)

    def _choose(self, names: Sequence[str], scores: Scores, i: int, j: int, cosine: float) -> tuple[int, int]:
        """Winner and loser among the tasks at i and j; the winner's wins in a row are counted."""
        if self.zones == "stepped" and cosine >= self._thresholds.main:
            return i, j  # both are projected alike: nobody wins
        first, second = self.task_state.read("streak", (names[i], names[j])).tolist()
        guarded = 0 < self.window <= max(first, second)
        lead = second - first if guarded else scores.lead(i, j)
        winner, loser, wins = (i, j, first) if lead >= 0 else (j, i, second)
        self.task_state.tensors["streak"].zero_()
        self.task_state.write("streak", (names[winner],), torch.tensor([wins + 1]))
        return winner, loser

    def _stability(self, names: Sequence[str], rows: Tensor) -> Tensor:
        """Cosine of each gradient to its last ``[m]``, 0 without one; this one takes its place if it is kept raw."""
        products, now, before = torch.zeros(3, len(names), dtype=torch.float64, device=rows.device)
        if "last" in self.row_state.tensors:
            for columns, last in self.row_state.pieces("last", names):
                piece, old = rows[:, columns].double(), last.double()
                products += (piece * old).sum(1)
                now += piece.square().sum(1)
                before += old.square().sum(1)
                if self.previous == "raw":
                    last.copy_(rows[:, columns])
        length = (now.sqrt() * before.sqrt()).cpu()
        return torch.where(length > 0, products.cpu() / length, 0.0).clamp(-1, 1)


def _weights(arbitration: Sequence[float]) -> bool:
    return len(arbitration) == 2 and min(arbitration) >= 0 < sum(arbitration)
