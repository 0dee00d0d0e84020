"""Eight tasks on emoji, as on digits: each sees the images its own way and asks something else about them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from ...data.sets._folder import in_folder
from ...errors import DataError
from ._bed import Bed, Examples, Headed, Part, Task, frozen_head
from ._networks import Perceptron
from ._training import Recipe, fine_tune, pretrain

PLACE = "emoji-datasource-google/package"
"""Where the npm package emoji-datasource-google 16.0.0 lies in the folder."""
_SKIN = {"1F3FB": 1, "1F3FC": 2, "1F3FD": 3, "1F3FE": 4, "1F3FF": 5}
_WOMAN, _MAN = {"2640", "1F469", "1F467", "1F475", "1F478"}, {"2642", "1F468", "1F466", "1F474", "1F934"}
_BOX = 16
"""Pixels of a side."""

QUESTIONS: dict[str, str] = {
    "category": "identity",
    "skin": "quarter_turn",
    "gender": "negative",
    "toned": "transpose",
    "renamed": "shift_across",
    "people": "flip",
    "dark": "half_turn",
    "tone_depth": "shift_down",
}
"""Task -> how it sees images. ``toned``: has a skin tone; ``renamed``: categories permuted; ``people``: whether it
shows people; ``dark``: darker than half of all; ``tone_depth``: none, light or dark skin."""
_SHIFT = 6


@dataclass(frozen=True)
class EmojiSizes:
    """Of one scale: the network and how it is trained; ``images`` limits their number."""

    widths: tuple[int, ...] = (128, 128, 128)
    before: Recipe = field(default_factory=lambda: Recipe(10))
    tuning: Recipe = field(default_factory=lambda: Recipe(10))
    images: int | None = None

    def of(self, seed: int) -> Bed:
        """The bed under one seed, kept in memory."""
        return emoji_bed(seed, self)


@dataclass(frozen=True)
class Emoji:
    """Images ``[N, 3, 16, 16]`` on white in 0 ... 1, labels by question, and the emoji each is a variant of."""

    images: Tensor
    labels: dict[str, Tensor]
    number: Tensor


def folder() -> Path:
    """The package's folder; raises :class:`~sharewise.errors.DataError` where it is not there."""
    return in_folder(f"{PLACE}/emoji.json", "unpack that npm package there").parent


@lru_cache(maxsize=1)
def read_emoji(place: Path) -> Emoji:
    """Every emoji with at most one skin tone."""
    try:
        from PIL import Image
    except ImportError:
        raise DataError("emoji are read with the package pillow, which is not installed: pip install pillow") from None
    import numpy as np

    entries = json.loads((place / "emoji.json").read_text(encoding="utf-8"))
    categories = sorted({e["category"] for e in entries})
    rows: list[tuple[int, int, int, int]] = []
    images = []
    for number, e in enumerate(entries):
        for tone, variant in [("", e), *e.get("skin_variations", {}).items()]:
            path = place / "img/google/64" / variant["image"]
            if "-" in tone or not path.is_file():
                continue
            with Image.open(path) as image:
                rgba = torch.from_numpy(np.asarray(image.convert("RGBA"), dtype=np.float32) / 255).permute(2, 0, 1)
            images.append(adaptive_avg_pool2d(rgba[:3] * rgba[3] + 1 - rgba[3], _BOX))
            rows.append((categories.index(e["category"]), _SKIN.get(tone, 0), _gender(e["unified"]), number))
    category, skin, gender, numbers = torch.tensor(rows).T
    return Emoji(torch.stack(images), _questions(torch.stack(images), category, skin, gender, categories), numbers)


def _gender(unified: str) -> int:
    codes = set(unified.split("-"))
    return 1 if codes & _WOMAN and not codes & _MAN else 2 if codes & _MAN and not codes & _WOMAN else 0


def _questions(images: Tensor, category: Tensor, skin: Tensor, gender: Tensor, names: list[str]) -> dict[str, Tensor]:
    light = images.mean((1, 2, 3))
    return {
        "category": category,
        "skin": skin,
        "gender": gender,
        "toned": (skin > 0).long(),
        "renamed": category,
        "people": (category == names.index("People & Body")).long(),
        "dark": (light < light.median()).long(),
        "tone_depth": (skin > 0).long() + (skin > 2).long(),
    }


def seen(view: str, images: Tensor) -> Tensor:
    """Images ``[n, 3, 16, 16]`` as a task sees them; shifts go around the edge."""
    if view == "negative":
        return 1 - images
    if view in ("quarter_turn", "half_turn"):
        return images.rot90(1 if view == "quarter_turn" else 2, (2, 3))
    if view in ("shift_across", "shift_down"):
        return images.roll(_SHIFT, 3 if view == "shift_across" else 2)
    return {"identity": images, "transpose": images.transpose(2, 3), "flip": images.flip(2)}[view]


def grouped_split(number: Tensor, generator: torch.Generator) -> dict[Part, Tensor]:
    """Rows of each part (60, 20 and 20 % of the emoji), shuffled; all variants of an emoji are in one part."""
    rank = torch.rand(int(number.max()) + 1, generator=generator)[number]
    order = torch.randperm(len(number), generator=generator)
    part = rank[order]
    return {
        "train": order[part < 0.6],
        "validation": order[(part >= 0.6) & (part < 0.8)],
        "test": order[part >= 0.8],
    }


@lru_cache(maxsize=2)
def emoji_bed(seed: int, sizes: EmojiSizes) -> Bed:
    """The benchmark under one seed; pre-training asks for the category of images as they are."""
    found = read_emoji(folder())
    generator = torch.Generator().manual_seed(seed)
    if sizes.images is not None:
        some = torch.randperm(len(found.number), generator=generator)[: sizes.images]
        found = Emoji(found.images[some], {n: v[some] for n, v in found.labels.items()}, found.number[some])
    rows = grouped_split(found.number, generator)
    categories = int(found.labels["category"].max()) + 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Headed(Perceptron(found.images[0].numel(), sizes.widths), sizes.widths[-1], categories)
    model.head.weight.data = frozen_head(categories, model.width, generator, 1.0)
    plain = Examples(found.images[rows["train"]], found.labels["category"][rows["train"]])
    base = pretrain(model, plain, sizes.before, generator)
    renaming = torch.randperm(categories, generator=generator)
    tasks = {}
    for task, view in QUESTIONS.items():
        labels = renaming[found.labels[task]] if task == "renamed" else found.labels[task]
        images = seen(view, found.images)
        parts = {part: Examples(images[r], labels[r]) for part, r in rows.items()}
        tasks[task] = Task(frozen_head(int(labels.max()) + 1, model.width, generator), parts)
    return Bed(model.eval().requires_grad_(False), base, fine_tune(model, base, tasks, sizes.tuning, generator), tasks)
