"""A registry of one's own for tests that register systems."""

from __future__ import annotations

import importlib
import sys

import pytest

from sharewise.systems import _registry


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> dict:
    """An empty table and no system found; both are as before afterwards."""
    found: dict = {}
    monkeypatch.setattr(_registry, "_FOUND", found)
    monkeypatch.setattr(_registry, "WHERE", {})
    return found


@pytest.fixture
def toy(registry: dict) -> str:
    """The id of a registered system with known numbers."""
    sys.modules.pop("helpers.toy_system", None)
    importlib.import_module("helpers.toy_system")
    return "toy"
