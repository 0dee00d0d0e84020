"""MoleculeNet's tables: SMILES with properties, from the folder of ``SHAREWISE_DATA``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ...errors import DataError, OptionError, nearest
from ._features import canonical, featurise
from ._table import PropertyTable

if TYPE_CHECKING:
    import polars as pl

SETS: dict[str, tuple[str, ...]] = {"measured": ("esol", "freesolv", "lipo"), "qm8": ("qm8",), "tox21": ("tox21",)}
"""What :func:`read_molecules` knows, and the files each is made of.

``measured``: solubility, hydration free energy and lipophilicity of 5,900 molecules, hardly any of which has more than
one label. ``qm8``: 12 energies and strengths of electronic transitions, complete. ``tox21``: 12 assays, yes or no, a
sixth of the labels missing.
"""

_RENAMED = {"measured log solubility in mols per litre": "esol"}
_COMPUTED = ("ESOL predicted", "Minimum Degree", "Molecular Weight", "Number of", "Polar Surface")


@dataclass(frozen=True)
class Molecules:
    """Canonical SMILES, each once, and their labels: property -> float32 ``[n]``, NaN where not measured."""

    smiles: tuple[str, ...]
    targets: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.smiles)

    def table(self, rows: np.ndarray, *, bits: int = 512) -> PropertyTable:
        """The molecules at ``rows`` with their features (:func:`featurise`)."""
        features = featurise([self.smiles[i] for i in rows], bits=bits)
        whole = PropertyTable.of(np.zeros((len(self), 1)), self.targets)  # says which properties are yes or no
        return replace(whole.select(rows), features=features)


@lru_cache(maxsize=len(SETS))
def read_molecules(name: str) -> Molecules:
    """A set of :data:`SETS`; files with the same molecule are joined by its canonical SMILES.

    Labels of the same property for one molecule are averaged; SMILES that RDKit cannot read are left out. Raises
    :class:`OptionError` for an unknown set, and :class:`DataError` without the folder or RDKit.
    """
    from ...data.sets._folder import read_from_folder

    if name not in SETS:
        raise OptionError(f'no set of molecules is called "{name}": {nearest(name, SETS)}')
    return joined([read_from_folder(f"moleculenet/{file}.csv.gz") for file in SETS[name]])


def joined(frames: list[pl.DataFrame]) -> Molecules:
    """Tables with a column ``smiles``, all others being properties, as one."""
    import polars as pl

    merged: dict[str, dict[str, list[float]]] = {}
    properties: dict[str, None] = {}
    for frame in frames:
        if "smiles" not in frame.columns:
            raise DataError(f'a table of molecules needs a column "smiles", found {frame.columns[:5]}')
        names = [c for c in frame.columns if c != "smiles" and not c.startswith(_COMPUTED)]
        values = frame.select(pl.col(names).cast(pl.Float64)).rows()
        for smiles, row in zip(canonical(frame["smiles"].to_list()), values, strict=True):
            if smiles is None:
                continue
            labels = merged.setdefault(smiles, {})
            for column, value in zip(names, row, strict=True):
                properties[_RENAMED.get(column, column)] = None
                if value is not None:
                    labels.setdefault(_RENAMED.get(column, column), []).append(value)
    missing = [float("nan")]
    targets = {
        name: np.array([np.mean(labels.get(name, missing)) for labels in merged.values()], np.float32)
        for name in properties
    }
    return Molecules(tuple(merged), targets)
