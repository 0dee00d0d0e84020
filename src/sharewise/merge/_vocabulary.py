"""A tokenizer's vocabulary, read from its files, and the union of several, written back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import MergeError
from ..files import write_json

TOKENIZER, VOCAB, WORDS, ADDED = "tokenizer.json", "vocab.json", "vocab.txt", "added_tokens.json"
_PLAIN = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False}
"""How a token behaves that was no added one before."""


@dataclass(frozen=True)
class Vocabulary:
    """Tokens and their rows.

    Attributes:
        ids: token -> row of the embedding.
        added: entries of added tokens (as ``tokenizer.json`` has them) by their text, special ones among them.
    """

    ids: Mapping[str, int]
    added: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Rows an embedding needs for it."""
        return max(self.ids.values(), default=-1) + 1

    def within(self, rows: int) -> Vocabulary:
        """Without tokens that have no row."""
        ids = {token: row for token, row in self.ids.items() if row < rows}
        return Vocabulary(ids, {token: entry for token, entry in self.added.items() if token in ids})

    def joined(self, others: Iterable[Vocabulary]) -> Vocabulary:
        """This one as it is; behind it, in order, the ordinary tokens of the others and then their added ones."""
        ids, added = dict(self.ids), dict(self.added)
        rest, free = list(others), self.size
        for ordinary in (True, False):
            for other in rest:
                for token in sorted(other.ids, key=other.ids.__getitem__):
                    if (token not in other.added) == ordinary and token not in ids:
                        ids[token] = free
                        free += 1
                        added[token] = other.added.get(token, _PLAIN)
        return Vocabulary(ids, added)


def read_vocabulary(folder: Path | None, name: str) -> Vocabulary | None:
    """From ``tokenizer.json``, else ``vocab.json`` or ``vocab.txt`` with ``added_tokens.json``; ``None`` without any.

    Raises :class:`MergeError` for a file that cannot be understood.
    """
    if folder is None:
        return None
    try:
        if (folder / TOKENIZER).is_file():
            return _whole(_json(folder / TOKENIZER))
        if (folder / VOCAB).is_file():
            ids = {str(t): int(i) for t, i in _json(folder / VOCAB).items()}
        elif (folder / WORDS).is_file():
            ids = {t: i for i, t in enumerate((folder / WORDS).read_text(encoding="utf-8").splitlines())}
        else:
            return None
        added = _json(folder / ADDED) if (folder / ADDED).is_file() else {}
        return Vocabulary({**ids, **{str(t): int(i) for t, i in added.items()}}, dict.fromkeys(added, _PLAIN))
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise MergeError(f'the tokenizer of "{name}" cannot be read ({error!r}): copy or download it again') from None


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _whole(content: Mapping[str, Any]) -> Vocabulary:
    vocab = content["model"]["vocab"]
    if isinstance(vocab, list):  # Unigram: [token, score], a row each
        vocab = {str(entry[0]): i for i, entry in enumerate(vocab)}
    ids = {str(token): int(row) for token, row in vocab.items()}
    added = {str(entry["content"]): entry for entry in content.get("added_tokens") or ()}
    return Vocabulary({**ids, **{token: int(entry["id"]) for token, entry in added.items()}}, added)


def write_additions(vocabulary: Vocabulary, known: Vocabulary, folder: Path) -> None:
    """Put what ``vocabulary`` has besides ``known`` into the tokenizer files that stand in ``folder``, as added tokens:
    a tokenizer never splits those, and no other model's merge rules are needed to find them."""
    new = {token: row for token, row in vocabulary.ids.items() if token not in known.ids}
    if not new:
        return
    if (folder / TOKENIZER).is_file():
        content = _json(folder / TOKENIZER)
        entries = [{**_PLAIN, **vocabulary.added[token], "id": row, "content": token} for token, row in new.items()]
        write_json(folder / TOKENIZER, {**content, "added_tokens": [*(content.get("added_tokens") or ()), *entries]})
    else:
        former = _json(folder / ADDED) if (folder / ADDED).is_file() else {}
        write_json(folder / ADDED, {**former, **new})
