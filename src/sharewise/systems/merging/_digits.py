"""Eight tasks on scikit-learn's digits: each sees the images its own way and asks something else about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor

from ._bed import Bed, Examples, Headed, Part, Task, frozen_head
from ._networks import Perceptron
from ._training import Recipe, fine_tune, pretrain

_LOOPS = (1, 0, 0, 0, 1, 0, 1, 0, 2, 1)
"""Closed loops of the printed digits 0 to 9."""
_PRIMES = (2, 3, 5, 7)

VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda x: x,
    "quarter_turn": lambda x: x.rot90(1, (1, 2)),
    "negative": lambda x: 1 - x,
    "transpose": lambda x: x.transpose(1, 2),
    "shift_across": lambda x: x.roll(3, 2),
    "flip": lambda x: x.flip(1),
    "half_turn": lambda x: x.rot90(2, (1, 2)),
    "shift_down": lambda x: x.roll(3, 1),
}
"""How each task sees images ``[n, 8, 8]`` in 0 ... 1. Shifts go around the edge, so that nothing is lost."""
TASKS: dict[str, str] = {
    "digit": "identity",
    "parity": "quarter_turn",
    "mod_3": "negative",
    "above_4": "transpose",
    "renamed": "shift_across",
    "loops": "flip",
    "prime": "half_turn",
    "affine": "shift_down",
}
"""Task -> its view. ``renamed``: a random permutation of the ten digits; ``affine``: ``(3 d + 1) mod 10``."""
_SEEN_BEFORE = ("quarter_turn", "negative", "transpose", "flip")
"""The views of which pre-training has some samples."""


@dataclass(frozen=True)
class Sizes:
    """Of one scale: the network, and how it is trained before and for the tasks."""

    widths: tuple[int, ...] = (128, 128, 128)
    before: Recipe = field(default_factory=Recipe)
    tuning: Recipe = field(default_factory=Recipe)
    extra: int = 300
    """Samples of each view in :data:`_SEEN_BEFORE` that pre-training sees."""
    images: int = 1797

    def of(self, seed: int) -> Bed:
        """The bed under one seed, kept in memory."""
        return digits_bed(seed, self)


SMOKE_SIZES = Sizes((16, 16, 16), Recipe(2), Recipe(2), extra=20, images=300)
"""Seconds for all arms; proves only that they run."""


def classes_of(task: str, digits: Tensor, renaming: Tensor) -> Tensor:
    """What a task asks of each digit."""
    lists = {"loops": torch.tensor(_LOOPS), "renamed": renaming}
    if task in lists:
        return lists[task][digits]
    if task == "prime":
        return torch.isin(digits, torch.tensor(_PRIMES)).long()
    return {
        "digit": digits,
        "parity": digits % 2,
        "mod_3": digits % 3,
        "above_4": (digits > 4).long(),
        "affine": (3 * digits + 1) % 10,
    }[task]


@lru_cache(maxsize=1)
def _images() -> tuple[Tensor, Tensor]:
    """All images ``[1797, 8, 8]`` in 0 ... 1, and their digits."""
    from sklearn.datasets import load_digits

    images, digits = load_digits(return_X_y=True)
    return torch.tensor(images, dtype=torch.float32).view(-1, 8, 8) / 16, torch.tensor(digits)


def split(count: int, generator: torch.Generator) -> dict[Part, Tensor]:
    """Rows of each part, shuffled: 60, 20 and 20 %."""
    order = torch.randperm(count, generator=generator)
    a, b = round(0.6 * count), round(0.8 * count)
    return {"train": order[:a], "validation": order[a:b], "test": order[b:]}


@lru_cache(maxsize=2)
def digits_bed(seed: int, sizes: Sizes) -> Bed:
    """The benchmark under one seed: split, heads, renaming, pre-training and the eight fine-tunes; kept in memory."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Headed(Perceptron(64, sizes.widths), sizes.widths[-1], 10)
        return _make(model, torch.Generator().manual_seed(seed), sizes)


def _make(model: Headed, generator: torch.Generator, sizes: Sizes) -> Bed:
    images, digits = (x[: sizes.images] for x in _images())
    rows = split(len(images), generator)
    renaming = torch.randperm(10, generator=generator)
    model.head.weight.data = frozen_head(10, model.width, generator, 1.0)
    before = _before(images[rows["train"]], digits[rows["train"]], sizes.extra, generator)
    base = pretrain(model, before, sizes.before, generator)
    tasks = {}
    for task, view in TASKS.items():
        labels = classes_of(task, digits, renaming)
        seen = VIEWS[view](images)
        parts = {part: Examples(seen[r], labels[r]) for part, r in rows.items()}
        tasks[task] = Task(frozen_head(int(labels.max()) + 1, model.width, generator), parts)
    experts = fine_tune(model, base, tasks, sizes.tuning, generator)
    return Bed(model.eval().requires_grad_(False), base, experts, tasks)


def _before(images: Tensor, digits: Tensor, extra: int, generator: torch.Generator) -> Examples:
    inputs, labels = [images], [digits]
    for view in _SEEN_BEFORE:
        some = torch.randperm(len(images), generator=generator)[:extra]
        inputs.append(VIEWS[view](images[some]))
        labels.append(digits[some])
    return Examples(torch.cat(inputs), torch.cat(labels))
