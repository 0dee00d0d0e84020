"""Which layer a tensor belongs to, read from its name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_NUMBER = re.compile(r"^(.*?)(?:^|(?<=\.))(\d+)\.(.*)$")
_FIRST = re.compile(r"(^|[._])(embed|embeddings|wte|wpe|embed_tokens|tok_embeddings|patch_embed|stem)", re.IGNORECASE)


@dataclass(frozen=True)
class Place:
    """``prefix`` + layer + ``.`` + ``rest``: ``model.layers.`` 3 ``self_attn.q_proj.weight``."""

    prefix: str
    layer: int
    rest: str

    def name(self, layer: int) -> str:
        """The same tensor of another layer."""
        return f"{self.prefix}{layer}.{self.rest}"


def place_of(tensor: str) -> Place | None:
    """Where the first whole number in a name stands, the layer's in all common architectures; ``None`` without one.

    >>> place_of("model.layers.3.mlp.experts.1.w1.weight")
    Place(prefix='model.layers.', layer=3, rest='mlp.experts.1.w1.weight')
    """
    found = _NUMBER.match(tensor)
    return Place(found[1], int(found[2]), found[3]) if found else None


def stacks(tensors: Iterable[str]) -> dict[str, list[int]]:
    """Prefix -> layers, of every stack of layers."""
    found: dict[str, set[int]] = {}
    for place in map(place_of, tensors):
        if place is not None:
            found.setdefault(place.prefix, set()).add(place.layer)
    return {prefix: sorted(layers) for prefix, layers in found.items()}


def comes_first(tensor: str) -> bool:
    """Whether a tensor outside of the layers stands before them (embeddings) rather than after (norm, head)."""
    return _FIRST.search(tensor) is not None
