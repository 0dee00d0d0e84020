"""Whose tokenizer the output has, and where each model's embeddings keep the rows of its tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ..errors import MergeError, nearest
from ._plan import Plan, Reference, TokenModel, TokenSource
from ._rows import MEAN, PADDING, ZERO, MatchedSource, Rows, is_vocabulary
from ._sources import Source
from ._vocabulary import Vocabulary, read_vocabulary, write_additions


@dataclass(frozen=True)
class Matched:
    """Models whose vocabularies are one.

    Attributes:
        models: with their vocabulary tensors in the output's order, where that differs from their own.
        tokenizer: whose tokenizer files are carried over; ``None`` for those of the model whose config is.
        vocabulary: the output's, where rows were matched.
        known: that of the carried files.
    """

    models: Mapping[Reference, Source]
    tokenizer: Source | None = None
    vocabulary: Vocabulary | None = None
    known: Vocabulary | None = None
    size: int | None = None

    def finish(self, folder: Path) -> None:
        """Add to the tokenizer files in ``folder`` the tokens they lack."""
        if self.vocabulary is not None and self.known is not None:
            write_additions(self.vocabulary, self.known, folder)


def match(plan: Plan, models: Mapping[Reference, Source]) -> Matched:
    """Models as the plan's ``tokenizer_source`` (or ``tokenizer``) wants them.

    Rows are matched by token (as in mergekit): a token a model lacks gets the row of the only model that has it, else
    of the base if that has it, else the mean of the models that have it, else zeros; ``tokenizer.tokens`` says
    otherwise for single tokens. Rows for padding get the mean of all rows. Raises :class:`MergeError` for a source that
    is no model of the plan, a model without tokenizer files, and tokens whose rows are asked of a model that lacks
    them.
    """
    wanted = plan.tokenizer.source or "union" if plan.tokenizer else plan.tokenizer_source
    if wanted is None:
        return Matched(models)
    origin = plan.base_model or plan.references()[0]
    order = [origin, *(r for r in models if r != origin)]
    owner = origin if wanted in ("base", "union") else _named(wanted, models, "tokenizer_source")
    carried = None if owner == origin else models[owner]
    found = {r: read_vocabulary(models[r].folder, models[r].name) for r in order}
    asked = plan.tokenizer.tokens if plan.tokenizer else {}
    multiple = plan.tokenizer.pad_to_multiple_of if plan.tokenizer else None
    if not asked and not multiple and _alike(found, models):
        return Matched(models, carried)
    own = {r: _own(v, r, found[owner], models) for r, v in found.items()}
    known = own[owner]
    target = known.joined(own[r] for r in order) if wanted == "union" else known
    target = target.joined([Vocabulary({token: i for i, token in enumerate(asked)})])
    size = target.size
    size = -(-size // multiple) * multiple if multiple else size
    maker = _Maker(order, own, target, plan.base_model, asked, models)
    sources = [models[r] for r in order]
    matched = {r: MatchedSource(models[r], sources, maker.rows(r, size)) for r in models}
    return Matched(matched, carried, target, known, size)


def _named(wanted: str, models: Mapping[Reference, Source], what: str) -> Reference:
    for reference in models:
        if wanted in (reference.path, reference.name):
            return reference
    known = [r.name for r in models]
    raise MergeError(f'{what} "{wanted}" is neither base nor union nor a model of the plan; {nearest(wanted, known)}')


def _rows_of(source: Source) -> int | None:
    """How many rows its embeddings have."""
    sizes = [info.shape[0] for name, info in source.tensors.items() if is_vocabulary(name) and info.shape]
    return max(sizes, default=None)


def _alike(found: Mapping[Reference, Vocabulary | None], models: Mapping[Reference, Source]) -> bool:
    """Whether all that have a tokenizer have the same one, and embeddings of as many rows."""
    known = [v.ids for v in found.values() if v is not None]
    return all(v == known[0] for v in known) and len({_rows_of(models[r]) for r in found}) == 1


def _own(
    vocabulary: Vocabulary | None, reference: Reference, default: Vocabulary | None, models: Mapping[Reference, Source]
) -> Vocabulary:
    """Its vocabulary without tokens that have no row; the tokenizer's owner's where it has no files of its own."""
    rows = _rows_of(models[reference])
    if vocabulary is None:
        vocabulary = default
    if vocabulary is None:
        raise MergeError(
            f'"{reference.name}" has no tokenizer files (tokenizer.json, vocab.json or vocab.txt): rows of embeddings '
            "cannot be matched by token; copy them beside its weights"
        )
    return vocabulary if rows is None else vocabulary.within(rows)


@dataclass(frozen=True)
class _Maker:
    """Finds where every row comes from."""

    order: Sequence[Reference]
    own: Mapping[Reference, Vocabulary]
    target: Vocabulary
    base: Reference | None
    asked: Mapping[str, TokenSource]
    models: Mapping[Reference, Source]

    def rows(self, reference: Reference, size: int) -> Rows:
        """For one model."""
        donor, row = torch.full((size,), ZERO), torch.zeros(size, dtype=torch.long)
        donor[self.target.size :] = PADDING
        mine, me = self.own[reference].ids, self.order.index(reference)
        means: dict[int, Sequence[tuple[int, int]]] = {}
        for token, new in self.target.ids.items():
            wish = self.asked.get(token)
            if token in mine and not (wish and wish.force):
                donor[new], row[new] = me, mine[token]
                continue
            place = self._asked(token, wish) if wish and wish.source is not None else self._default(token)
            if isinstance(place, tuple):
                donor[new], row[new] = place
            elif place:
                donor[new], means[new] = MEAN, place
        return Rows(donor, row, means)

    def _default(self, token: str) -> tuple[int, int] | list[tuple[int, int]] | None:
        having = [(i, self.own[r].ids[token]) for i, r in enumerate(self.order) if token in self.own[r].ids]
        if len(having) == 1:
            return having[0]
        if self.base is not None and token in self.own[self.base].ids:
            return self.order.index(self.base), self.own[self.base].ids[token]
        return having or None

    def _asked(self, token: str, wish: TokenSource) -> tuple[int, int] | None:
        if isinstance(wish.source, TokenModel):
            if wish.source.kind == "zero":
                return None
            reference = _named(str(wish.source.model), self.models, f'the source of token "{token}"')
            found = wish.source.token_id
            if found is None:
                found = self._row(reference, str(wish.source.token))
            elif found >= (_rows_of(self.models[reference]) or 0):
                raise MergeError(f'"{reference.name}" has no row {found}, which token "{token}" is to get')
            return self.order.index(reference), found
        reference = _named(str(wish.source), self.models, f'the source of token "{token}"')
        return self.order.index(reference), self._row(reference, token)

    def _row(self, reference: Reference, token: str) -> int:
        ids = self.own[reference].ids
        if token not in ids:
            raise MergeError(f'"{reference.name}" has no token "{token}", whose row is asked of it')
        return ids[token]
