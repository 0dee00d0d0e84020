"""Resolving conflicts pair by pair, the worst first, on inner products alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

# What is left of a row's squared norm when nothing is left: below this the Gram matrix of float32 rows is noise.
_GONE = 1e-6


class Thresholds(NamedTuple):
    """Cosines that part the kinds of conflict: critical up to ``critical``, moderate, mild from ``main`` on, none from
    ``weak`` on."""

    critical: float
    main: float
    weak: float


def strengths(cosine: float, thresholds: Thresholds, power: float) -> tuple[float, float]:
    """The parts of the projections that winner and loser make, each in [0, 1].

    The cosine is mapped to an angle: from 0 at ``weak`` to pi/2 at ``main``, linearly; from there to pi at
    ``critical``, as a power. The winner's part is its sine, the loser's stays 1 from pi/2 on.
    """
    if cosine <= thresholds.critical:
        return 0.0, 1.0
    if cosine < thresholds.main:
        share = (cosine - thresholds.main) / (thresholds.critical - thresholds.main)
        return math.cos(math.pi / 2 * share**power), 1.0
    share = (cosine - thresholds.main) / (thresholds.weak - thresholds.main)
    both = math.cos(math.pi / 2 * share)
    return both, both


def smooth(cosine: float, square_winner: float, square_loser: float, thresholds: Thresholds, power: float) -> Tensor:
    """What becomes of winner and loser, ``[2, 2]``: both lose parts along the other, as both were before."""
    winner, loser = strengths(cosine, thresholds, power)
    product = cosine * math.sqrt(square_winner * square_loser)
    return torch.tensor(
        [[1.0, -winner * product / square_loser], [-loser * product / square_winner, 1.0]], dtype=torch.float64
    )


def stepped(cosine: float, square_winner: float, square_loser: float, thresholds: Thresholds, power: float) -> Tensor:
    """The earlier form: critical, the loser is dropped; moderate, it alone is projected; mild, both fully."""
    if cosine <= thresholds.critical:
        return torch.tensor([[1.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    product = cosine * math.sqrt(square_winner * square_loser)
    winner = -product / square_loser if cosine >= thresholds.main else 0.0
    return torch.tensor([[1.0, winner], [-product / square_winner, 1.0]], dtype=torch.float64)


ZONES = {"smooth": smooth, "stepped": stepped}


class Scores(NamedTuple):
    """What the arbitrator weighs: two weights, each gradient's stability (>= 0), and its norm over its usual norm."""

    weights: tuple[float, float]
    stability: list[float]
    strength: list[float]

    def lead(self, i: int, j: int) -> float:
        """By how much i's score is the larger; strengths are shares of the pair's."""
        by_stability, by_strength = self.weights
        share = (self.strength[i] - self.strength[j]) / (self.strength[i] + self.strength[j])
        return by_stability * (self.stability[i] - self.stability[j]) + by_strength * share


class Resolution(NamedTuple):
    """``coefficients [m, m]`` of the resolved unit rows in the unit rows, ``lost [m, m]`` (row i lost a part along row
    j) and ``won [m, m]`` (how often i was put before j)."""

    coefficients: Tensor
    lost: Tensor
    won: Tensor


class Decision(NamedTuple):
    """How a step was decided for the tasks ``names``.

    ``cosines [m, m]`` of the accumulated gradients; ``weights [m]``, which give the direction from them;
    ``won [m, m]``, how often i was put before j; ``lost [m, m]``, whether i's gradient lost a part along j's;
    ``stability [m]``, the cosine of each to its own of the step before.
    """

    names: tuple[str, ...]
    cosines: Tensor
    weights: Tensor
    won: Tensor
    lost: Tensor
    stability: Tensor


def resolve(
    cosines: Tensor,
    weak: float,
    most: int,
    choose: Callable[[int, int, float], tuple[int, int]],
    change: Callable[[float, float, float], Tensor],
) -> Resolution:
    """Change the pair with the smallest cosine until none lies below ``weak``, or ``most`` times.

    Args:
        cosines: ``[m, m]``, float64 on the CPU; 0 on the diagonal for a zero row, which no pair includes.
        choose: positions i < j and their cosine -> winner, loser.
        change: cosine and both squared norms -> ``[2, 2]``, the new winner and loser in the old ones.

    Cost O(m^2) a change.
    """
    count = len(cosines)
    gram, coefficients = cosines.clone(), torch.eye(count, dtype=torch.float64)
    lost, won = torch.zeros(count, count, dtype=torch.bool), torch.zeros(count, count, dtype=torch.int64)
    for _ in range(most if count > 1 else 0):
        squares = gram.diagonal()
        gone = squares <= _GONE
        inverse = squares.clamp_min(_GONE).rsqrt()
        between = (gram * inverse * inverse[:, None]).masked_fill(gone | gone[:, None], math.inf)
        lowest, place = between.fill_diagonal_(math.inf).view(-1).min(0)
        cosine = max(float(lowest), -1.0)
        if cosine >= weak:
            break
        i, j = sorted(divmod(int(place), count))
        winner, loser = choose(i, j, cosine)
        pair = torch.tensor([winner, loser])
        new = change(cosine, float(squares[winner]), float(squares[loser]))
        gram[pair] = new @ gram[pair]
        gram[:, pair] = gram[:, pair] @ new.T
        coefficients[pair] = new @ coefficients[pair]
        lost[winner, loser] |= bool(new[0, 1] != 0)
        lost[loser, winner] |= bool(new[1, 0] != 0 or new[1, 1] != 1)
        won[winner, loser] += 1
    return Resolution(coefficients, lost, won)


def in_rows(coefficients: Tensor, norms: Tensor) -> Tensor:
    """Coefficients for unit rows -> those for rows of these norms; exactly 1 for a row that was not changed."""
    return coefficients * torch.where(norms > 0, norms[:, None] / norms, 0.0)
