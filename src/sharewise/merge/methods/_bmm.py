"""BMM: Bayesian model merging, one layer at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...errors import MergeError, nearest
from .._method import WEIGHT_ONE, Block, Method, Parameter, Reach, Stack
from .._posterior import Posterior, shrunk, task_vector_gram
from .._statistics import holders
from ._regmean import OFF_DIAGONAL
from ._spectral import is_matrix

if TYPE_CHECKING:
    from .._reading import Part


class BMM(Method):
    """``W_a + (sum_t w_t (W_t - W_a) G_t) (sum_t w_t G_t + lambda I)^{-1}``: the posterior mean of a layer whose prior
    mean is another merge, ``W_a``.

    Li et al., "Bayesian model merging" (arXiv 2605.12843); our reading, as only its abstract was at hand. ``anchor``
    names the model in the plan that is the other merge (a folder written before). ``lambda = precision tr(sum_t w_t
    G_t) / in``: 0 is RegMean, and a large precision the anchor. ``G_t`` are the experts' Gram matrices
    (:func:`~sharewise.merge.collect_gram`); without any, they are guessed from task vectors. What is no matrix comes
    from the anchor; biases too, unless the Gram matrices count them. To search precisions layer by layer, keep
    everything in memory with :class:`~sharewise.merge.BayesianMerge`. Solved in float64: O(in^3) time, one layer's
    matrices in memory.
    """

    name = "bmm"
    title = "BMM"
    paper = "https://arxiv.org/abs/2605.12843"
    statistics = "gram"
    needs_statistics = False
    least = 2
    parameters = (
        Parameter("anchor", "the model (its name in the plan) that is another merge of them", kind=str, required=True),
        WEIGHT_ONE,
        Parameter("precision", "how strongly layers are pulled to the anchor", 1.0, low=0.0),
        OFF_DIAGONAL,
    )
    temporaries = 10

    def reach_of(self, name: str, shape: tuple[int, ...], values: Mapping[str, Any]) -> Reach:
        """Weights and biases of layers whole."""
        return "tensor" if is_matrix(name, shape) or name.rpartition(".")[2] == "bias" else "entries"

    def examine(self, parts: Sequence[Part], values: Mapping[str, Any]) -> None:
        """The anchor is one of the models; Gram matrices of all others or of none, of the layer's size."""
        names = [p.source.name for p in parts]
        if values["anchor"] not in names:
            raise MergeError(f'anchor "{values["anchor"]}" is none of the models; {nearest(values["anchor"], names)}')
        experts = [p for p in parts if p.source.name != values["anchor"]]
        if not is_matrix(parts[0].tensor, parts[0].info.shape) or not holders(experts, "gram", required=False):
            return
        columns = parts[0].info.shape[1]
        for part in experts:
            assert part.statistics is not None
            shape = part.statistics.tensors[part.tensor].shape
            if shape not in ((columns, columns), (columns + 1, columns + 1)):
                raise MergeError(
                    f'the Gram matrix of tensor "{part.tensor}" of model "{part.source.name}" is {list(shape)}, '
                    f"expected [{columns}, {columns}] (one more where biases count): collect it from this model with "
                    "sw.merge.collect_gram"
                )

    def combine(self, block: Block, state: Any) -> Tensor:
        """The posterior mean, or the anchor's values."""
        stack, rows = block.stack, block.rows
        place = stack.models.index(stack.values["anchor"])
        found = None
        if is_matrix(stack.name, stack.shape):
            found = self._weight(rows, stack, place)
        elif stack.name.rpartition(".")[2] == "bias":
            found = self._bias(rows, stack, place)
        return rows[place].clone() if found is None else found.to(rows.dtype)

    def _weight(self, rows: Tensor, stack: Stack, place: int) -> Tensor:
        grams, columns = stack.statistic(models=_experts(rows, place)), rows.shape[2]
        if grams is None:
            guessed = [task_vector_gram(rows[i]) for i in _experts(rows, place)]
            return self._solved(rows, guessed, stack, place)
        biases = stack.companion("bias") if grams.shape[-1] > columns else None
        joined = rows if biases is None else torch.cat([rows, biases.unsqueeze(2)], 2)
        return self._solved(joined, [g[: joined.shape[2], : joined.shape[2]] for g in grams], stack, place)[:, :columns]

    def _bias(self, rows: Tensor, stack: Stack, place: int) -> Tensor | None:
        """``None`` where biases were not counted."""
        grams, weights = stack.statistic("weight", _experts(rows, place)), stack.companion("weight")
        if grams is None or weights is None or weights.ndim != 3 or grams.shape[-1] == weights.shape[2]:
            return None
        return self._solved(torch.cat([weights, rows.unsqueeze(2)], 2), grams, stack, place)[:, -1]

    def _solved(self, rows: Tensor, grams: Iterable[Tensor], stack: Stack, place: int) -> Tensor:
        values = stack.values
        experts = _experts(rows, place)
        posterior = Posterior.of(
            [rows[i] for i in experts],
            [shrunk(g.double(), values["off_diagonal"]) for g in grams],
            rows[place],
            [values["weight"][i] for i in experts],
        )
        return posterior.mean(values["precision"])


def _experts(rows: Tensor, place: int) -> list[int]:
    """All models but the anchor."""
    return [i for i in range(len(rows)) if i != place]
