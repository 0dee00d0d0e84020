"""How forecasts are judged: onset days, backward transitions, hardiness error."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
JUDGED_STAGES = {"budbreak": 1, "bloom": 2, "veraison": 3}


def onset_day(output: Array, stage: int) -> NDArray[np.int64]:
    """First day whose rounded output has reached ``stage``; the season's length if none has.

    Args:
        output: stage of every day, ``[N, T]``, whole or not.
        stage: 1 budbreak, 2 bloom, 3 veraison, 4 ripe.

    "Reached" rather than "equals", so that a forecast that jumps over a stage is not punished twice; for
    forecasts that take stages one by one both mean the same.
    """
    reached = np.round(output) >= stage
    return np.where(reached.any(1), reached.argmax(1), output.shape[1]).astype(np.int64)


def onset_errors(output: Array, truth: Array) -> dict[str, float]:
    """RMSE in days of each stage's onset and their sum, over seasons in which the truth reaches the stage.

    Args:
        output, truth: stage of every day, ``[N, T]``.

    Returns:
        ``budbreak_rmse``, ``bloom_rmse``, ``veraison_rmse`` and their sum ``onset_rmse``, in days.
    """
    result = {}
    for name, stage in JUDGED_STAGES.items():
        wanted = onset_day(truth, stage)
        seen = wanted < truth.shape[1]
        error = (onset_day(output, stage) - wanted)[seen]
        result[f"{name}_rmse"] = float(np.sqrt(np.mean(error.astype(float) ** 2))) if seen.any() else 0.0
    result["onset_rmse"] = sum(result.values())
    return result


def backward_share(output: Array) -> float:
    """Per cent of all changes of the rounded stage, from one day to the next, that go backwards.

    0 if the stage never changes. ``output`` is ``[N, T]``.
    """
    change = np.diff(np.round(output), axis=1)
    changes = int((change != 0).sum())
    return 100.0 * int((change < 0).sum()) / changes if changes else 0.0


def inconsistent_share(output: Array) -> float:
    """Per cent of seasons with at least one backward change of the rounded stage; ``output`` is ``[N, T]``."""
    return 100.0 * float((np.diff(np.round(output), axis=1) < 0).any(1).mean())


def rmse(output: Array, truth: Array) -> float:
    """Root mean squared error over all days and seasons."""
    return float(np.sqrt(np.mean((output - truth) ** 2)))
