"""The mathematics of Bayesian merging: linear layers as posterior means of a regression with an anchor as its prior."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


def shrunk(gram: Tensor, off_diagonal: float) -> Tensor:
    """``gram`` ``[..., d, d]`` with entries off the diagonal multiplied by ``off_diagonal``."""
    return off_diagonal * gram + (1 - off_diagonal) * torch.diag_embed(gram.diagonal(dim1=-2, dim2=-1))


def task_vector_gram(delta: Tensor) -> Tensor:
    """A Gram matrix guessed without data: ``Delta^T Delta / |Delta|^2``, ``[out, in]`` -> ``[in, in]`` of trace 1.

    Gradients of a linear layer are sums of outer products of errors and inputs, so the rows of a task vector lie in the
    span of the inputs it was fine-tuned on. Zero for a task vector of zeros.
    """
    delta = delta.double()
    size = delta.square().sum()
    return delta.mT @ delta / size if size > 0 else torch.zeros_like(delta.mT @ delta)


def blend(data: Tensor, guess: Tensor, share: float) -> Tensor:
    """``share`` of ``data`` and the rest of ``guess``, both ``[d, d]`` and scaled to trace 1."""
    return share * _unit(data) + (1 - share) * _unit(guess)


def _unit(gram: Tensor) -> Tensor:
    trace = gram.diagonal().sum()
    return gram / trace if trace > 0 else gram


@dataclass(frozen=True)
class Posterior:
    """Where ``W`` of one layer lies, given what the experts' layers do on their inputs and an anchor.

    Likelihood: ``x W_t^T`` is observed with noise ``sigma^2`` for inputs ``x`` of task ``t``; prior: entries of ``W``
    have mean ``W_a`` and variance ``rho^2``. With ``A = sum_t a_t G_t`` and ``lambda = sigma^2 / rho^2`` the mean is
    ``W_a + B (A + lambda I)^{-1}``, ``B = sum_t a_t (W_t - W_a) G_t``, and rows of ``W`` have covariance ``sigma^2 (A +
    lambda I)^{-1}``. ``A`` is taken apart once, after which a ``lambda`` costs one product of matrices.

    Attributes:
        anchor: ``W_a`` ``[out, in]``, float64.
        sizes: eigenvalues of ``A`` ``[in]``, ascending, none below 0.
        vectors: its eigenvectors ``[in, in]``, as columns.
        turned: ``B`` times them ``[out, in]``.
        spread: ``sum_t a_t (W_t - W_a) G_t (W_t - W_a)^T``, its trace: what the anchor gets wrong.
        weight: ``sum_t a_t``.
    """

    anchor: Tensor
    sizes: Tensor
    vectors: Tensor
    turned: Tensor
    spread: float
    weight: float

    @classmethod
    def of(
        cls, matrices: Sequence[Tensor], grams: Sequence[Tensor], anchor: Tensor, weights: Sequence[float]
    ) -> Posterior:
        """From the experts' matrices ``[out, in]``, Gram matrices ``[in, in]`` and weights ``a_t >= 0``; O(in^3)."""
        anchor = anchor.double()
        total = torch.zeros(anchor.shape[1], anchor.shape[1], dtype=torch.float64)
        pull, spread = torch.zeros_like(anchor), 0.0
        for matrix, gram, weight in zip(matrices, grams, weights, strict=True):
            away = matrix.double() - anchor
            moved = weight * away @ gram.double()
            total += weight * gram.double()
            pull += moved
            spread += float((moved * away).sum())
        sizes, vectors = torch.linalg.eigh((total + total.mT) / 2)
        return cls(anchor, sizes.clamp(min=0), vectors, pull @ vectors, spread, sum(weights))

    @property
    def scale(self) -> float:
        """``tr(A) / in``: what a ``lambda`` free of units is multiplied by."""
        return float(self.sizes.mean())

    def _inverse(self, precision: float) -> Tensor:
        """Eigenvalues of ``(A + lambda I)^{-1}``; 0 where they are not determined, as lambda goes to 0."""
        if math.isinf(precision):
            return torch.zeros_like(self.sizes)
        added = self.sizes + precision * self.scale
        least = self.sizes.amax() * len(self.sizes) * torch.finfo(torch.float64).eps
        return torch.where(added > least, 1 / added.clamp(min=1e-300), 0.0)

    def mean(self, precision: float) -> Tensor:
        """``W*`` ``[out, in]`` at ``lambda = precision * tr(A) / in``.

        At infinity the anchor; at 0 the least-squares solution (RegMean), with the anchor kept in directions in which
        no input lies.
        """
        return self.anchor + (self.turned * self._inverse(precision)) @ self.vectors.mT

    def noise(self, precision: float) -> float:
        """``sigma^2``, by how far the mean's outputs are from the experts': a mean over tasks, rows and outputs."""
        inverse = self._inverse(precision)
        # tr((W_t - W*) G_t (W_t - W*)^T) summed over t, from W_t - W* = (W_t - W_a) - D:  spread - 2 B:D + D A:D.
        part = self.turned.square() * inverse
        left = self.spread - 2 * float(part.sum()) + float((part * inverse * self.sizes).sum())
        return max(left, 0.0) / (len(self.anchor) * self.weight)

    def sample(self, precision: float, rows: float, generator: torch.Generator) -> Tensor:
        """One ``W`` ``[out, in]`` from the posterior, where each task's Gram matrix is a mean over ``rows`` inputs."""
        width = (self._inverse(precision) * self.noise(precision) / rows).sqrt()
        draws = torch.randn(self.anchor.shape, dtype=torch.float64, generator=generator)
        return self.mean(precision) + (draws * width) @ self.vectors.mT
