"""The errors Sharewise raises: one base class and a handful of children.

A message says what was found, what was expected and what to do about it, and names the task, column or
file concerned. The command line prints the message in one line and exits with code 2.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SharewiseError(Exception):
    """Base of every error raised on purpose by this package."""


class DataError(SharewiseError):
    """A table, column, split or file cannot be used as asked."""


class TaskError(SharewiseError):
    """A task is unknown, duplicated, or its labels do not allow learning."""


class ModelError(SharewiseError):
    """A model does not keep its contract (output names, shapes, shared parameters)."""


class BalanceError(SharewiseError):
    """Losses or gradients cannot be balanced; names the task at fault."""


class ScheduleError(SharewiseError):
    """A schedule starves a task, or was told what it cannot use; names the task at fault."""


class OptionError(SharewiseError):
    """An option or name is not known, or has a value outside its range."""


class MergeError(SharewiseError):
    """Checkpoints cannot be merged as asked; names the tensor, the model or the file."""


class RunError(SharewiseError):
    """A folder of results cannot be written, read or continued."""


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like ``name``, if any is."""
    return next(iter(difflib.get_close_matches(name, [str(k) for k in known], n=1, cutoff=0.6)), None)


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest known ones, or all of them.

    >>> nearest("healht", ["health", "visits"])
    'did you mean "health"?'
    """
    names = [str(k) for k in known]
    close = closest(name, names)
    if close is not None:
        return f'did you mean "{close}"?'
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"known: {shown}"
