"""Cross-validation of a strength over many small tasks at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ...errors import DataError
from ._tasks import Array, LinearTasks, Loss, held_out

FOLDS = 5
GRID = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Candidate strengths, times sqrt(p + log T); 0 is single-task learning, so that choosing loses little."""


def fold_of(tasks: LinearTasks, seed: int) -> npt.NDArray[np.int64]:
    """Fold 0..4 of every row [T, n], even within each task; -1 for padding."""
    keys = np.where(tasks.used, np.random.default_rng(seed).random(tasks.used.shape), np.inf)
    return np.where(tasks.used, keys.argsort(axis=1).argsort(axis=1) % FOLDS, -1)


def cross_validated(
    tasks: LinearTasks, path: Callable[[LinearTasks], Array], loss: Loss, seed: int, per_task: bool
) -> Array:
    """The strength of :data:`GRID` with the least 5-fold error, [T]: one for all tasks, or one for each.

    ``path`` fits all strengths on training rows, [T, p, m], repeating every step that looks at labels.
    Errors count relative to those of strength 0, so that tasks with much noise do not outvote the others;
    ties go to the smaller strength. Raises :class:`DataError` for a task of fewer than 10 rows.
    """
    if tasks.n.min() < 2 * FOLDS:
        t = int(tasks.n.argmin())
        raise DataError(f"task {t} has {tasks.n[t]:.0f} rows, cross-validation needs {2 * FOLDS}: give gamma")
    fold, total = fold_of(tasks, seed), np.zeros((len(tasks.n), len(GRID)))
    for k in range(FOLDS):
        rows = tasks.only(fold == k)
        total += held_out(rows, path(tasks.only(fold != k)), loss) * rows.n[:, None]
    ratio = total / total[:, :1]
    best = ratio.argmin(axis=1) if per_task else np.full(len(ratio), ratio.mean(axis=0).argmin())
    return np.asarray(GRID)[best]
