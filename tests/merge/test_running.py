"""A model is called with a batch in whatever form it comes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sharewise import Batch
from sharewise.merge._running import arguments

X, Y = torch.ones(2, 3), torch.zeros(2)


class Encoding:
    """As tokenizers give: ``keys`` and items, but no mapping."""

    def keys(self) -> list[str]:
        return ["input_ids"]

    def __getitem__(self, key: str) -> torch.Tensor:
        return X


@pytest.mark.parametrize(
    ("batch", "args", "kwargs"),
    [
        (X, 1, []),
        ((X, Y), 1, []),
        ([X, Y], 1, []),
        (Batch(X, {"t": Y}), 1, []),
        ({"input_ids": X, "mask": Y}, 0, ["input_ids", "mask"]),
        (Encoding(), 0, ["input_ids"]),
    ],
)
def test_arguments(batch: Any, args: int, kwargs: list[str]) -> None:
    found, named = arguments(batch)
    assert len(found) == args and list(named) == kwargs
    assert (found[0] if found else named["input_ids"]) is X
