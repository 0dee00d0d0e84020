"""What the user says about a table, and what was found in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..errors import DataError, TaskError, nearest

TARGET_KINDS = ("regression", "binary", "multiclass")
FEATURE_KINDS = ("number", "category", "boolean", "date", "drop")

WarningKind = Literal["leak", "tiny task", "drift", "other"]


@dataclass(frozen=True)
class TableWarning:
    """Something a reader should know before believing what was learned from a table."""

    kind: WarningKind
    column: str
    text: str


@dataclass(frozen=True)
class TableSpec:
    """What to learn from a table, and what its columns mean.

    Args:
        targets: columns to predict; a missing value is a missing label, never imputed.
        kinds: column -> kind where the inferred one is wrong: ``regression``, ``binary`` or ``multiclass``
            for a target; ``number``, ``category``, ``boolean``, ``date`` or ``drop`` for a feature.
        group: column whose groups are never divided between parts of a split (patients, schools). Not a
            feature.
        time: column to split by, latest rows last. Not a feature.
        weight: column of example weights, none negative. Not a feature.
        drop: columns to leave out.

    Raises:
        TaskError: no target, or one named twice.
        DataError: a target also named as group, time, weight or dropped; a kind that does not exist.
    """

    targets: tuple[str, ...]
    kinds: Mapping[str, str] = field(default_factory=dict)
    group: str | None = None
    time: str | None = None
    weight: str | None = None
    drop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("targets", "drop"):
            value = getattr(self, name)
            object.__setattr__(self, name, (value,) if isinstance(value, str) else tuple(value))
        object.__setattr__(self, "kinds", dict(self.kinds))
        if not self.targets:
            raise TaskError("no target given: name at least one column to predict")
        for target in self.targets:
            if self.targets.count(target) > 1:
                raise TaskError(f'target "{target}" is given twice: name each target once')
            for role in ("group", "time", "weight"):
                if getattr(self, role) == target:
                    raise DataError(f'"{target}" is given as target and as {role}: it can only be one of them')
            if target in self.drop or self.kinds.get(target) == "drop":
                raise DataError(f'"{target}" is given as target and as a column to drop: choose one')
        if self.group is not None and self.time is not None:
            raise DataError("a split is by group or by time, not both: give one of them")
        for column, kind in self.kinds.items():
            allowed = TARGET_KINDS if column in self.targets else FEATURE_KINDS
            if kind not in allowed:
                role = "target" if column in self.targets else "feature"
                raise DataError(
                    f'kind of "{column}" is {kind!r}, but a {role} is one of {", ".join(allowed)}: '
                    f"{nearest(kind, allowed)}"
                )

    @property
    def roles(self) -> dict[str, str]:
        """Columns that are no features -> why."""
        found = dict.fromkeys((*self.drop, *(c for c, k in self.kinds.items() if k == "drop")), "dropped")
        for role in ("group", "time", "weight"):
            if getattr(self, role) is not None:
                found[getattr(self, role)] = role
        return found | dict.fromkeys(self.targets, "target")


@dataclass(frozen=True)
class Column:
    """A feature column.

    Args:
        kind: ``number``, ``category``, ``boolean`` or ``date``.
        missing: share of rows without a value, over the whole table.
        distinct: distinct values over the whole table (estimated where the table is streamed).
    """

    name: str
    kind: str
    missing: float = 0.0
    distinct: int | None = None


@dataclass(frozen=True)
class Target:
    """A target column.

    Args:
        kind: ``regression``, ``binary`` or ``multiclass``.
        labels: rows with a label, over the whole table.
        missing: share of rows without one.
        classes: every class of the table, sorted (classes only).
    """

    name: str
    kind: str
    labels: int
    missing: float
    classes: tuple[Any, ...] = ()


@dataclass(frozen=True)
class TableSchema:
    """What a table holds: which columns are features of which kind, and what kind each target is.

    Args:
        dropped: column -> why it is no feature.
        warnings: what was noticed on the way.
    """

    rows: int
    features: tuple[Column, ...]
    targets: tuple[Target, ...]
    spec: TableSpec
    dropped: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[TableWarning, ...] = ()
