"""A model that does not keep its contract is told what is wrong, by task."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sharewise as sw
from sharewise.errors import ModelError
from sharewise.sharing import check_model

TASKS = [sw.regression("age"), sw.binary("ill"), sw.multiclass("group", 3), sw.multilabel("tags", 2)]
BATCH = sw.Batch(torch.randn(5, 4), {t.name: torch.zeros(5) for t in TASKS})
RIGHT = {"age": (5,), "ill": (5,), "group": (5, 3), "tags": (5, 2)}


class Fixed(nn.Module):
    """Gives what it is told to, and notes how it was called."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer, self.calls = answer, []
        self.inner = nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Any:
        self.calls.append((self.training, torch.is_grad_enabled()))
        self.inner(x)
        return self.answer


def shaped(**change: tuple[int, ...]) -> dict[str, Tensor]:
    return {name: torch.zeros(shape) for name, shape in {**RIGHT, **change}.items()}


def test_a_model_that_keeps_it_is_left_as_it_was() -> None:
    model = Fixed(shaped())
    model.inner.eval()
    mean = model.inner.running_mean.clone()
    check_model(model, TASKS, BATCH)
    assert model.calls == [(False, False)]
    assert (model.training, model.inner.training) == (True, False)
    assert torch.equal(model.inner.running_mean, mean)


def test_mode_is_restored_after_an_error() -> None:
    model = Fixed(shaped())
    with pytest.raises(RuntimeError):
        check_model(model, TASKS, sw.Batch(torch.randn(5, 9), BATCH.targets))
    assert model.inner.training


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (torch.zeros(5), "Fixed gave Tensor: forward must return a dictionary"),
        ({k: v for k, v in shaped().items() if k != "ill"}, 'no prediction for task "ill"; it gives "age", "group"'),
        (shaped(weight=(5,)), 'Fixed predicts "weight", which is no task'),
        (shaped(age=(5, 1)), r'task "age" \(regression\) has shape \[5, 1\] for 5 examples; it must be \[5\]'),
        (shaped(ill=(5, 2)), r'task "ill" \(binary\)'),
        (shaped(group=(5, 4)), r'task "group" \(multiclass\).*must be \[5, 3\]'),
        (shaped(tags=(5,)), r'task "tags" \(multilabel\).*must be \[5, 2\]'),
        ({**shaped(), "age": 1.0}, 'task "age" must be a tensor, got float'),
    ],
)
def test_what_is_wrong_is_named(answer: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        check_model(Fixed(answer), TASKS, BATCH)


def test_images() -> None:
    tasks = [sw.segmentation("map", 3)]
    batch = sw.Batch(torch.randn(5, 4), {"map": torch.zeros(5, 2, 2)})
    check_model(Fixed({"map": torch.zeros(5, 3, 2, 2)}), tasks, batch)
    with pytest.raises(ModelError, match=r"must be \[5, 3, H, W\]"):
        check_model(Fixed({"map": torch.zeros(5, 2, 2, 2)}), tasks, batch)
