"""Three small real problems: two image sets from a folder, and one table that ships in a package."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import sharewise as sw
from sharewise.data import Splits, TensorSource, load_splits, sets
from sharewise.errors import DataError
from sharewise.sharing import HardSharing, hard_sharing
from sharewise.tasks import Task
from sharewise.train import build_table_model

WIDTH = 64
FASHION = "dataset-fashion-mnist/usr/share/datasets/fashion-mnist"
DIGITS = "mnist/package/src/digits"
EMOJI = "emoji-datasource-google/package"
SKIN = {"1F3FB": 1, "1F3FC": 2, "1F3FD": 3, "1F3FE": 4, "1F3FF": 5}
WOMAN, MAN = {"2640", "1F469", "1F467", "1F475", "1F478"}, {"2642", "1F468", "1F466", "1F474", "1F934"}


class Missing(Exception):
    """The folder does not hold a set; says which file was looked for."""


@dataclass(frozen=True)
class Problem:
    """Tasks, their rows under one seed, and a model for any of the tasks; the seed gives its weights."""

    tasks: tuple[Task, ...]
    splits: Splits
    build: Callable[[tuple[Task, ...], int], HardSharing]


@dataclass(frozen=True)
class Sizes:
    """Most examples of each part."""

    train: int = 1280
    valid: int = 640
    test: int = 640


SIZES = Sizes()


class Perceptron(nn.Module):
    """Two layers on all pixels: ``[B, C, S, S]`` -> ``[B, WIDTH]``."""

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.width = WIDTH
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(pixels, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU()
        )

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.layers(images)
        return out


def health_insurance(folder: Path | None, seed: int, sizes: Sizes) -> Problem:
    """Health, limits, insurance and self-employment of people; rows drawn anew for each seed."""
    try:
        frame, spec = sets.load("health_insurance")
    except DataError as error:
        raise Missing(str(error)) from None
    total = sizes.train + sizes.valid + sizes.test
    frame = frame.sample(min(total, len(frame)), seed=seed)
    data = load_splits(frame, spec, seed=seed, valid=sizes.valid / total, test=sizes.test / total, stream=False)
    settings = {"width": WIDTH, "depth": 1, "dropout": 0.0, "numeric_embedding": "none"}

    def build(tasks: tuple[Task, ...], start: int) -> HardSharing:
        return build_table_model(data.preprocessor, tasks, seed=start, **settings)[0]

    return Problem(tuple(data.preprocessor.tasks()), data.splits, build)


def fashion_digits(folder: Path | None, seed: int, sizes: Sizes) -> Problem:
    """A garment and a digit in one image: corners of 36 x 36, the brighter pixel wins, halved to 18 x 18."""
    garments, labels, digits, values = _fashion_and_digits(_given(folder))
    rng = np.random.default_rng(seed)
    count = sizes.train + sizes.valid + sizes.test
    a, b = rng.permutation(len(garments))[:count], rng.permutation(len(digits))[:count]
    canvas = torch.maximum(F.pad(garments[a], (0, 8, 0, 8)), F.pad(digits[b], (8, 0, 8, 0)))
    images = F.avg_pool2d(canvas[:, None], 2)
    tasks = (sw.multiclass("garment", 10), sw.multiclass("digit", 10))
    return _images(images, {"garment": labels[a], "digit": values[b]}, tasks, torch.arange(count), sizes)


def emoji(folder: Path | None, seed: int, sizes: Sizes) -> Problem:
    """Category, skin tone and gender of emoji, 16 x 16 pixels; all tones of an emoji on one side of the split."""
    images, labels, base, categories = _emoji(_given(folder))
    tasks = (sw.multiclass("category", categories), sw.multiclass("skin", 6), sw.multiclass("gender", 3))
    rank = torch.from_numpy(np.random.default_rng(seed).permutation(int(base.max()) + 1))
    order = torch.argsort(rank[base], stable=True)
    return _images(images[order], {k: v[order] for k, v in labels.items()}, tasks, base[order], sizes)


PROBLEMS: dict[str, Callable[[Path | None, int, Sizes], Problem]] = {
    "fashion_digits": fashion_digits,
    "health_insurance": health_insurance,
    "emoji": emoji,
}


def _given(folder: Path | None) -> Path:
    if folder is None:
        raise Missing("no folder given")
    return folder


def _at(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.exists():
        raise Missing(f'the folder has no "{name}"')
    return path


def _images(images: Tensor, labels: dict[str, Tensor], tasks: tuple[Task, ...], group: Tensor, sizes: Sizes) -> Problem:
    """Consecutive parts, cut between groups; what is over after the test part is left out."""
    wanted = np.cumsum([sizes.train, sizes.valid, sizes.test])
    if wanted[-1] > len(images):  # a smaller set: the same shares of it
        wanted = wanted * len(images) // wanted[-1]
    starts = [0, *(torch.nonzero(group[1:] != group[:-1]).flatten() + 1).tolist(), len(images)]
    cuts = [0, *(max(s for s in starts if s <= w) for w in wanted)]

    def part(k: int) -> TensorSource:
        rows = slice(cuts[k], cuts[k + 1])
        return TensorSource(images[rows].clone(), {name: v[rows].clone() for name, v in labels.items()})

    def build(tasks: tuple[Task, ...], start: int) -> HardSharing:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(start)
            return hard_sharing(Perceptron(images[0].numel()), tasks)

    return Problem(tasks, Splits(part(0), part(1), part(2)), build)


@cache
def _fashion_and_digits(folder: Path) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """All garments and digits: images ``[N, 28, 28]`` in 0..1, and labels."""

    def read(kind: str, offset: int) -> Tensor:
        raw = gzip.decompress(_at(folder, f"{FASHION}/train-{kind}-ubyte.gz").read_bytes())
        return torch.from_numpy(np.frombuffer(raw, np.uint8, offset=offset).copy())

    garments, labels = read("images-idx3", 16).view(-1, 28, 28).float() / 255, read("labels-idx1", 8).long()
    digits = [json.loads(_at(folder, f"{DIGITS}/{d}.json").read_text())["data"] for d in range(10)]
    values = torch.tensor([d for d in range(10) for _ in range(len(digits[d]) // 784)])
    pixels = torch.tensor([x for one in digits for x in one], dtype=torch.float32).view(-1, 28, 28)
    return garments, labels, pixels, values


@cache
def _emoji(folder: Path) -> tuple[Tensor, dict[str, Tensor], Tensor, int]:
    """All emoji with at most one skin tone: images ``[N, 3, 16, 16]`` on white, labels, and the emoji each is of."""
    try:
        from PIL import Image
    except ImportError:
        raise Missing("the package pillow, which reads the images, is not installed: pip install pillow") from None

    entries = json.loads(_at(folder, f"{EMOJI}/emoji.json").read_text())
    categories = sorted({e["category"] for e in entries})
    found = []
    for number, e in enumerate(entries):
        for tone, variant in [("", e), *e.get("skin_variations", {}).items()]:
            path = _at(folder, f"{EMOJI}/img/google/64") / variant["image"]
            if "-" not in tone and path.exists():
                codes = set(e["unified"].split("-"))
                gender = 1 if codes & WOMAN and not codes & MAN else 2 if codes & MAN and not codes & WOMAN else 0
                found.append((path, categories.index(e["category"]), SKIN.get(tone, 0), gender, number))
    pixels = []
    for path, *_ in found:
        with Image.open(path) as image:
            rgba = torch.from_numpy(np.asarray(image.convert("RGBA"), dtype=np.float32) / 255).permute(2, 0, 1)
        pixels.append(F.adaptive_avg_pool2d(rgba[:3] * rgba[3] + 1 - rgba[3], 16))
    columns = torch.tensor([row[1:] for row in found]).T
    labels = {"category": columns[0], "skin": columns[1], "gender": columns[2]}
    return torch.stack(pixels), labels, columns[3], len(categories)


def describe(name: str) -> str:
    """What a set is, for the page."""
    return {
        "health_insurance": "a table: health, limits of activity, insurance and self-employment of people, four tasks",
        "fashion_digits": "images: a Fashion-MNIST garment overlaid with an MNIST digit, 18 x 18 pixels; name both",
        "emoji": "images: emoji of 16 x 16 pixels; category (10), skin tone (6), gender (3), "
        "all tones of one emoji on the same side of the split",
    }[name]
