"""Whose tokenizer the output has, and that the models agree on what each row of an embedding stands for."""

from __future__ import annotations

import json
from collections.abc import Mapping

from ..errors import MergeError
from ._plan import Plan, Reference
from ._sources import Source


def tokenizer_of(plan: Plan, models: Mapping[Reference, Source]) -> Source | None:
    """The model whose tokenizer files are carried over, or ``None`` for the one whose config is.

    Raises :class:`MergeError` for a source that is no model of the plan, for tokens and padding asked for by
    ``tokenizer``, and for ``union`` where the vocabularies differ: rows are not matched by token.
    """
    if plan.tokenizer and (plan.tokenizer.tokens or plan.tokenizer.pad_to_multiple_of):
        raise MergeError(
            "tokenizer.tokens and pad_to_multiple_of are not supported: change the models' tokenizers first"
        )
    wanted = plan.tokenizer.source if plan.tokenizer else plan.tokenizer_source
    if wanted in (None, "base"):
        return None
    if wanted == "union":
        _check_same(models)
        return None
    found = [source for reference, source in models.items() if wanted in (reference.path, reference.name)]
    if not found:
        raise MergeError(f'tokenizer_source "{wanted}" is neither base nor union nor a model of the plan')
    return found[0]


def _check_same(models: Mapping[Reference, Source]) -> None:
    known = {source.name: v for source in models.values() if (v := _vocabulary(source)) is not None}
    names = list(known)
    for name in names[1:]:
        if known[name] != known[names[0]]:
            raise MergeError(
                f'the vocabularies of "{names[0]}" and "{name}" differ; rows of embeddings are not matched by token: '
                "merge models of one tokenizer"
            )


def _vocabulary(source: Source) -> dict[str, object] | None:
    """``tokenizer.json``'s vocabulary and added tokens; ``None`` where there is no such file."""
    path = source.folder / "tokenizer.json" if source.folder else None
    if path is None or not path.is_file():
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    return {"vocabulary": content.get("model", {}).get("vocab"), "added": content.get("added_tokens")}
