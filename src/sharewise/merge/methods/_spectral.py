"""What methods on singular vectors share: which tensors they take apart, and orthogonalization."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from .._method import LAMBDA, Block, Method, Parameter, Reach

_VOCABULARY = re.compile(r"embed|wte|wpe|lm_head|shared\.weight", re.IGNORECASE)


def is_matrix(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a tensor is a layer's matrix: two-dimensional and no embedding."""
    return len(shape) == 2 and min(shape) > 1 and _VOCABULARY.search(name) is None


class Spectral(Method):
    """Takes matrices apart whole; vectors, filters and embeddings get the mean of the task vectors.

    Memory: the matrix of every model and about as much again for its singular vectors. Time O(m n min(m, n)) a model.
    """

    parameters: ClassVar[tuple[Parameter, ...]] = (LAMBDA,)
    temporaries = 6

    def reach_of(self, name: str, shape: tuple[int, ...], values: Mapping[str, Any]) -> Reach:
        """Matrices whole."""
        return "tensor" if is_matrix(name, shape) else "entries"

    @abstractmethod
    def merged(self, matrices: Tensor, values: Mapping[str, Any]) -> Tensor:
        """Task vectors ``[n, out, in]`` -> one ``[out, in]``, before ``lambda``."""

    def combine(self, block: Block, state: Any) -> Tensor:
        """The matrix, or one block of the mean."""
        if not is_matrix(block.stack.name, block.stack.shape):
            return block.rows.mean(0)
        if not block.rows.any():
            return torch.zeros_like(block.rows[0])
        return self.merged(block.rows, block.stack.values) * block.stack.values["lambda"]


def orthogonal(columns: Tensor) -> Tensor:
    """The matrix with orthonormal columns next to ``columns`` (Procrustes): P Q^T of the SVD P D Q^T."""
    left, _, right = torch.linalg.svd(columns, full_matrices=False)
    return left @ right
