"""Where a text keeps a protocol, and what a Llama-like model's layers answer there: the read-outs M2A keeps."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import MergeError
from ._running import evaluating
from ._statistics import Statistics

PROTECTED = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
             "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")  # fmt: skip
"""The layers of a block that are merged, by the end of their names."""
_ATTENTION = re.compile(r"^(.*\.layers\.\d+)\.self_attn$")


@dataclass(frozen=True)
class Places:
    """Of one text: tokens near markers, and pairs of a query's position and an earlier or equal key's."""

    near: list[int]
    pairs: list[tuple[int, int]]


def protocol_places(tokens: Sequence[int], markers: Sequence[Sequence[int]], radius: int = 5) -> Places | None:
    """The neighbourhoods of the last thought and the last call of a text, ``None`` where it has none.

    ``markers`` are the tokens of the opening and closing markers, in any order. As in M2A's code: of four or more
    places the last four are the bounds of the last thought and of the last call; exactly two bound a thought; other
    texts are left out. Near are ``radius`` tokens after an opening and before a closing marker. Every marker is paired
    with the tokens near markers of its kind. Different from there: the later of the two asks, as a decoder's tokens do
    not look ahead (there the earlier one asks, and the attention it protects is masked).
    """
    places = sorted({i for marker in markers for i in _found(tokens, marker)})
    if len(places) > 3:
        opening, closing = [places[-4], places[-2]], [places[-3], places[-1]]
    elif len(places) == 2:
        opening, closing = [places[0]], [places[1]]
    else:
        return None
    after = sorted({t for m in opening for t in range(m, min(len(tokens), m + radius + 1))})
    before = sorted({t for m in closing for t in range(max(0, m - radius), m + 1)})
    pairs = [(m, t) for m in opening for t in after] + [(m, t) for m in closing for t in before]
    return Places(sorted({*after, *before}), [(max(pair), min(pair)) for pair in pairs])


def _found(tokens: Sequence[int], marker: Sequence[int]) -> list[int]:
    if not marker:
        raise MergeError("a marker has no tokens")
    n = len(marker)
    return [i for i in range(len(tokens) - n + 1) if list(tokens[i : i + n]) == list(marker)]


def collect_readouts(
    model: nn.Module,
    texts: Iterable[Sequence[int]],
    markers: Sequence[Sequence[int]],
    *,
    radius: int = 5,
    pairs: int = 8,
    tokens: int = 4,
    directions: int = 2,
    seed: int = 0,
) -> Statistics:
    """What a model's layers answer around the markers of its own texts, for the method ``m2a``.

    Args:
        model: called as ``model(tokens [1, T])``; its blocks are named as Llama's, Qwen's and Mistral's in
            transformers (``*.layers.N.self_attn.q_proj`` ...), keys shared by groups of heads or not. Rotary positions
            are those that the attention is given as ``position_embeddings``; norms of queries and keys (``q_norm``)
            are respected.
        texts: tokens of calibration texts in the model's own format, such as its own transcripts.
        markers: see :func:`protocol_places`, as ``radius``.
        pairs: attention logits a text and head; ``tokens``: positions a text for the other layers; drawn by ``seed``.
        directions: random read-outs of the output a position.

    Returns:
        For each linear layer of a block, by the name of its module, ``NAME.left`` ``[blocks, m, rows]`` and
        ``NAME.right`` ``[blocks, m, columns]`` (:class:`Readouts`), float32. Each read-out is the change, to first
        order, of one number when the weight changes: an attention logit (queries and keys), or the layer's output along
        a direction. Heads that share keys share the block of their keys, so that all of them are left as they are
        (M2A's code adds them up).

    Raises:
        MergeError: if no layer is named so, or no text holds a thought.

    Cost: one forward pass a text, and the read-outs' memory, about ``pairs (width + head width)`` numbers a text and
    head. Source: "M2A" (arXiv 2605.09879), as in the authors' code; there rotary positions are left out.
    """
    draws = torch.Generator().manual_seed(seed)
    blocks = [_Block(name, module) for name, module in model.named_modules() if _ATTENTION.match(name)]
    if not blocks:
        raise MergeError(
            'no attention is named "*.layers.N.self_attn" in this model: read-outs are collected from models laid out '
            "as transformers' Llama, Qwen and Mistral"
        )
    owners = dict(model.named_modules())
    for block in blocks:
        block.find(owners, directions, draws)
    used = 0
    with ExitStack() as hooks, torch.no_grad(), evaluating(model):
        for block in blocks:
            block.listen(hooks)
        for text in texts:
            places = protocol_places(text, markers, radius)
            if places is None:
                continue
            used += 1
            model(torch.tensor(text).unsqueeze(0))
            chosen = _some(places.pairs, pairs, draws), _some(places.near, tokens, draws)
            for block in blocks:
                block.read(*chosen)
    if not used:
        raise MergeError(
            "none of the texts holds two or four of the markers: are they those of the model's own format?"
        )
    tensors = {name: value for block in blocks for name, value in block.found().items()}
    return Statistics("readouts", tensors, {name: value.shape[1] for name, value in tensors.items()})


def _some(of: list[Any], count: int, draws: torch.Generator) -> list[Any]:
    return [of[i] for i in torch.randperm(len(of), generator=draws)[:count].tolist()]


@dataclass
class _Block:
    """One block of the model: what its layers saw in the text now read, and the read-outs so far."""

    name: str
    attention: nn.Module
    layers: Mapping[str, nn.Module] = field(default_factory=dict)
    seen: dict[str, Any] = field(default_factory=dict)
    rows: dict[str, list[tuple[Tensor, Tensor]]] = field(default_factory=dict)
    directions: dict[str, Tensor] = field(default_factory=dict)

    def find(self, owners: Mapping[str, nn.Module], directions: int, draws: torch.Generator) -> None:
        """The block's layers, and random directions of length 1 for each."""
        prefix = self.name.removesuffix(".self_attn")
        self.layers = {end: owners[f"{prefix}.{end}"] for end in PROTECTED if f"{prefix}.{end}" in owners}
        if len(self.layers) < len(PROTECTED):
            missing = ", ".join(f"{prefix}.{end}" for end in PROTECTED if end not in self.layers)
            raise MergeError(f"this model has no {missing}: its blocks are not laid out as Llama's")
        for end, layer in self.layers.items():
            c = torch.randn(directions, layer.get_parameter("weight").shape[0], generator=draws)
            self.directions[end] = c / c.norm(dim=1, keepdim=True)

    def listen(self, hooks: ExitStack) -> None:
        """Keep what goes in and out of the layers, until ``hooks`` close."""

        def attend(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self.seen["turn"] = kwargs.get("position_embeddings")

        hooks.callback(self.attention.register_forward_pre_hook(attend, with_kwargs=True).remove)
        for end, layer in self.layers.items():

            def keep(module: nn.Module, args: tuple[Any, ...], out: Tensor, end: str = end) -> None:
                self.seen[end] = args[0][0].float(), out[0].float()

            hooks.callback(layer.register_forward_hook(keep).remove)

    def read(self, pairs: list[tuple[int, int]], near: list[int]) -> None:
        """Add the read-outs of the text just seen."""
        self._read_attention(pairs, near)
        for end in ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"):
            c = self.directions[end]
            x = self.seen[end][0][near]
            wide = (
                self.layers["mlp.down_proj"].get_parameter("weight").shape[1] if end == "mlp.down_proj" else x.shape[1]
            )
            self._add(end, _every(c, len(x))[None] / wide**0.5, x.repeat(len(c), 1)[None])

    def _read_attention(self, pairs: list[tuple[int, int]], near: list[int]) -> None:
        x = self.seen["self_attn.q_proj"][0]
        width = _head_width(self.attention, self.layers)
        q, k, v = (self.seen[f"self_attn.{p}_proj"][1].unflatten(-1, (-1, width)) for p in "qkv")
        kv, group = k.shape[1], q.shape[1] // k.shape[1]
        scale = width**-0.5
        asks, asked = [i for i, _ in pairs], [j for _, j in pairs]
        of_q, of_k = self._logit_gradients(q[asks], k[asked], asks, asked)
        self._add("self_attn.q_proj", scale * of_q.transpose(0, 1), x[asks].expand(q.shape[1], -1, -1))
        self._add("self_attn.k_proj", scale * _grouped(of_k, kv), x[asked].repeat(group, 1).expand(kv, -1, -1))
        attention = self._attention(q, k, near)
        c = self.directions["self_attn.o_proj"]
        o = (
            self.layers["self_attn.o_proj"].get_parameter("weight").float().unflatten(1, (-1, width))
        )  # [out, heads, head width]
        through = torch.einsum("co,ohd->hcd", c, o)  # how the direction reads a head's values
        met = attention @ x  # [heads, near, in]
        left = through.repeat_interleave(len(near), 1)
        right = met.repeat(1, len(c), 1)
        self._add("self_attn.v_proj", scale * left.unflatten(0, (kv, group)).flatten(1, 2),
                  right.unflatten(0, (kv, group)).flatten(1, 2))  # fmt: skip
        values = attention @ v.transpose(0, 1).repeat_interleave(group, 0)  # [heads, near, head width]
        self._add("self_attn.o_proj", scale * _every(c, len(near)).expand(len(values), -1, -1),
                  values.repeat(1, len(c), 1))  # fmt: skip

    def _logit_gradients(self, q: Tensor, k: Tensor, asks: list[int], asked: list[int]) -> tuple[Tensor, Tensor]:
        """Of ``q_i . k_j`` after norms and positions, in the raw ``q`` and ``k``: both ``[pairs, heads, width]``."""
        with torch.enable_grad():
            q = q.detach().requires_grad_()
            k = k.detach().repeat_interleave(q.shape[1] // k.shape[1], 1).requires_grad_()
            logits = self._ready(q, "q_norm", asks) * self._ready(k, "k_norm", asked)
            of_q, of_k = torch.autograd.grad(logits.sum(), [q, k])
        return of_q, of_k

    def _attention(self, q: Tensor, k: Tensor, near: list[int]) -> Tensor:
        """Rows ``[heads, near, T]`` of the causal attention."""
        everywhere = list(range(len(k)))
        keys = self._ready(k, "k_norm", everywhere).repeat_interleave(q.shape[1] // k.shape[1], 1)
        logits = torch.einsum("nhd,thd->hnt", self._ready(q[near], "q_norm", near), keys) * q.shape[2] ** -0.5
        ahead = torch.tensor(everywhere) > torch.tensor(near)[:, None]
        return logits.masked_fill(ahead, float("-inf")).softmax(-1)

    def _ready(self, x: Tensor, norm: str, at: list[int]) -> Tensor:
        """``x`` ``[n, heads, width]`` as the attention compares it: through its norm, turned by its position."""
        if norm in dict(self.attention.named_children()):
            x = self.attention.get_submodule(norm)(x)
        if self.seen["turn"] is None:
            return x
        cos, sin = (part.float().reshape(-1, x.shape[-1])[at].unsqueeze(1) for part in self.seen["turn"])
        first, second = x.chunk(2, -1)
        return x * cos + torch.cat([-second, first], -1) * sin

    def _add(self, end: str, left: Tensor, right: Tensor) -> None:
        self.rows.setdefault(end, []).append((left.contiguous(), right.contiguous()))

    def found(self) -> dict[str, Tensor]:
        """All read-outs, by the name of the weight."""
        prefix = self.name.removesuffix(".self_attn")
        sides = {end: [torch.cat(side, 1) for side in zip(*rows, strict=True)] for end, rows in self.rows.items()}
        return {
            f"{prefix}.{end}.{side}": value
            for end, both in sides.items()
            for side, value in zip(("left", "right"), both, strict=True)
        }


def _head_width(attention: nn.Module, layers: Mapping[str, nn.Module]) -> int:
    width = getattr(attention, "head_dim", None)
    if isinstance(width, int):
        return width
    raise MergeError(
        f'the attention ({type(attention).__name__}) does not say the width of a head: it needs an attribute "head_dim"'
    )


def _every(c: Tensor, count: int) -> Tensor:
    """Each direction for each of ``count`` positions, ``[directions * count, out]``."""
    return c.repeat_interleave(count, 0)


def _grouped(of: Tensor, kv: int) -> Tensor:
    """``[pairs, heads, d]`` -> ``[kv heads, group * pairs, d]``."""
    return of.transpose(0, 1).unflatten(0, (kv, -1)).flatten(1, 2)
