"""The registry of systems: one published system a module, loaded when asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

from ..errors import OptionError, nearest
from ._claim import Claim, Paper
from ._table import WHERE

Scale = Literal["smoke", "default", "paper"]
SCALES: tuple[Scale, ...] = ("smoke", "default", "paper")
"""``smoke``: all arms of one seed in < 10 s; ``default``: in < 3 min on 2 cores; ``paper``: as in
the paper."""

Arm = Callable[[int], Mapping[str, float]]
"""One side of a comparison: a seed in, its metrics out; the same seed must give the same numbers."""

Arms = Callable[[Scale], Mapping[str, Arm]]
F = TypeVar("F", bound=Callable[..., Mapping[str, Arm]])


@dataclass(frozen=True)
class System:
    """One published system: what it is, what it claims, and the arms that test the claims."""

    id: str
    title: str
    paper: Paper
    family: str
    data: str
    """``"real: ..."`` or ``"simulated: ..."``."""
    claims: tuple[Claim, ...]
    reading: Literal["ours", "faithful"]
    """``faithful``: every step was read in the paper or its code. ``ours``: some steps are assumptions."""
    assumptions: tuple[str, ...]
    remarks: tuple[str, ...]
    """What a reader of the verdicts should know, for instance why a claim is refuted here."""
    arms: Arms
    module: str


_FOUND: dict[str, System] = {}


def system(
    id: str,
    *,
    title: str,
    paper: Paper,
    family: str,
    data: str,
    claims: Iterable[Claim],
    reading: Literal["ours", "faithful"] = "faithful",
    assumptions: Iterable[str] = (),
    remarks: Iterable[str] = (),
) -> Callable[[F], F]:
    """Register the function below as the arms of the system ``id``; the function itself is unchanged.

    The function takes the scale (``"smoke"``, ``"default"`` or ``"paper"``) and returns
    ``{arm: seed -> {metric: value}}``. Arms are called in order, all arms of one seed in the same process,
    so that what a seed's arms share (its data) may be cached. Raises :class:`OptionError` where the
    description breaks the contract: no claims, ``data`` that is neither real nor simulated, a reading that
    is ours or a paper of which only the abstract was read, without its assumptions, an id taken by another
    module.
    """
    claims, assumptions, remarks = tuple(claims), tuple(assumptions), tuple(remarks)

    def register(function: F) -> F:
        module = function.__module__
        made = System(id, title, paper, family, data, claims, reading, assumptions, remarks, function, module)
        _check(made)
        _FOUND[id] = made
        return function

    return register


def _check(new: System) -> None:
    problem = None
    if not new.claims:
        problem = "has no claims: a system must say something a run can refute"
    elif not new.data.startswith(("real: ", "simulated: ")):
        problem = f'its data is {new.data!r}, expected "real: ..." or "simulated: ..."'
    elif new.reading not in ("ours", "faithful"):
        problem = f'its reading is {new.reading!r}, expected "ours" or "faithful"'
    elif new.reading == "ours" and not new.assumptions:
        problem = "is our reading but lists no assumptions: say what had to be assumed"
    elif new.paper.evidence == "abstract" and new.reading == "faithful":
        problem = 'follows an abstract alone, so its reading must be "ours"'
    elif new.id in _FOUND and _FOUND[new.id].module != new.module:
        problem = f"is registered twice: in {_FOUND[new.id].module} and in {new.module}"
    if problem:
        raise OptionError(f'system "{new.id}" {problem}')


def available() -> list[str]:
    """The ids of all systems, sorted; imports none of them."""
    return sorted({*WHERE, *_FOUND})


def get(id: str) -> System:
    """The system ``id``, its module imported now if it was not; raises :class:`OptionError` if unknown."""
    if id not in _FOUND:
        if id not in WHERE:
            raise OptionError(f'no system "{id}": {nearest(id, available())}')
        importlib.import_module(f".{WHERE[id]}", __package__)
    return _FOUND[id]
