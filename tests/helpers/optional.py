"""Skips, with their reason, of tests that need an extra."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

needs_rdkit = pytest.mark.skipif(find_spec("rdkit") is None, reason='needs rdkit: pip install "sharewise[molecules]"')
