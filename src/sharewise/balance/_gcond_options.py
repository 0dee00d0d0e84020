"""The options of GCond that are numbers, checked."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import OptionError
from ._arbitration import ZONES, Thresholds


def check_options(
    accumulate: int,
    power: float,
    changes: int | None,
    arbitration: Sequence[float],
    window: int,
    norm_cap: float | None,
    previous: str,
    zones: str,
) -> None:
    """Raise :class:`OptionError` for the first that is out of range."""
    two_weights = len(arbitration) == 2 and min(arbitration) >= 0 < sum(arbitration)
    for good, what in (
        (accumulate >= 1, f"accumulate must be at least 1 call, got {accumulate}"),
        (power > 0, f"power must be above 0, got {power}"),
        (changes is None or changes >= 1, f"changes must be at least 1, or None for 2 m, got {changes}"),
        (two_weights, f"arbitration must be two weights, none negative, one above 0, got {arbitration}"),
        (window >= 0, f"window must be a number of wins, or 0 for never, got {window}"),
        (norm_cap is None or norm_cap > 0, f"norm_cap must be above 0, or None for no cap, got {norm_cap}"),
        (previous in ("raw", "resolved"), f'previous must be "raw" or "resolved", got "{previous}"'),
        (zones in ZONES, f'zones must be "smooth" or "stepped", got "{zones}"'),
    ):
        if not good:
            raise OptionError(what)


def as_thresholds(values: Sequence[float]) -> Thresholds:
    """Three cosines that do not fall, or :class:`OptionError`."""
    if len(values) != 3 or not -1 <= values[0] <= values[1] <= values[2] <= 1:
        raise OptionError(f"thresholds must be three cosines in [-1, 1] that do not fall, got {tuple(values)}")
    return Thresholds(*values)
