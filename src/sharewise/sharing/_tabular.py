"""An encoder for rows of a table: embedded numbers and categories, then residual blocks."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import OptionError, nearest
from ..tasks import Task
from ._hard import HardSharing, hard_sharing
from ._numeric import LinearEmbedding, PeriodicEmbedding, PiecewiseEmbedding

NUMERIC_EMBEDDINGS = ("piecewise", "periodic", "linear", "none")


class ResidualBlock(nn.Module):
    """``x + W2 dropout(relu(W1 norm(x)))``: ``[B, width]`` -> ``[B, width]``."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, width)
        self.outer = nn.Linear(width, width)
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        """``[B, width]`` -> ``[B, width]``."""
        hidden = F.relu(self.inner(self.norm(x)))
        return x + self.outer(F.dropout(hidden, self.dropout, self.training))


class TabularEncoder(nn.Module):
    """Encodes rows of a table: ``{"numeric", "missing", "category"}`` -> ``[B, width]``.

    Numbers go through an embedding of their own (:mod:`sharewise.sharing`), categories through a table of vectors;
    both and the indicators of missing values are joined, mapped to ``width`` and refined by residual blocks with
    normalisation first (as the ResNet of Gorishniy et al., "Revisiting Deep Learning Models for Tabular Data",
    NeurIPS 2021, with LayerNorm for BatchNorm, so that rows do not influence each other).

    Args:
        numeric: columns of ``inputs["numeric"]`` (float ``[B, numeric]``, scaled, no missing values).
        missing: columns of ``inputs["missing"]`` (float ``[B, missing]``, 1 where a value was missing).
        categories: codes of each column of ``inputs["category"]`` (int64 ``[B, len(categories)]``); code 0 stands
            for missing or unknown.
        width: numbers given for each row.
        depth: residual blocks.
        dropout: inside each block.
        numeric_embedding: ``piecewise`` (needs ``bins``), ``periodic``, ``linear`` or ``none``.
        bins: for each numeric column its ascending edges, learned on training rows.
        embedding: length of the vector of a number or category.
        frequencies: how many, of the periodic embedding.
        sigma: their spread at the start.

    Raises :class:`OptionError` for a setting outside its range.
    """

    def __init__(
        self,
        numeric: int,
        missing: int,
        categories: Sequence[int],
        *,
        width: int = 128,
        depth: int = 2,
        dropout: float = 0.1,
        numeric_embedding: str = "piecewise",
        bins: Sequence[Sequence[float]] | None = None,
        embedding: int = 8,
        frequencies: int = 16,
        sigma: float = 0.1,
    ) -> None:
        super().__init__()
        self._config: dict[str, Any] = {
            "numeric": int(numeric),
            "missing": int(missing),
            "categories": [int(c) for c in categories],
            "width": int(width),
            "depth": int(depth),
            "dropout": float(dropout),
            "numeric_embedding": numeric_embedding,
            "bins": None if bins is None else [[float(e) for e in edges] for edges in bins],
            "embedding": int(embedding),
            "frequencies": int(frequencies),
            "sigma": float(sigma),
        }
        self._check(numeric, missing, categories, bins)
        self.width = width
        self.numbers = self._numbers()
        self.codes = nn.Embedding(sum(categories), embedding) if categories else None
        starts = [sum(categories[:i]) for i in range(len(categories))]
        self.register_buffer("starts", torch.tensor(starts, dtype=torch.int64), persistent=False)
        each = 1 if numeric_embedding == "none" else embedding
        self.join = nn.Linear(numeric * each + missing + len(categories) * embedding, width)
        self.blocks = nn.Sequential(*[ResidualBlock(width, dropout) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)

    starts: Tensor

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Encoded rows ``[B, width]``."""
        parts = [inputs["numeric"] if self.numbers is None else self.numbers(inputs["numeric"])]
        if self._config["missing"]:
            parts.append(inputs["missing"])
        if self.codes is not None:
            parts.append(self.codes(inputs["category"] + self.starts).flatten(1))
        joined = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        return F.relu(self.norm(self.blocks(self.join(joined))))

    def config(self) -> dict[str, Any]:
        """All settings, as JSON can hold them; see :meth:`from_config`."""
        return copy.deepcopy(self._config)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> TabularEncoder:
        """A new encoder (with new weights) of the settings :meth:`config` gave."""
        return cls(**config)

    def _numbers(self) -> nn.Module | None:
        c = self._config
        if c["numeric"] == 0 or c["numeric_embedding"] == "none":
            return None
        if c["numeric_embedding"] == "piecewise":
            return PiecewiseEmbedding(c["bins"], c["embedding"])
        if c["numeric_embedding"] == "periodic":
            return PeriodicEmbedding(c["numeric"], c["embedding"], c["frequencies"], c["sigma"])
        return LinearEmbedding(c["numeric"], c["embedding"])

    def _check(
        self, numeric: int, missing: int, categories: Sequence[int], bins: Sequence[Sequence[float]] | None
    ) -> None:
        c = self._config
        for name, least in (
            ("numeric", 0),
            ("missing", 0),
            ("width", 1),
            ("depth", 0),
            ("embedding", 1),
            ("frequencies", 1),
        ):
            if c[name] < least:
                raise OptionError(f"{name} must be at least {least}, got {c[name]}")
        if not 0 <= c["dropout"] < 1:
            raise OptionError(f"dropout must be in [0, 1), got {c['dropout']}")
        if any(size < 1 for size in categories):
            raise OptionError(f"every category column needs at least one code, got {list(categories)}")
        if numeric + missing + len(categories) == 0:
            raise OptionError("no input columns: an encoder needs at least one number, indicator or category")
        if c["numeric_embedding"] not in NUMERIC_EMBEDDINGS:
            hint = nearest(str(c["numeric_embedding"]), NUMERIC_EMBEDDINGS)
            raise OptionError(f'numeric_embedding "{c["numeric_embedding"]}" is not known; {hint}')
        if c["numeric_embedding"] == "piecewise" and numeric and (bins is None or len(bins) != numeric):
            found = "none" if bins is None else str(len(bins))
            raise OptionError(
                f"the piecewise embedding needs the bin edges of all {numeric} numeric columns, got {found}: "
                "pass bins=..., or choose periodic or linear"
            )


def table_model(
    tasks: Sequence[Task],
    *,
    numeric: int,
    missing: int,
    categories: Sequence[int],
    bins: Sequence[Sequence[float]] | None = None,
    **settings: Any,
) -> HardSharing:
    """A :class:`TabularEncoder` with a linear head for each task; the encoder's settings are in ``.config``."""
    encoder = TabularEncoder(numeric, missing, categories, bins=bins, **settings)
    model = hard_sharing(encoder, tasks)
    model.config = encoder.config()
    return model
