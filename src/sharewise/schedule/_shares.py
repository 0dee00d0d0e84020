"""Checked numbers by task: proportions and sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ..errors import OptionError, nearest

TOLERANCE = 1e-6
"""How far a sum of proportions may be from 1: they are typed in with few digits, thirds among them by computation."""


def check_numbers(what: str, given: Mapping[str, float], names: Sequence[str]) -> list[float]:
    """The numbers in the order of ``names``.

    Raises :class:`OptionError` naming the task that is unknown, missing, or whose number is not finite and above 0.
    """
    for task in given:
        if task not in names:
            raise OptionError(f'{what} names task "{task}", which is not known; {nearest(task, names)}')
    for task in names:
        if task not in given:
            raise OptionError(f'{what} says nothing of task "{task}": give a number for every task')
        if not (math.isfinite(given[task]) and given[task] > 0):
            raise OptionError(
                f'{what} of task "{task}" must be a number above 0, got {given[task]}: a task that never trains '
                "is left out of the model, not of the schedule"
            )
    return [float(given[task]) for task in names]


def check_proportions(given: Mapping[str, float], names: Sequence[str]) -> list[float]:
    """Proportions in the order of ``names``; raises :class:`OptionError` also if they do not sum to 1."""
    values = check_numbers("proportions", given, names)
    if abs(sum(values) - 1) > TOLERANCE:
        raise OptionError(f"proportions must sum to 1, these sum to {sum(values):.6g}: divide each by that")
    return values
