"""RotoGrad: gradients of one length, and a learned rotation a task that brings them into line."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import BalanceError, ModelError, OptionError
from ._balancer import GradientBalancer
from ._gram import full_precision, row_norms, weighted_sum
from ._task_parameters import TaskParameters


class RotoGrad(GradientBalancer):
    """Gives all gradients one length, and each head a rotated view of the representation, learned so that they agree.

    For gradients ``g_k`` with respect to the shared representation z, whose last axis has ``size`` entries:

    - *scale*: ``d = C sum_k g_k / |g_k|`` with ``C = sum_k a_k |g_k|``, where ``a_k`` is ``|g_k| / |g_k(0)|`` divided
      by the sum of these over tasks: the tasks that have converged least set the length;
    - *rotation*: head k reads ``R_k z``. With ``v = 1/m sum_k g_k / |g_k|``, for each example (and position) n, and the
      gradients ``G_kn = R_k g_kn`` that the head sees, ``R_k`` learns to lower ``- sum_n <R_k v_n, G_kn>``.

    Between trunk and heads call :meth:`rotate`, and pass ``representation=z`` to ``backward``: it adds the gradient
    of the rotation loss to ``.grad`` of :meth:`parameters`, which need an optimizer of their own, slower than the
    network's. The losses themselves do not move the rotations. Without :meth:`rotate` it is the scale part alone.

    Source: Javaloy, Valera, "RotoGrad: Gradient Homogenization in Multitask Learning", ICLR 2022, algorithm 1.
    Different here: ``R_k`` is the Cayley transform of a skew matrix, not its exponential, which costs many times more
    to differentiate; what it cannot reach, rotations that turn a plane by exactly half a turn, are no loss.

    Args:
        size: entries of the representation's last axis.
        tasks: the names of all tasks: each has a rotation, ``size x size`` numbers.
        burn_in: steps of a task after which ``|g_k(0)|`` is taken anew, since the first ones change fast; 0 for never.

    Rows that are not finite are passed on and neither remembered nor learned from. Cost O(mn) for the scale;
    O(m size n) for what the rotations learn and O(size^3) for each use of a rotation; memory O(m CHUNK + n).
    """

    def __init__(self, *, size: int, tasks: Sequence[str], burn_in: int = 20) -> None:
        super().__init__(tasks=tasks)
        if not (isinstance(size, int) and size >= 1):
            raise OptionError(f"size must be the length of the representation's last axis, >= 1, got {size!r}")
        if not (isinstance(burn_in, int) and burn_in >= 0):
            raise OptionError(f"burn_in must be a whole number of steps >= 0, got {burn_in!r}")
        self.size, self.burn_in = size, burn_in
        self.angles = TaskParameters(tasks, torch.zeros(size, size))
        self.task_state.declare("seen")
        self.task_state.declare("first")
        self._rotated: dict[str, int] = {}  # task -> entries of the z it was given since the last decision

    def rotation(self, name: str) -> Tensor:
        """``R_k``: ``[size, size]``, orthogonal with determinant 1, in full precision; the identity at the start."""
        self.check_names(1, [name])
        with torch.no_grad():
            return cayley(self.angles.of([name])[0])

    def rotate(self, name: str, z: Tensor) -> Tensor:
        """``R_k z`` for a representation ``[..., size]``: what the head of task ``name`` is to read, at inference too.

        Raises :class:`BalanceError` for an unknown task, :class:`ModelError` for another size.
        """
        if z.dim() == 0 or z.shape[-1] != self.size:
            raise ModelError(
                f'the representation given for task "{name}" has shape {list(z.shape)}, but its rotation was built for '
                f"a last axis of {self.size}: build the balancer with size={z.shape[-1] if z.dim() else '...'}"
            )
        turn = self.rotation(name).to(z)
        if z.requires_grad:
            self._rotated[name] = z.numel()
        return z @ turn.T

    def aggregate(self, rows: Tensor, losses: Tensor | None = None, *, names: Sequence[str] | None = None) -> Tensor:
        """The direction ``[n]`` of rows ``[m, n]``; see :meth:`Balancer.aggregate`. Fills the rotations' ``.grad``.

        Raises :class:`BalanceError` if rotations are in use and the rows are not gradients of what was rotated.
        """
        known = self.check_names(len(rows), names)
        turned = self._turned(rows, known)
        norms = row_norms(rows)
        if not bool(norms.isfinite().all()):
            return rows.sum(0)
        length = self._length(norms, known)
        factors = torch.where(norms > 0, length / norms, 0.0).clamp_max(torch.finfo(torch.float32).max)
        direction = weighted_sum(factors, rows.detach())
        if turned and length > 0:
            self._learn(rows.detach(), direction / (length * len(rows)), known, turned)
        return direction

    def _turned(self, rows: Tensor, names: Sequence[str]) -> list[str]:
        """The named tasks whose heads read a rotated representation, which the rows must be gradients of."""
        turned = [name for name in names if name in self._rotated]
        for name in turned:
            if self._rotated[name] != rows.shape[1]:
                raise BalanceError(
                    f'task "{name}" reads a rotated representation of {self._rotated[name]} entries, but the gradient '
                    f"rows have {rows.shape[1]}: pass that representation, whole, to backward(..., representation=z)"
                )
        self._rotated = {}
        return turned

    def _length(self, norms: Tensor, names: Sequence[str]) -> Tensor:
        """C, and one more step in the memory of first norms."""
        seen, first = (self.task_state.read(field, names).to(norms) for field in ("seen", "first"))
        anew = (first == 0) | ((seen == self.burn_in) & (norms > 0))
        first = torch.where(anew, norms, first)
        self.task_state.write("seen", names, seen + 1)
        self.task_state.write("first", names, first)
        ratios = torch.where(first > 0, norms / first, 0.0)
        total = ratios.sum()
        return (ratios / total * norms).sum() if total > 0 else total

    def _learn(self, rows: Tensor, mean: Tensor, names: Sequence[str], turned: Sequence[str]) -> None:
        """Add the gradient of the rotation loss to ``.grad`` of the angles; ``mean`` is v."""
        with full_precision(rows), torch.enable_grad():
            for name in turned:
                turn = cayley(self.angles.of([name])[0])
                given = rows[names.index(name)].reshape(-1, self.size).to(turn)
                # sum_n <R v_n, R g_n> with the second R held fixed, from the sum over n of g_n v_n^T
                outer = given.T @ mean.reshape(-1, self.size).to(turn)
                torch.autograd.backward(-(turn * (turn.detach() @ outer)).sum())


def cayley(angles: Tensor) -> Tensor:
    """The rotation ``(I + A)^-1 (I - A)`` of ``A = (angles - angles^T) / 2``: ``[d, d]``, at least in float32."""
    wide = angles.to(torch.promote_types(angles.dtype, torch.float32))
    skew = (wide - wide.T) / 2
    eye = torch.eye(len(skew), dtype=skew.dtype, device=skew.device)
    with full_precision(skew):
        return torch.linalg.solve(eye + skew, eye - skew)
