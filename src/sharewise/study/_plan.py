"""What a study will do: everything that decides its result, and nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import field_validator

from ..data import TableSpec
from ..errors import DataError, OptionError, nearest
from ._models import check_variant
from .results import Record

ARMS = ("separate", "equal", "uncertainty", "pcgrad", "constant", "groups", "trees")
"""All arms, in the order of the page. ``separate`` is what the others are compared with."""

NEEDED = ("separate", "equal")


class Plan(Record):
    """A study's settings; two studies with equal plans find the same (timings aside).

    Attributes:
        table: ``set:NAME`` for a built-in set, else the path of a file.
        content: SHA-256 of the file (empty for a set): a changed file is another study.
        seeds: each is a split, initial weights and an order of batches.
        trials: settings tried for each model of each arm and seed; the first are the defaults.
        epochs, batch_size, patience: of every network.
        margin: relative loss that still counts as "as good" (0.01 = 1 %).
        valid, test: shares of the rows.
    """

    table: str
    content: str
    spec: dict[str, Any]
    seeds: list[int]
    trials: int = 4
    epochs: int = 60
    batch_size: int = 256
    patience: int = 8
    margin: float = 0.01
    valid: float = 0.2
    test: float = 0.2
    keep_leaks: bool = False
    arms: list[str] = list(ARMS)

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: list[int]) -> list[int]:
        if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
            raise OptionError(f"seeds must be different whole numbers from 0 on, got {seeds}")
        return seeds

    @field_validator("trials", "epochs", "batch_size", "patience")
    @classmethod
    def _positive(cls, value: int) -> int:
        if value < 1:
            raise OptionError(f"trials, epochs, batch size and patience must be at least 1, got {value}")
        return value

    @field_validator("margin")
    @classmethod
    def _share(cls, margin: float) -> float:
        if not 0 < margin < 1:
            raise OptionError(f"the margin is a share between 0 and 1 (0.01 = 1 %), got {margin}")
        return margin

    @field_validator("arms")
    @classmethod
    def _known(cls, arms: list[str]) -> list[str]:
        variants = [a for a in dict.fromkeys(arms) if "@" in a or "+" in a]
        for arm in variants:
            check_variant(arm)
        for arm in arms:
            if arm not in ARMS and arm not in variants:
                raise OptionError(f'unknown arm "{arm}": {nearest(arm, ARMS)}')
        return [a for a in ARMS if a in arms or a in NEEDED] + variants

    def table_spec(self) -> TableSpec:
        """The columns' roles."""
        known: Any = {k: tuple(v) if isinstance(v, list) else v for k, v in self.spec.items()}
        return TableSpec(**known)


def content_hash(path: Path | str) -> str:
    """SHA-256 of a file; raises :class:`DataError` if it is not there."""
    digest = hashlib.sha256()
    try:
        with Path(path).open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except FileNotFoundError:
        raise DataError(f'no such file: "{path}"') from None
    except IsADirectoryError:
        raise DataError(f'"{path}" is a folder: give the table file inside it') from None
    return digest.hexdigest()


def parse_seeds(text: str | Iterable[int]) -> list[int]:
    """``"0,1,2"``, ``"0-4"`` or a mixture -> list; raises :class:`OptionError` for anything else."""
    if not isinstance(text, str):
        return [int(s) for s in text]
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        try:
            some = range(int(first), int(last) + 1) if dash else [int(first)]
        except ValueError:
            raise OptionError(f'seeds are whole numbers such as "0,1,2" or "0-4", got "{text}"') from None
        if not some:
            raise OptionError(f'seeds run upwards, such as "0-4", got "{part.strip()}"')
        seeds += some
    return seeds
