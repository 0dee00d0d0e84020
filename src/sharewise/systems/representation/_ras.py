"""RAS: per-task linear or logistic models that share a subspace where sharing helps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from ...errors import DataError, OptionError
from ._folds import GRID, cross_validated
from ._prox import Spectrum, biased_regularisation, noise_edge, spectrum
from ._tasks import Array, LinearTasks, LogisticLoss, Loss, SquaredLoss, make_loss

Penalty = Literal["subspace", "centre", "squared"]
Gamma = float | Literal["cv", "cv per task"]


class RAS:
    """Robust and adaptive spectral method (Huang, Ying, Feng, arXiv 2509.06575, 2025).

    T tasks over the same p columns, some of which (not known which, possibly most) have coefficients in a
    common r-dimensional subspace (r not known). Three steps: (1) fit every task alone, ``B`` [T, p];
    (2) keep *every* left singular direction of ``B^T / sqrt(T)`` whose singular value exceeds the noise
    edge ``tau = c sigma (sqrt(p) + sqrt(T)) / sqrt(T (n - p - 1))``; (3) for every task minimise
    ``f_t(b) + gamma / sqrt(n_t) |(I - A A^T) b|_2``. No task is trimmed and no outlier detected: outlying
    directions enter A too, and the norm that is not squared bounds the harm where the bias is wrong.

    The published text read for this left open the constant of the threshold, gamma and the exact form of
    step 3; the defaults are our reading (see ``docs/systems.md``). The guarantee is up to constants: for a
    fixed gamma a task outside the subspace can lose against single-task learning.

    Args:
        gamma: strength in units of ``sqrt(p + log T)``; ``"cv"`` chooses one of :data:`GRID` for all tasks
            by 5-fold cross-validation that repeats all steps in each fold, ``"cv per task"`` one for each.
        loss: ``"squared"``, or ``"logistic"`` with labels 0 and 1.
        penalty: ``"subspace"`` as above; ``"centre"``: ``|b - A theta_t|_2`` around the fit theta_t within the
            subspace (Tian, Gu, Feng, JMLR 26(187), 2025, Algorithm 1 step 2); ``"squared"``, an ablation:
            ``|(I - A A^T) b|_2^2``, whose pull on a task outside the subspace has no bound.
        c: factor of the noise edge.
        threshold: tau itself, instead of the noise edge; needed where a task has ``n <= p + 1`` rows.
        rank: keep that many directions instead (a known r; an ablation).
        ridge: part of f_t, as ``ridge |b|^2 / 2``; ``None`` means 0 for the squared loss with ``n > p``, 1e-6
            with ``n <= p``, and 1e-4 for the logistic loss, whose minimum may else not exist.
        intercept: one for each task, never penalised.
        seed: of the folds.

    Raises :class:`OptionError` for options outside their range.
    """

    spectrum: Spectrum
    """Singular values, threshold tau, kept directions A [p, rank]."""
    coefficients: Array
    """[T, p]."""
    intercepts: Array
    """[T]; zeros without ``intercept``."""
    single_task: Array
    """Step 1: [T, p]."""
    gammas: Array
    """Strength used by each task, [T], in units of sqrt(p + log T)."""

    def __init__(
        self,
        *,
        gamma: Gamma = 0.5,
        loss: Loss = "squared",
        penalty: Penalty = "subspace",
        c: float = 1.2,
        threshold: float | None = None,
        rank: int | None = None,
        ridge: float | None = None,
        intercept: bool = False,
        seed: int = 0,
    ) -> None:
        if isinstance(gamma, str) and gamma not in ("cv", "cv per task"):
            raise OptionError(f'gamma is {gamma!r}, expected a number >= 0, "cv" or "cv per task"')
        if not isinstance(gamma, str) and not gamma >= 0:
            raise OptionError(f"gamma is {gamma}, expected a number >= 0")
        if penalty not in ("subspace", "centre", "squared"):
            raise OptionError(f'penalty is {penalty!r}, expected "subspace", "centre" or "squared"')
        if loss not in ("squared", "logistic"):
            raise OptionError(f'loss is {loss!r}, expected "squared" or "logistic"')
        if c <= 0 or (ridge is not None and ridge < 0) or (rank is not None and rank < 0):
            raise OptionError("c must be > 0, ridge and rank >= 0")
        self.gamma, self.loss, self.penalty, self.c = gamma, loss, penalty, c
        self.threshold, self.rank, self.ridge = threshold, rank, ridge
        self.intercept, self.seed = intercept, seed

    def fit(self, tasks: Sequence[tuple[npt.ArrayLike, npt.ArrayLike]] | LinearTasks) -> RAS:
        """Fit one ``(X [n_t, p], y [n_t])`` a task and return ``self``.

        Columns should be of one size (standardised) in all tasks: the subspace is one of coefficients.
        Cost: T p^2 (n + steps), with CV 6 x 5 times that. Raises :class:`DataError` for tasks that do not
        fit together and for a noise edge that is not defined (give ``threshold`` then).
        """
        data = self._with_ones(self._as_tasks(tasks))
        loss = make_loss(data, self.loss, self._ridge(data))
        alone = loss.minimise()
        self.spectrum = self._spectrum(data, loss, alone)
        self.gammas = self._choose(data)
        found = self._biased(data, loss, alone, self.spectrum.basis, self.gammas[:, None])[..., 0]
        p = self._columns(data)
        self.single_task, self.coefficients = alone[:, :p], found[:, :p]
        self.intercepts = found[:, p] if self.intercept else np.zeros(len(found))
        return self

    def transfer(self, x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[Array, float]:
        """Coefficients [p] and intercept of a new task ``x`` [n, p], ``y`` [n]: step 3 with the A found.

        Uses the strength given, or the median of those chosen. Raises :class:`OptionError` before ``fit``.
        """
        if not hasattr(self, "spectrum"):
            raise OptionError("transfer needs the directions of source tasks: call fit first")
        data = self._with_ones(LinearTasks.of([(x, y)], self.loss))
        p = self._columns(data)
        if p != len(self.spectrum.basis):
            raise DataError(f"the new task has {p} columns, the source tasks {len(self.spectrum.basis)}")
        loss = make_loss(data, self.loss, self._ridge(data))
        strength = np.full((1, 1), np.median(self.gammas))
        alone = loss.minimise()
        found = self._biased(data, loss, alone, self.spectrum.basis, strength, len(self.gammas))[0, :, 0]
        return found[:p], float(found[p]) if self.intercept else 0.0

    def predict(self, task: int, x: npt.ArrayLike) -> Array:
        """Scores [n] of the rows ``x`` [n, p] in a fitted task (log odds with the logistic loss)."""
        return np.asarray(x, float) @ self.coefficients[task] + self.intercepts[task]

    def _as_tasks(self, tasks: Sequence[tuple[npt.ArrayLike, npt.ArrayLike]] | LinearTasks) -> LinearTasks:
        return tasks if isinstance(tasks, LinearTasks) else LinearTasks.of(tasks, self.loss)

    def _with_ones(self, data: LinearTasks) -> LinearTasks:
        if not self.intercept:
            return data
        ones = data.used[..., None].astype(float)
        return LinearTasks(np.concatenate([data.x, ones], axis=2), data.y, data.used)

    def _columns(self, data: LinearTasks) -> int:
        return data.x.shape[2] - int(self.intercept)

    def _ridge(self, data: LinearTasks) -> Array:
        if self.ridge is not None:
            return np.full(len(data.n), self.ridge)
        if self.loss == "logistic":
            return np.full(len(data.n), 1e-4)
        return np.where(data.n > data.x.shape[2], 0.0, 1e-6)

    def _spectrum(self, data: LinearTasks, loss: SquaredLoss | LogisticLoss, alone: Array) -> Spectrum:
        if self.threshold is not None:
            tau = self.threshold
        elif self.rank is not None:
            tau = 0.0
        else:
            tau = self.c * noise_edge(data, loss, alone, self._columns(data))
        return spectrum(alone[:, : self._columns(data)], tau, self.rank)

    def _biased(
        self,
        data: LinearTasks,
        loss: SquaredLoss | LogisticLoss,
        alone: Array,
        basis: Array,
        gammas: Array,
        tasks: int | None = None,
    ) -> Array:
        """Step 3 for strengths [T, m], [T, p, m]; ``tasks`` is the T of log T where it is not that here."""
        p, width = self._columns(data), data.x.shape[2]
        scale = np.sqrt((p + np.log(tasks or len(data.n))) / data.n)
        free = np.zeros((width, width - p))
        free[p:] = np.eye(width - p)
        within = np.concatenate([np.pad(basis, ((0, width - p), (0, 0))), free], axis=1)
        strength = gammas * scale[:, None]
        if self.penalty != "centre":
            return biased_regularisation(loss, alone, strength, within, squared=self.penalty == "squared")
        centre = loss.minimise(within) * (np.arange(width) < p)
        return biased_regularisation(loss, alone, strength, free, centre[..., None])

    def _choose(self, data: LinearTasks) -> Array:
        """The strength of each task, [T]: as given, or by cross-validation."""
        if not isinstance(self.gamma, str):
            return np.full(len(data.n), float(self.gamma))
        return cross_validated(data, self._path, self.loss, self.seed, self.gamma == "cv per task")

    def _path(self, data: LinearTasks) -> Array:
        """All steps for every strength of :data:`GRID`, [T, p, m]."""
        loss = make_loss(data, self.loss, self._ridge(data))
        alone = loss.minimise()
        basis = self._spectrum(data, loss, alone).basis
        return self._biased(data, loss, alone, basis, np.tile(GRID, (len(alone), 1)))
