"""A small language model with Llama's layout and names of tensors: rotary positions, grouped keys, SwiGLU."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Shape:
    """Sizes of the model."""

    vocabulary: int
    width: int = 96
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    hidden: int = 256
    context: int = 96

    @property
    def head_width(self) -> int:
        """Of one head."""
        return self.width // self.heads


class Rotary(nn.Module):
    """Cosines and sines of rotary positions ``[T, head width]``, both halves alike, as Llama's."""

    angles: Tensor

    def __init__(self, width: int, context: int) -> None:
        super().__init__()
        rates = 10_000 ** (-torch.arange(0, width, 2, dtype=torch.float32) / width)
        angles = torch.outer(torch.arange(context, dtype=torch.float32), rates)
        self.register_buffer("angles", torch.cat([angles, angles], 1), persistent=False)

    def forward(self, start: int, end: int) -> tuple[Tensor, Tensor]:
        """For positions ``start`` to ``end - 1``."""
        angles = self.angles[start:end]
        return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """``x`` ``[..., T, head width]`` turned by its positions."""
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([-second, first], -1) * sin


Cache = list[tuple[Tensor, Tensor]]
"""Keys and values of every layer so far, ``[B, kv heads, T, head width]``."""


class Attention(nn.Module):
    """Causal attention in which groups of query heads share a key and a value."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.head_dim = shape.head_width
        inner = shape.kv_heads * shape.head_width
        self.q_proj = nn.Linear(shape.width, shape.width, bias=False)
        self.k_proj = nn.Linear(shape.width, inner, bias=False)
        self.v_proj = nn.Linear(shape.width, inner, bias=False)
        self.o_proj = nn.Linear(shape.width, shape.width, bias=False)

    def forward(
        self, x: Tensor, past: tuple[Tensor, Tensor] | None, *, position_embeddings: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """``x`` ``[B, T, width]`` -> the same shape, and keys and values with the new ones."""
        q, k, v = (
            p(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = rotate(q, *position_embeddings), rotate(k, *position_embeddings)
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        # One new token may look at all of them; a first pass of many is causal.
        out = F.scaled_dot_product_attention(q, k, v, is_causal=past is None, enable_gqa=True)
        return self.o_proj(out.transpose(1, 2).flatten(2)), (k, v)


class GatedMLP(nn.Module):
    """SwiGLU: ``down(silu(gate x) * up x)``."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, hidden, bias=False)
        self.up_proj = nn.Linear(width, hidden, bias=False)
        self.down_proj = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``[..., width]`` -> the same shape."""
        found: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return found


class Layer(nn.Module):
    """Attention and MLP, each after a norm and added to what came in."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(shape.width, eps=1e-6)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = nn.RMSNorm(shape.width, eps=1e-6)
        self.mlp = GatedMLP(shape.width, shape.hidden)

    def forward(
        self, x: Tensor, turn: tuple[Tensor, Tensor], past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """``x`` ``[B, T, width]`` -> the same shape, and this layer's keys and values."""
        out, kept = self.self_attn(self.input_layernorm(x), past, position_embeddings=turn)
        x = x + out
        return x + self.mlp(self.post_attention_layernorm(x)), kept


class Trunk(nn.Module):
    """Embedding, layers, last norm."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.width)
        self.rotary_emb = Rotary(shape.head_width, shape.context)
        self.layers = nn.ModuleList([Layer(shape) for _ in range(shape.layers)])
        self.norm = nn.RMSNorm(shape.width, eps=1e-6)


class Decoder(nn.Module):
    """Next-token logits. Tensors are named as in Llama's checkpoints (``model.layers.0.self_attn.q_proj.weight``)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.model = Trunk(shape)
        self.lm_head = nn.Linear(shape.width, shape.vocabulary, bias=False)
        self.apply(_small)

    def linear_weights(self) -> list[nn.Parameter]:
        """Of the layers' projections: all but embedding, norms and head."""
        return [p for name, p in self.named_parameters() if name.endswith("_proj.weight")]

    def forward(self, tokens: Tensor, cache: Cache | None = None) -> tuple[Tensor, Cache]:
        """Tokens ``[B, T]`` (``T = 1`` with a cache) -> logits ``[B, T, vocabulary]`` and the cache with them."""
        start = cache[0][0].shape[2] if cache else 0
        turn = self.model.rotary_emb(start, start + tokens.shape[1])
        x = self.model.embed_tokens(tokens)
        kept: Cache = []
        for i, layer in enumerate(self.model.layers):
            x, new = layer(x, turn, cache[i] if cache else None)
            kept.append(new)
        return self.lm_head(self.model.norm(x)), kept


def _small(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        # Ten times smaller, embeddings are still about to move when the facts could be learned: three times the steps.
        nn.init.normal_(module.weight, std=0.05 if isinstance(module, nn.Linear) else 0.5)
