"""Skips, with their reason, of tests that need an extra."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

needs_rdkit = pytest.mark.skipif(find_spec("rdkit") is None, reason='needs rdkit: pip install "sharewise[molecules]"')
needs_gymnasium = pytest.mark.skipif(
    find_spec("gymnasium") is None, reason='needs gymnasium: pip install "sharewise[robots]"'
)
needs_atari = pytest.mark.skipif(find_spec("ale_py") is None, reason='needs ale-py: pip install "sharewise[robots]"')
needs_snntorch = pytest.mark.skipif(
    find_spec("snntorch") is None, reason='needs snntorch: pip install "sharewise[robots]"'
)
