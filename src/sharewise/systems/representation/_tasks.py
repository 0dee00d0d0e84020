"""Linear tasks as padded arrays, and the two losses: squared and logistic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ...errors import DataError, ModelError, OptionError

Array = npt.NDArray[np.floating[Any]]
Loss = Literal["squared", "logistic"]


@dataclass(frozen=True)
class LinearTasks:
    """T tasks over the same p columns: ``x`` [T, n, p], ``y`` [T, n], ``used`` bool [T, n].

    Tasks with fewer rows than the longest are padded with rows of zeros that are not ``used``.
    """

    x: Array
    y: Array
    used: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, tasks: Sequence[tuple[npt.ArrayLike, npt.ArrayLike]], loss: Loss = "squared") -> LinearTasks:
        """From one ``(X [n_t, p], y [n_t])`` a task; labels of the logistic loss are 0 and 1.

        Raises :class:`DataError`, naming the task by its position, for other shapes, values that are not
        finite, labels that are not 0 and 1, and tasks of one class.
        """
        pairs = [(np.asarray(x, float), np.asarray(y, float)) for x, y in tasks]
        if not pairs:
            raise DataError("no tasks given, expected one pair (X, y) a task")
        for t, (x, y) in enumerate(pairs):
            _check(t, x, y, pairs[0][0], loss)
        n, p = max(len(y) for _, y in pairs), pairs[0][0].shape[1]
        out = cls(np.zeros((len(pairs), n, p)), np.zeros((len(pairs), n)), np.zeros((len(pairs), n), dtype=bool))
        for t, (x, y) in enumerate(pairs):
            out.x[t, : len(y)], out.y[t, : len(y)], out.used[t, : len(y)] = x, y, True
        return out

    @property
    def n(self) -> Array:
        """Rows of each task, [T]."""
        return self.used.sum(axis=1).astype(float)

    def only(self, rows: npt.NDArray[np.bool_]) -> LinearTasks:
        """The same tasks with the rows [T, n] only; the others become padding."""
        rows = rows & self.used
        return replace(self, x=self.x * rows[..., None], y=self.y * rows, used=rows)


def _check(t: int, x: Array, y: Array, first: Array, loss: Loss) -> None:
    if x.ndim != 2 or y.shape != x.shape[:1] or not len(y):
        raise DataError(f"task {t}: X has shape {x.shape} and y {y.shape}, expected [n, p] and [n]")
    if x.shape[1] != first.shape[1]:
        raise DataError(f"task {t} has {x.shape[1]} columns, task 0 has {first.shape[1]}: give all the same")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise DataError(f"task {t} holds NaN or infinity: fill or drop these rows")
    if loss == "logistic":
        labels = np.unique(y)
        if not np.isin(labels, (0, 1)).all():
            raise DataError(f"task {t}: labels are {labels[:5].tolist()}, expected 0 and 1")
        if len(labels) < 2:
            raise DataError(f"task {t} has one class only ({labels[0]:.0f}): nothing can be learned from it")


class SquaredLoss:
    """``f_t(b) = |y_t - X_t b|^2 / (2 n_t) + ridge_t |b|^2 / 2``, kept as Gram matrices.

    Cost a step T p^2, whatever n.
    """

    def __init__(self, tasks: LinearTasks, ridge: Array | float = 0.0) -> None:
        n, eye = tasks.n[:, None, None], np.eye(tasks.x.shape[2])
        self.gram = tasks.x.swapaxes(1, 2) @ tasks.x / n + np.reshape(ridge, (-1, 1, 1)) * eye
        self.moment = tasks.x.swapaxes(1, 2) @ tasks.y[..., None] / n
        self.smoothness = np.linalg.eigvalsh(self.gram)[:, -1]
        """Lipschitz constant of each task's gradient, ``|X_t|^2 / n_t + ridge_t`` [T]."""

    def gradient(self, b: Array) -> Array:
        """At ``b`` [T, p, m], m candidates a task; the same shape."""
        return self.gram @ b - self.moment

    def minimise(self, basis: Array | None = None) -> Array:
        """``argmin f_t(b)`` [T, p], over the columns of ``basis`` [p, r] if given."""
        if basis is None:
            alone: Array = np.linalg.solve(self.gram, self.moment)[..., 0]
            return alone
        within = np.linalg.solve(basis.T @ self.gram @ basis, basis.T @ self.moment)[..., 0]
        return within @ basis.T


class LogisticLoss:
    """``f_t(b) = mean log(1 + exp(-(2 y - 1) x^T b)) + ridge_t |b|^2 / 2`` with labels 0 and 1.

    Without a ridge, separable labels have no minimiser. Cost a step T n p.
    """

    def __init__(self, tasks: LinearTasks, ridge: Array | float = 0.0) -> None:
        self.tasks, self.n = tasks, tasks.n[:, None, None]
        self.ridge = np.broadcast_to(np.reshape(ridge, (-1, 1, 1)), (len(tasks.n), 1, 1))
        gram = tasks.x.swapaxes(1, 2) @ tasks.x / self.n
        self.smoothness = np.linalg.eigvalsh(gram)[:, -1] / 4 + self.ridge[:, 0, 0]
        """Lipschitz constant of each task's gradient [T]: the logistic curvature is at most 1/4."""

    def gradient(self, b: Array) -> Array:
        """At ``b`` [T, p, m], m candidates a task; the same shape. Padded rows are zero and add nothing."""
        residual = sigmoid(self.tasks.x @ b) - self.tasks.y[..., None]
        return self.tasks.x.swapaxes(1, 2) @ residual / self.n + self.ridge * b

    def hessian(self, b: Array) -> Array:
        """At ``b`` [T, p]: the Fisher information of one row (plus the ridge), [T, p, p]."""
        share = sigmoid(self.tasks.x @ b[..., None])
        curved = self.tasks.x * (share * (1 - share))
        return self.tasks.x.swapaxes(1, 2) @ curved / self.n + self.ridge * np.eye(b.shape[1])

    def minimise(self, basis: Array | None = None) -> Array:
        """``argmin f_t(b)`` [T, p] by Newton steps, over ``basis`` [p, r] if given.

        A step is damped by ``log(1 + d) / d``, with d its largest change of a score: that always descends,
        as the third derivative of the loss is bounded by d times the second (Sun and Tran-Dinh, Mathematical
        Programming 178, 2019, generalised self-concordance of order 2).
        """
        if basis is not None:
            reduced = replace(self.tasks, x=self.tasks.x @ basis)
            return LogisticLoss(reduced, self.ridge).minimise() @ basis.T
        b = np.zeros((self.tasks.x.shape[0], self.tasks.x.shape[2]))
        for _ in range(200):
            slope = self.gradient(b[..., None])[..., 0]
            step = np.linalg.solve(self.hessian(b), slope[..., None])[..., 0]
            if (np.abs(step * slope).sum(axis=1) < 1e-20).all():
                return b
            change = np.abs((self.tasks.x @ step[..., None])[..., 0]).max(axis=1)
            damping = np.divide(np.log1p(change), change, out=np.ones_like(change), where=change > 1e-12)
            b = b - damping[:, None] * step
        raise ModelError("a logistic single-task fit did not settle: standardise the columns, or raise ridge")


def sigmoid(z: Array) -> Array:
    """``1 / (1 + exp(-z))``, without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * z))


def make_loss(tasks: LinearTasks, loss: Loss, ridge: Array | float = 0.0) -> SquaredLoss | LogisticLoss:
    """The loss object by name; raises :class:`OptionError` for another name."""
    if loss == "squared":
        return SquaredLoss(tasks, ridge)
    if loss == "logistic":
        return LogisticLoss(tasks, ridge)
    raise OptionError(f'loss is {loss!r}, expected "squared" or "logistic"')


def held_out(tasks: LinearTasks, b: Array, loss: Loss) -> Array:
    """Mean squared error or log loss of ``b`` [T, p, m] on the rows of ``tasks``, [T, m]."""
    score = tasks.x @ b
    y = tasks.y[..., None]
    each = (y - score) ** 2 if loss == "squared" else np.logaddexp(0, score) - y * score
    return (each * tasks.used[..., None]).sum(axis=1) / tasks.n[:, None]
