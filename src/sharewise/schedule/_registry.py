"""Schedules by name."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from ..errors import OptionError, nearest
from ._all import AllTasks
from ._curriculum import Curriculum
from ._plateau_switch import PlateauSwitch
from ._random import RandomTasks
from ._round_robin import RoundRobin
from ._sampled import Sampled
from ._schedule import Schedule
from ._son_goku import SonGoku
from ._switch import FixedSwitch
from ._temperature import Proportional, SquareRoot, Temperature
from ._ucb import UCB

_SCHEDULES: dict[str, type[Schedule]] = {
    "all": AllTasks,
    "curriculum": Curriculum,
    "fixed_switch": FixedSwitch,
    "plateau_switch": PlateauSwitch,
    "proportional": Proportional,
    "random": RandomTasks,
    "round_robin": RoundRobin,
    "sampled": Sampled,
    "son_goku": SonGoku,
    "square_root": SquareRoot,
    "temperature": Temperature,
    "ucb": UCB,
}


def available() -> list[str]:
    """The names :func:`create` knows, sorted."""
    return sorted(_SCHEDULES)


def options(name: str) -> dict[str, inspect.Parameter]:
    """The options of a schedule by name, beside its tasks; raises :class:`OptionError` for an unknown schedule."""
    if name not in _SCHEDULES:
        raise OptionError(f'schedule "{name}" is not known; {nearest(str(name), available())}')
    parameters = inspect.signature(_SCHEDULES[name].__init__).parameters
    return {k: v for k, v in parameters.items() if k not in ("self", "tasks")}


def create(name: str, *, tasks: Sequence[str], **given: Any) -> Schedule:
    """A schedule by name, for instance ``create("round_robin", tasks=["age", "income"])``.

    Args:
        name: one of :func:`available`.
        tasks: the names of all tasks.
        given: the schedule's own options; see its class.

    Raises :class:`OptionError` for an unknown name or option (with the nearest known one) and for a missing one.
    """
    known = options(name)
    for option in given:
        if option not in known:
            hint = nearest(option, known) if known else "it has none"
            raise OptionError(f'schedule "{name}" has no option "{option}"; {hint}')
    for option, parameter in known.items():
        if parameter.default is parameter.empty and option not in given:
            raise OptionError(f'schedule "{name}" needs {option}=...: see its documentation')
    return _SCHEDULES[name](tasks, **given)
