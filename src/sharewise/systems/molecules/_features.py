"""From SMILES to numbers: Morgan fingerprints and a few descriptors (needs ``rdkit``, the extra ``molecules``)."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import DataError, OptionError
from ._table import Array

DESCRIPTORS = (
    "MolWt",
    "MolLogP",
    "MolMR",
    "TPSA",
    "FractionCSP3",
    "NumHDonors",
    "NumHAcceptors",
    "NumRotatableBonds",
    "RingCount",
    "NumAromaticRings",
    "HeavyAtomCount",
    "NumHeteroatoms",
)
"""Names of RDKit's descriptors, in the order of their columns."""


def rdkit(module: str) -> Any:
    """A module of RDKit by name; raises :class:`DataError` with the command that installs it."""
    try:
        return importlib.import_module(f"rdkit.{module}")
    except ImportError:
        raise DataError('SMILES need RDKit: pip install "sharewise[molecules]", or give features of your own') from None


def canonical(smiles: Sequence[str]) -> list[str | None]:
    """One spelling for each molecule, ``None`` where RDKit cannot read it."""
    chem, log = rdkit("Chem"), rdkit("rdBase")
    with log.BlockLogs():  # RDKit prints a line for each molecule it cannot read; they are returned instead
        read = [chem.MolFromSmiles(s) for s in smiles]
        return [None if molecule is None else chem.MolToSmiles(molecule) for molecule in read]


def featurise(smiles: Sequence[str], *, bits: int = 512, radius: int = 2) -> Array:
    """Features of molecules, float32 ``[n, bits + 12]``.

    Args:
        smiles: all readable (see :func:`canonical`).
        bits, radius: of the Morgan fingerprint (counts, as ``log(1 + count)``).

    The last columns are :data:`DESCRIPTORS`, in RDKit's units: scale them with what the training rows say
    (:class:`PropertyModel` does). Raises :class:`DataError` naming molecules that cannot be read. About 1 ms each.
    """
    if bits < 1 or radius < 0:
        raise OptionError(f"bits is {bits} and radius {radius}, expected at least 1 and 0")
    chem, log = rdkit("Chem"), rdkit("rdBase")
    known = rdkit("Chem.Descriptors")
    functions = [getattr(known, name) for name in DESCRIPTORS]
    fingerprints = rdkit("Chem.rdFingerprintGenerator").GetMorganGenerator(radius=radius, fpSize=bits)
    made: npt.NDArray[np.float32] = np.zeros((len(smiles), bits + len(DESCRIPTORS)), np.float32)
    with log.BlockLogs():
        molecules = [chem.MolFromSmiles(s) for s in smiles]
        unread = [s for s, molecule in zip(smiles, molecules, strict=True) if molecule is None]
        if unread:
            raise DataError(
                f"{len(unread)} of {len(smiles)} SMILES cannot be read, the first is {unread[0]!r}: drop them"
            )
        for row, molecule in zip(made, molecules, strict=True):
            row[:bits] = np.log1p(fingerprints.GetCountFingerprintAsNumPy(molecule))
            row[bits:] = [function(molecule) for function in functions]
    return made
