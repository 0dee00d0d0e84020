"""The same direction as TorchJD's, for every method both have, on gradients of similar lengths that conflict.

Lengths follow from conventions: TorchJD averages Aligned-MTL's gradients where the paper adds them up. Where the
two differ on purpose, a test below shows what becomes of the method's promise. Krum, whose distances TorchJD does not
square, and the random methods for three and more tasks, whose orders differ, have their tests elsewhere.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
import torchjd.aggregation as peers
from torch import Tensor
from torchjd.linalg import QuadprogProjector

from sharewise.balance import create

SIZES = [(2, 1000), (3, 2000), (5, 500), (10, 1000), (20, 300), (40, 1000)]


def conflicting(m: int, n: int, seed: int) -> Tensor:
    """Gaussian noise and 8 directions mixed at random: cosines of about -0.85 to 0.75, norms of 1 to 30."""
    g = torch.Generator().manual_seed(seed)
    rank = min(m, 8)
    mixing = torch.nn.functional.normalize(torch.randn(m, rank, generator=g, dtype=torch.float64), dim=1)
    if m == 2:
        mixing = torch.tensor([[1.0, 0.0], [-0.6, 0.8]], dtype=torch.float64)
    rows = mixing @ torch.randn(rank, n, generator=g, dtype=torch.float64)
    rows += 0.3 * torch.randn(m, n, generator=g, dtype=torch.float64)
    return rows * torch.logspace(0, 1.5, m, dtype=torch.float64)[:, None] / n**0.5


def exact() -> QuadprogProjector:
    """Without the 1e-4 it adds to the diagonal, which our methods do not have."""
    return QuadprogProjector(norm_eps=0.0, reg_eps=1e-12)


@dataclass
class Row:
    """A method here, its peer for m tasks, and what differs."""

    name: str
    peer: Callable[[int], Any]
    options: dict[str, Any] = field(default_factory=dict)
    most: int = 40  # tasks up to which the two are comparable
    length: Callable[[int], float] = lambda m: 1.0  # of ours over theirs
    either_sign: bool = False


ROWS = {
    "equal": Row("equal", lambda m: peers.Sum()),
    "pcgrad": Row("pcgrad", lambda m: peers.PCGrad(), most=2),  # more: the orders are random
    "gradvac": Row("gradvac", lambda m: peers.GradVac(), most=2),
    # Frank-Wolfe steps are slow to converge for more tasks: see below
    "mgda": Row("mgda", lambda m: peers.MGDA(epsilon=1e-12, max_iters=4000), most=2),
    "upgrad": Row("upgrad", lambda m: peers.UPGrad(projector=exact())),
    "dualproj": Row("dualproj", lambda m: peers.DualProj(projector=exact())),
    "cagrad": Row("cagrad", lambda m: peers.CAGrad(c=0.5, norm_eps=0.0), {"c": 0.5, "rescale": 0}),
    "cagrad, small c": Row("cagrad", lambda m: peers.CAGrad(c=0.2, norm_eps=0.0), {"c": 0.2, "rescale": 0}),
    "fairgrad": Row("fairgrad", lambda m: peers.FairGrad(alpha=2.0), {"alpha": 2.0}),
    "fairgrad, alpha = 1/2": Row("fairgrad", lambda m: peers.FairGrad(alpha=0.5), {"alpha": 0.5}),
    # the same equation; TorchJD's NashMTL solves it by convex programs that often stop elsewhere: see below
    "nashmtl": Row("nashmtl", lambda m: peers.FairGrad(alpha=1.0)),
    # TorchJD's weights sum to 1, and so its direction can raise all losses alike
    "imtl_g": Row("imtl_g", lambda m: peers.IMTLG(), either_sign=True),
    "aligned_mtl": Row("aligned_mtl", lambda m: peers.AlignedMTL(), length=float),
    "config": Row("config", lambda m: peers.ConFIG()),
    "trimmed_mean": Row("trimmed_mean", lambda m: peers.TrimmedMean(trim_number=1 if m > 2 else 0)),
}


def cosine(one: Tensor, other: Tensor) -> float:
    return float(torch.cosine_similarity(one, other, dim=0))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("label", "m", "n"), [(label, m, n) for label, row in ROWS.items() for m, n in SIZES if m <= row.most]
)
def test_the_same_direction(label: str, m: int, n: int, seed: int) -> None:
    row = ROWS[label]
    matrix = conflicting(m, n, seed)
    ours, theirs = create(row.name, **row.options).aggregate(matrix), row.peer(m)(matrix)
    if row.either_sign and cosine(ours, theirs) < 0:
        theirs = -theirs
    assert cosine(ours, theirs) >= 1 - 1e-5
    assert float(ours.norm() / theirs.norm()) == pytest.approx(row.length(m), rel=1e-3)


@pytest.mark.parametrize(("m", "n"), [(5, 500), (20, 300), (40, 1000)])
def test_mgda_is_what_frank_wolfe_steps_tend_to(m: int, n: int) -> None:
    matrix = conflicting(m, n, 0)
    ours = create("mgda").aggregate(matrix)
    shortest = float(ours @ ours)
    before = float("inf")
    for steps in (30, 300):
        theirs = peers.MGDA(epsilon=1e-12, max_iters=steps)(matrix)
        excess = float(theirs @ theirs) - shortest
        assert -1e-10 * shortest <= excess <= before
        # the shortest vector of a convex set makes an angle of 90 degrees or more with the way to any other
        assert float((theirs - ours).square().sum()) <= excess + 1e-10 * shortest
        before = excess


def nash_residual(matrix: Tensor, direction: Tensor) -> float:
    """How far the direction, up to its length, is from ``w <g_k, d> = 1``."""
    weights = torch.linalg.lstsq(matrix.T, direction).solution
    products = weights * (matrix @ direction)
    return float((products / products.mean() - 1).abs().max())


def theirs_for_nash(matrix: Tensor) -> Tensor:
    with warnings.catch_warnings():
        # cvxpy on the program TorchJD states: that it is compiled again in every step, and that a step was inaccurate
        warnings.filterwarnings("ignore", message=".*DPP.*")
        warnings.filterwarnings("ignore", message="Solution may be inaccurate.*")
        return peers.NashMTL(n_tasks=len(matrix))(matrix)


@pytest.mark.parametrize(("m", "n"), [(3, 2000), (5, 500)])
def test_nashmtl_where_their_programs_converge(m: int, n: int) -> None:
    matrix = conflicting(m, n, 0)
    assert cosine(create("nashmtl").aggregate(matrix), theirs_for_nash(matrix)) >= 1 - 1e-5


def test_nashmtl_keeps_its_equation_where_theirs_does_not() -> None:
    matrix = conflicting(2, 1000, 0)
    assert nash_residual(matrix, theirs_for_nash(matrix)) > 0.1
    assert nash_residual(matrix, create("nashmtl").aggregate(matrix)) < 1e-8


@pytest.mark.parametrize(("name", "peer"), [("upgrad", peers.UPGrad), ("dualproj", peers.DualProj)])
def test_short_gradients_are_protected_here_and_not_there(name: str, peer: type) -> None:
    # Norms of 1 and 1e6: TorchJD's 1e-4 on the diagonal, relative to the longest, outweighs the short row.
    matrix = torch.tensor([[1.0, 0.0], [-0.8e6, 0.6e6]], dtype=torch.float64)
    norms = matrix.norm(dim=1)
    ours, theirs = create(name).aggregate(matrix), peer()(matrix)
    assert float((matrix @ theirs / norms / theirs.norm()).min()) < -0.3
    assert float((matrix @ ours / norms / ours.norm()).min()) > -1e-9
