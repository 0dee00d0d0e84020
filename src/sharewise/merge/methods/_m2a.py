"""M2A: what a second model learned, added where it changes nothing the first one reads around its protocol."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...errors import MergeError
from .._layers import place_of
from .._method import Block, Method, Parameter, Reach, Stack
from .._protocol import PROTECTED
from .._readouts import Readouts, keep_readouts
from ._gram import gram

if TYPE_CHECKING:
    from .._reading import Part


LEAST = 1e-10
"""A second task vector shorter than this has no direction: nothing of it is added."""
ROUNDING = 1e-12
"""Layers alike but for rounding are all merged."""


@dataclass(frozen=True)
class Overlap:
    """Of two task vectors of a tensor: squared lengths, inner product; and the tensor's parameters."""

    first: float
    second: float
    inner: float
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Strength:
    """What was decided for one layer.

    Attributes:
        alpha: what the second task vector is multiplied by; 0: the layer is left as the first model has it.
        similarity: cosine of the two task vectors over the layer; ``smoothed``: its mean over neighbouring layers.
        merged: whether ``smoothed`` is high enough.
    """

    alpha: float
    similarity: float
    smoothed: float
    merged: bool


def is_merged(name: str) -> bool:
    """Whether a tensor is the weight of one of a block's linear layers, the only ones that are merged."""
    return name.removesuffix(".weight").endswith(PROTECTED) and name.endswith(".weight")


class M2A(Method):
    """The first model's weights plus ``alpha_l`` times the second's task vector, projected so that the first model's
    answers around the markers of its protocol stay as they are.

    Wang et al., "M2A: Synergizing Mathematical and Agentic Reasoning in Large Language Models" (2026, arXiv
    2605.09879), as in the authors' code. In layer ``l``, over its seven linear weights together, ``alpha_l = beta
    |Delta_1| / |Delta_2|``; layers whose task vectors' cosine, smoothed over ``window`` layers, lies below the mean
    less ``k`` standard deviations of all layers are the first model's. The projection takes the first model's read-outs
    (:func:`~sharewise.merge.collect_readouts`), see :func:`~sharewise.merge.keep_readouts`. All other tensors
    (embeddings, norms, biases, head) are the first model's. Without masking: a large ``k``.

    What differs: heads that share keys and values are solved together, so that all their read-outs are kept.
    Whole tensors in memory, in float64; two passes over the merged weights.
    """

    name = "m2a"
    title = "M2A"
    paper = "https://arxiv.org/abs/2605.09879"
    least = most = 2
    statistics = "readouts"
    surveys = True
    passes = 2
    temporaries = 8
    parameters = (
        Parameter("beta", "how strong the second model's task vector is", 1.0, low=0.0),
        Parameter("k", "standard deviations of similarity below which a layer is left out", 0.5),
        Parameter("window", "layers the similarity is smoothed over", 3, int, low=1),
        Parameter("alpha", "the same strength in all layers, in place of the ratio of norms"),
        Parameter("project", "keep the read-outs of the first model", True, bool),
        Parameter("ridge", "added to the diagonal of the read-outs' system", 1e-4, low=0.0),
    )

    def reach_of(self, name: str, shape: tuple[int, ...], values: Mapping[str, Any]) -> Reach:
        """Projected weights whole."""
        return "tensor" if values["project"] and is_merged(name) else "entries"

    def examine(self, parts: Sequence[Part], values: Mapping[str, Any]) -> None:
        """The first model's read-outs of every weight that is projected."""
        part = parts[0]
        if not values["project"] or not is_merged(part.tensor):
            return
        held = part.statistics
        if held is not None and held.metadata.get("kind", "readouts") != "readouts":
            raise MergeError(
                f'the statistics of model "{part.source.name}" are of the kind "{held.metadata["kind"]}", m2a takes '
                '"readouts": collect them with sw.merge.collect_readouts'
            )
        module = part.tensor.removesuffix("weight")
        if held is None or any(f"{module}{side}" not in held.tensors for side in ("left", "right")):
            raise MergeError(
                f'model "{part.source.name}" has no read-outs of tensor "{part.tensor}": pass as its statistics '
                "what sw.merge.collect_readouts(model, texts, markers) finds, or set project: false"
            )

    def survey(self, stack: Stack) -> Overlap | None:
        """Squared lengths of both task vectors, their inner product, and what the layer is to be merged with."""
        if not is_merged(stack.name):
            return None
        total = torch.zeros(2, 2, dtype=torch.float64)
        for block in stack.blocks():
            total += gram(block.rows)
        return Overlap(float(total[0, 0]), float(total[1, 1]), float(total[0, 1]), stack.values)

    def gather(self, found: dict[str, Any]) -> dict[str, Strength]:
        """The strength of every layer."""
        layers: dict[tuple[str, int], list[Overlap]] = {}
        for name, overlap in found.items():
            place = place_of(name)
            if overlap is not None and place is not None:
                layers.setdefault((place.prefix, place.layer), []).append(overlap)
        if not layers:
            raise MergeError(
                "m2a merges the linear layers of decoder blocks and finds none: expected tensors named as Llama's, "
                f"such as model.layers.0.{PROTECTED[0]}.weight, found {', '.join(list(found)[:3])}"
            )
        return strengths({f"{prefix}{layer}": layers[prefix, layer] for prefix, layer in sorted(layers)})

    def decisions(self, gathered: Any) -> list[dict[str, Any]]:
        """The strength of every layer, and why."""
        return [{"layer": layer, **asdict(strength)} for layer, strength in gathered.items()]

    def prepare(self, stack: Stack) -> tuple[float, Readouts | None]:
        """This layer's strength, and the read-outs to keep."""
        place = place_of(stack.name)
        if not is_merged(stack.name) or place is None:
            return 0.0, None
        alpha = stack.surveyed[f"{place.prefix}{place.layer}"].alpha
        if not stack.values["project"] or alpha == 0:
            return alpha, None
        sides = [stack.statistic(side, [0]) for side in ("left", "right")]
        left, right = (value for side in sides if side is not None for value in side)  # examined before: none lacks
        return alpha, Readouts(left, right)

    def combine(self, block: Block, state: Any) -> Tensor:
        """The first task vector plus the strength times what is left of the second."""
        alpha, readouts = state
        first, second = block.rows
        if alpha == 0:
            return first.clone()
        if readouts is not None:
            second = keep_readouts(second, readouts, block.stack.values["ridge"])
        return torch.add(first, second, alpha=alpha)


def strengths(layers: Mapping[str, Sequence[Overlap]]) -> dict[str, Strength]:
    """Each layer's strength from how its tensors' task vectors overlap; layers are given in their order."""
    sums = [
        [sum(getattr(o, part) for o in layer) for part in ("first", "second", "inner")] for layer in layers.values()
    ]
    settings = [layer[0].values for layer in layers.values()]
    similarities = [dot / math.sqrt(a * b) if a * b > 0 else 0.0 for a, b, dot in sums]
    smoothed = []
    for i, values in enumerate(settings):
        half = values["window"] // 2
        near = similarities[max(0, i - half) : i + half + 1]
        smoothed.append(sum(near) / len(near))
    mean = sum(smoothed) / len(smoothed)
    spread = math.sqrt(sum((s - mean) ** 2 for s in smoothed) / len(smoothed))
    found = {}
    for i, (name, values) in enumerate(zip(layers, settings, strict=True)):
        a, b, _ = sums[i]
        ratio = math.sqrt(a / b) if b > LEAST**2 else 0.0
        strength = values["beta"] * ratio if values["alpha"] is None else values["alpha"]
        out = smoothed[i] < mean - values["k"] * spread - ROUNDING
        found[name] = Strength(0.0 if out else strength, similarities[i], smoothed[i], not out)
    return found
