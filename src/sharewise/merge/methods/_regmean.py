"""RegMean: the layer whose outputs are nearest to every model's, on that model's inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...errors import MergeError
from .._method import WEIGHT_ONE, Block, Method, Parameter, Reach, Stack
from .._posterior import shrunk
from .._statistics import Collected, holders
from ._fisher import UNSEEN, check_unseen
from ._linear import weighted_sum
from ._spectral import is_matrix

if TYPE_CHECKING:
    from .._reading import Part

OFF_DIAGONAL = Parameter(
    "off_diagonal", "what entries off the Gram matrices' diagonals are multiplied by", 0.9, low=0.0, high=1.0
)


def is_layer(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a tensor is the weight of a linear or convolutional layer: a matrix or filters, and no embedding."""
    return is_matrix(name, shape) or len(shape) in (3, 4, 5)


class RegMean(Method):
    """The weight that solves ``min_W sum_t w_t E |W x_t - W_t x_t|^2``: ``W^T = (sum G_t)^{-1} sum G_t W_t^T``.

    Jin et al., "Dataless knowledge fusion by merging weights of language models" (ICLR 2023, arXiv 2212.09849,
    section 4). ``G_t`` are the Gram matrices :func:`~sharewise.merge.collect_gram` finds, with entries off the
    diagonal multiplied by ``off_diagonal``. Filters of convolutions are merged as matrices on patches; biases too where
    the Gram matrices were collected with ``bias=True``. All else is averaged with ``weight``.

    What differs: ``G_t`` are means over rows, so tasks with different numbers of examples count alike (``weight``
    counts them otherwise); directions in which no input lies get the average, in place of an inverse that is not there.
    Solved in float64: O(d^3) time; one layer's matrices of all models and one Gram matrix at a time are in memory.
    """

    name = "regmean"
    title = "RegMean"
    paper = "https://arxiv.org/abs/2212.09849"
    base = "optional"
    statistics = "gram"
    parameters = (WEIGHT_ONE, OFF_DIAGONAL, UNSEEN)
    temporaries = 40  # float64 ones count twice

    def complaint(self, values: Mapping[str, Any]) -> str | None:
        """Weights below 0 make no sum of squares."""
        if min(values["weight"]) < 0 or sum(values["weight"]) <= 0:
            return f"weights must be at least 0 and not all 0, found {values['weight']}"
        return check_unseen(values)

    def reach_of(self, name: str, shape: tuple[int, ...], values: Mapping[str, Any]) -> Reach:
        """Weights and biases of layers whole."""
        return "tensor" if is_layer(name, shape) or _is_bias(name) else "entries"

    def examine(self, parts: Sequence[Part], values: Mapping[str, Any]) -> None:
        """Every model's Gram matrix, of the layer's size."""
        if not is_layer(parts[0].tensor, parts[0].info.shape):
            return
        if not holders(parts, "gram", required=values["unseen"] == "refuse"):
            return
        shapes = [p.statistics.tensors[p.tensor].shape for p in parts if p.statistics is not None]
        for part, shape in zip(parts, shapes, strict=True):
            columns = part.info.entries // part.info.shape[0]
            if (
                shape != shapes[0]
                or len(shape) not in (2, 3)
                or shape[-1] != shape[-2]
                or shape[-1] - columns not in (0, 1)
            ):
                raise MergeError(
                    f'the Gram matrix of tensor "{part.tensor}" of model "{part.source.name}" is {list(shape)}, '
                    f"expected [{columns}, {columns}] (one more where biases count, in all models): collect it from "
                    "this model with sw.merge.collect_gram"
                )

    def combine(self, block: Block, state: Any) -> Tensor:
        """The solution, or one block of the average."""
        stack = block.stack
        weights = stack.values["weight"]
        average = weighted_sum(block.rows, [w / sum(weights) for w in weights])
        if is_layer(stack.name, stack.shape) and (grams := stack.statistic()) is not None:
            return self._weight(block.rows, grams, stack).to(average.dtype)
        if _is_bias(stack.name) and (grams := stack.statistic("weight")) is not None:
            found = self._bias(block.rows, grams, stack)
            return average if found is None else found.to(average.dtype)
        return average

    def _weight(self, rows: Tensor, grams: Collected, stack: Stack) -> Tensor:
        matrices = rows.flatten(2)
        columns = matrices.shape[2]
        biases = stack.companion("bias") if grams.shape[-1] > columns else None
        if biases is not None:
            matrices = torch.cat([matrices, biases.unsqueeze(2)], 2)
        return self._solved(matrices, grams, stack)[:, :columns].reshape(rows.shape[1:])

    def _bias(self, rows: Tensor, grams: Collected, stack: Stack) -> Tensor | None:
        """``None`` where biases were not counted."""
        weights = stack.companion("weight")
        if weights is None or grams.shape[-1] == weights[0, 0].numel():
            return None
        return self._solved(torch.cat([weights.flatten(2), rows.unsqueeze(2)], 2), grams, stack)[:, -1]

    def _solved(self, matrices: Tensor, grams: Collected, stack: Stack) -> Tensor:
        size, groups = matrices.shape[2], grams.shape[0] if len(grams.shape) == 3 else 1
        grouped = matrices.unflatten(1, (groups, -1))
        sized = (g.reshape(groups, *g.shape[-2:])[:, :size, :size] for g in grams)
        found = regression_mean(grouped, sized, stack.values["weight"], stack.values["off_diagonal"])
        return found.flatten(0, 1)


def _is_bias(name: str) -> bool:
    return name.rpartition(".")[2] == "bias"


def regression_mean(matrices: Tensor, grams: Iterable[Tensor], weights: Sequence[float], off_diagonal: float) -> Tensor:
    """``W^T = (sum w_t G_t)^{-1} sum w_t G_t W_t^T``, with the average where the sum has no inverse.

    Args:
        matrices: ``[n, ..., out, in]``.
        grams: n of ``[..., in, in]``; each is asked for once.
        weights: n, at least 0.
        off_diagonal: multiplies entries off the diagonals.

    Returns ``[..., out, in]`` in float64, as the average plus the solution for what differs from it: exact for equal
    models.
    """
    average = matrices[0].double() * (weights[0] / sum(weights))
    for matrix, weight in zip(matrices[1:], weights[1:], strict=True):
        average.add_(matrix, alpha=weight / sum(weights))
    width = average.shape[-1]
    left, right = average.new_zeros(*average.shape[:-2], width, width), torch.zeros_like(average.mT)
    for matrix, gram, weight in zip(matrices, grams, weights, strict=True):
        counted = shrunk(gram.double(), off_diagonal).mul_(weight)
        left += counted
        right += counted @ (matrix - average).mT
    return average + solve(left, right).mT


def solve(left: Tensor, right: Tensor) -> Tensor:
    """The smallest ``X`` with ``left X = right``, for symmetric matrices that have no eigenvalue below 0.

    ``[..., d, d]``, ``[..., d, k]`` -> ``[..., d, k]``. In the scale that makes the diagonal 1, by Cholesky where that
    is well conditioned, else by the eigenvectors of eigenvalues that are not 0.
    """
    size = left.diagonal(dim1=-2, dim2=-1).clamp(min=0).sqrt()
    inverse = torch.where(size > 0, 1 / size.clamp(min=1e-300), torch.zeros_like(size)).unsqueeze(-1)
    scaled, wanted = left * inverse * inverse.mT, right * inverse
    whole = scaled + torch.diag_embed((size == 0).to(left.dtype))
    factor, failed = torch.linalg.cholesky_ex(whole)
    if not bool(failed.any()) and float(factor.diagonal(dim1=-2, dim2=-1).min()) > 1e-5:
        return inverse * torch.cholesky_solve(wanted, factor)
    return inverse * (torch.linalg.pinv(scaled, hermitian=True) @ wanted)
