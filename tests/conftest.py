"""What every test starts from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """The same global random state before every test."""
    torch.manual_seed(0)
    yield
