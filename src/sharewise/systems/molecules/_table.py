"""Molecules as numbers, with labels of several properties, some of them missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import DataError

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class PropertyTable:
    """``features`` float32 ``[n, d]`` and ``targets``: property -> float32 ``[n]``, NaN where it was not measured.

    ``yes_no`` names the properties whose labels are 0 and 1 only.
    """

    features: Array
    targets: dict[str, Array]
    yes_no: frozenset[str]

    @classmethod
    def of(cls, features: npt.ArrayLike, targets: Mapping[str, npt.ArrayLike] | None = None) -> PropertyTable:
        """Checked copies. Raises :class:`DataError`, naming the property, for shapes that do not fit, features
        that are not finite, infinite labels, and a property with fewer than two different labels."""
        x = np.array(features, np.float32)
        if x.ndim != 2 or not x.size:
            raise DataError(f"features have shape {list(x.shape)}, expected [molecules, columns]")
        if not np.isfinite(x).all():
            raise DataError("features hold NaN or infinity: fill or drop these columns")
        found = {}
        for name, values in (targets or {}).items():
            y = np.array(values, np.float32)
            if y.shape != x.shape[:1]:
                raise DataError(f'property "{name}" has shape {list(y.shape)} for {len(x)} molecules')
            if np.isinf(y).any():
                raise DataError(f'property "{name}" holds infinity: mark what was not measured as NaN')
            if len(np.unique(y[~np.isnan(y)])) < 2:
                raise DataError(f'property "{name}" has fewer than two different labels: nothing can be learned')
            found[name] = y
        return cls(x, found, frozenset(name for name, y in found.items() if set(np.unique(y[~np.isnan(y)])) == {0, 1}))

    @property
    def names(self) -> tuple[str, ...]:
        """The properties, in order."""
        return tuple(self.targets)

    def __len__(self) -> int:
        return len(self.features)

    def select(self, rows: npt.NDArray[Any] | Sequence[int] | slice) -> PropertyTable:
        """Some of the molecules."""
        return replace(self, features=self.features[rows], targets={name: y[rows] for name, y in self.targets.items()})

    def only(self, names: Sequence[str]) -> PropertyTable:
        """Some of the properties, with the molecules that have a label of at least one of them."""
        known = np.any([~np.isnan(self.targets[name]) for name in names], axis=0)
        return replace(self, targets={name: self.targets[name] for name in names}).select(known)
