"""A BERT encoder whose lower part is frozen: read from a package's safetensors, fine-tuned and merged above.

Its linear layers see real tokens alone, packed one text after the other: short texts cost what they are long, and the
Gram matrices of inputs have no padding in them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from ...errors import DataError

_NAMES = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "norm": "output.LayerNorm",
}
"""A block's modules -> their names in BERT's files."""


@dataclass(frozen=True)
class Shape:
    """What ``config.json`` says of the network."""

    width: int
    heads: int
    inner: int
    layers: int
    words: int
    positions: int
    epsilon: float

    @classmethod
    def read(cls, path: Path) -> Shape:
        """Of a ``config.json``; raises :class:`~sharewise.errors.DataError` for one that is not BERT's."""
        found = json.loads(path.read_text(encoding="utf-8"))
        if found.get("model_type") != "bert" or found.get("hidden_act") != "gelu":
            raise DataError(f'"{path}" is of a model "{found.get("model_type")}", expected a BERT with GELU')
        keys = ("hidden_size", "num_attention_heads", "intermediate_size", "num_hidden_layers", "vocab_size",
                "max_position_embeddings", "layer_norm_eps")  # fmt: skip
        return cls(*(found[key] for key in keys))


class Tokens:
    """Where the real tokens of padded texts ``[n, length]`` are.

    Attributes:
        mask: ``[n, length]``, true for real tokens, which come first.
        text: of each real token ``[tokens]`` the text it belongs to.
    """

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask[:, : int(mask.sum(1).max())]
        self.text = self.mask.nonzero()[:, 0]

    def pack(self, padded: Tensor) -> Tensor:
        """``[n, length, ...]`` -> ``[tokens, ...]``."""
        return padded[:, : self.mask.shape[1]][self.mask]

    def pad(self, packed: Tensor) -> Tensor:
        """``[tokens, ...]`` -> ``[n, length, ...]``, zero where there is no token."""
        padded = packed.new_zeros(*self.mask.shape, *packed.shape[1:])
        return padded.index_put((self.mask,), packed)

    def mean(self, packed: Tensor) -> Tensor:
        """Mean over the tokens of each text: ``[tokens, width]`` -> ``[n, width]``."""
        total = packed.new_zeros(len(self.mask), packed.shape[1]).index_add(0, self.text, packed)
        return total / self.mask.sum(1, keepdim=True)


class Block(nn.Module):
    """One layer of BERT: attention within each text, then a network of two layers; norms come after the sums."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width, self.heads = shape.width, shape.heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.output = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width, shape.epsilon)
        self.up, self.down = nn.Linear(width, shape.inner), nn.Linear(shape.inner, width)
        self.norm = nn.LayerNorm(width, shape.epsilon)

    def forward(self, x: Tensor, tokens: Tokens) -> Tensor:
        """Packed ``[tokens, width]`` in and out."""
        q, k, v = (self._heads(f(x), tokens) for f in (self.query, self.key, self.value))
        seen = scaled_dot_product_attention(q, k, v, attn_mask=tokens.mask[:, None, None, :])
        x = self.attention_norm(x + self.output(tokens.pack(seen.transpose(1, 2)).flatten(1)))
        result: Tensor = self.norm(x + self.down(gelu(self.up(x))))
        return result

    def _heads(self, x: Tensor, tokens: Tokens) -> Tensor:
        """Packed ``[tokens, width]`` -> ``[n, heads, length, width / heads]``."""
        return tokens.pad(x.unflatten(1, (self.heads, -1))).transpose(1, 2)


class Frozen(nn.Module):
    """BERT's embeddings and its first layers: token numbers in, hidden states out."""

    def __init__(self, shape: Shape, layers: int) -> None:
        super().__init__()
        self.words, self.positions = (nn.Embedding(n, shape.width) for n in (shape.words, shape.positions))
        self.kinds = nn.Parameter(torch.zeros(2, shape.width))  # a single text is of the first kind
        self.norm = nn.LayerNorm(shape.width, shape.epsilon)
        self.layers = nn.ModuleList(Block(shape) for _ in range(layers))

    @torch.no_grad()
    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """``[n, length]`` each -> ``[n, length, width]``, zero where ``mask`` is false."""
        tokens = Tokens(mask)
        length = tokens.mask.shape[1]
        place = torch.arange(length).expand(len(ids), length)
        x = self.norm(self.words(tokens.pack(ids)) + self.positions(tokens.pack(place)) + self.kinds[0])
        for layer in self.layers:
            x = layer(x, tokens)
        return nn.functional.pad(tokens.pad(x), (0, 0, 0, ids.shape[1] - length))


class Upper(nn.Module):
    """BERT's remaining layers and the mean over tokens: hidden states ``[n, length, width]`` -> ``[n, width]``.

    Tokens that are not there are rows of zeros. Layers keep their numbers, so that methods know a layer's depth.
    """

    def __init__(self, shape: Shape, first: int) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({str(i): Block(shape) for i in range(first, shape.layers)})
        self.width = shape.width

    def forward(self, hidden: Tensor) -> Tensor:
        """Features."""
        tokens = Tokens((hidden != 0).any(2))
        x = tokens.pack(hidden)
        for layer in self.layers.values():
            x = layer(x, tokens)
        return tokens.mean(x)


def read_transformer(folder: Path, trained: int) -> tuple[Frozen, Upper]:
    """The network in ``folder`` (``config.json``, ``model.safetensors``), its last ``trained`` layers apart.

    Raises :class:`~sharewise.errors.DataError` for files of another architecture.
    """
    shape = Shape.read(folder / "config.json")
    below, above = Frozen(shape, shape.layers - trained), Upper(shape, shape.layers - trained)
    tensors = {n.removeprefix("bert."): v for n, v in load_file(folder / "model.safetensors").items()}
    own = {
        "words.weight": "embeddings.word_embeddings.weight",
        "positions.weight": "embeddings.position_embeddings.weight",
        "kinds": "embeddings.token_type_embeddings.weight",
        "norm.weight": "embeddings.LayerNorm.weight",
        "norm.bias": "embeddings.LayerNorm.bias",
    }
    for module in (below, above):
        names = {name: own.get(name) or _in_file(name) for name in module.state_dict()}
        lacking = sorted(set(names.values()) - set(tensors))
        if lacking:
            raise DataError(f'"{folder / "model.safetensors"}" has no "{lacking[0]}": expected the tensors of a BERT')
        module.load_state_dict({name: tensors[there] for name, there in names.items()})
        module.eval().requires_grad_(False)
    return below, above


def _in_file(name: str) -> str:
    _, number, module, leaf = name.split(".")
    return f"encoder.layer.{number}.{_NAMES[module]}.{leaf}"
