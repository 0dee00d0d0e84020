"""SMILES to numbers."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from helpers.optional import needs_rdkit
from sharewise.errors import DataError, OptionError
from sharewise.systems.molecules import DESCRIPTORS, canonical, featurise


@needs_rdkit
def test_descriptors_of_ethanol() -> None:
    found = dict(zip(DESCRIPTORS, featurise(["CCO"], bits=64)[0, 64:], strict=True))
    # C2H6O: 2 x 12.011 + 6 x 1.008 + 15.999; three heavy atoms, no ring, one donor and acceptor.
    assert found["MolWt"] == pytest.approx(46.069, abs=2e-3)
    assert (found["HeavyAtomCount"], found["RingCount"], found["NumHDonors"]) == (3, 0, 1)
    assert (found["NumHAcceptors"], found["FractionCSP3"], found["NumHeteroatoms"]) == (1, 1, 1)


@needs_rdkit
def test_fingerprints_count_and_do_not_depend_on_the_spelling() -> None:
    x = featurise(["CCO", "OCC", "CCCCCCO"], bits=128)
    assert x.shape == (3, 128 + len(DESCRIPTORS)) and x.dtype == np.float32
    assert np.array_equal(x[0], x[1]) and not np.array_equal(x[0, :128], x[2, :128])
    assert x[2, :128].max() > np.log1p(1) + 1e-6  # a motif met more than once


@needs_rdkit
def test_what_cannot_be_read(capfd: pytest.CaptureFixture[str]) -> None:
    assert canonical(["OCC", "C1CC", "C(C"]) == ["CCO", None, None]
    with pytest.raises(DataError, match=r"1 of 2 SMILES cannot be read, the first is 'C1CC'"):
        featurise(["CCO", "C1CC"])
    with pytest.raises(OptionError, match="bits is 0"):
        featurise(["CCO"], bits=0)
    assert capfd.readouterr().err == ""


def test_without_rdkit_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rdkit.Chem", None)
    with pytest.raises(DataError, match=r'pip install "sharewise\[molecules\]"'):
        featurise(["CCO"])
