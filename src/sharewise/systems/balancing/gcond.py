"""GCond: gradients accumulated before their conflicts are resolved, on masked patches under L1 and SSIM.

For one's own model and losses use :class:`sharewise.systems.balancing.AccumulatedStep`; this module registers the
comparison.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .._claim import Claim, Paper
from .._registry import Scale, system

if TYPE_CHECKING:
    from collections.abc import Mapping

PAPER = Paper(
    title="GCond: Gradient Conflict Resolution via Accumulation-based Stabilization for Large-Scale Multi-Task "
    "Learning",
    authors="Limarenko, Studenikina, Illarionova, Sharaev",
    year=2026,
    venue="IEEE Access, arXiv 2509.07252",
    url="https://arxiv.org/abs/2509.07252",
    evidence="full text",
)

CLAIMS = (
    Claim(
        "L1 is lower than PCGrad's on single batches, at an equal number of samples",
        metric="l1", arm="gcond", versus="pcgrad",
    ),
    Claim(
        "The SSIM loss is lower than PCGrad's on single batches, at an equal number of samples",
        metric="ssim", arm="gcond", versus="pcgrad",
    ),
    Claim(
        "The stochastic mode reaches the L1 of the sequential one, within 3 %",
        metric="l1", arm="gcond", versus="gcond-sequential", within=0.03,
    ),
    Claim(
        "The stochastic mode reaches the SSIM loss of the sequential one, within 3 %",
        metric="ssim", arm="gcond", versus="gcond-sequential", within=0.03,
    ),
    Claim(
        "It does so with about half the backward passes",
        metric="passes", arm="gcond", versus="gcond-sequential", margin=0.45,
    ),
    Claim(
        "Without accumulation (resolved batch by batch) L1 is higher",
        metric="l1", arm="gcond", versus="gcond-one-batch",
    ),
    Claim(
        "Without accumulation (resolved batch by batch) the SSIM loss is higher",
        metric="ssim", arm="gcond", versus="gcond-one-batch",
    ),
    Claim(
        "The cosine estimated from one batch varies about K = 8 times as much as from K (4 to 16 times), where warm-up "
        "ends",
        metric="variance_ratio", arm="estimates", at_least=4.0, at_most=16.0,
    ),
    Claim(
        "L1 is lower than the weighted sum's by at least 20 %",
        metric="l1", arm="gcond", versus="sum", margin=0.20,
    ),
    Claim(
        "The SSIM loss is lower than the weighted sum's by at least 20 %",
        metric="ssim", arm="gcond", versus="sum", margin=0.20,
    ),
    Claim(
        "L1 is lower than that of the weighted sum with the same momentum (the control)",
        metric="l1", arm="gcond", versus="sum-momentum",
    ),
    Claim(
        "The SSIM loss is lower than that of the weighted sum with the same momentum (the control)",
        metric="ssim", arm="gcond", versus="sum-momentum",
    ),
    Claim(
        "At one learning rate for all, a tenth of the weighted sum's best, L1 is lower than the weighted sum's by at "
        "least 20 %",
        metric="l1", arm="gcond-low", versus="sum-low", margin=0.20,
    ),
    Claim(
        "There, the momentum alone does it: the weighted sum with it has an L1 lower by at least 20 %",
        metric="l1", arm="sum-momentum-low", versus="sum-low", margin=0.20,
    ),
)  # fmt: skip


@system(
    "gcond",
    title="Accumulate gradients, then resolve their conflicts (GCond)",
    paper=PAPER,
    family="balancing",
    data="real: scikit-learn's 1,797 handwritten digits (UCI, CC BY 4.0), 16 x 16, 3/4 of the patches hidden",
    claims=CLAIMS,
    assumptions=[
        "Stability compares with the raw gradient of the step before, as the paper defines it; the authors' code "
        "compares with the resolved one (an option). Scores are taken once a step, from the accumulated gradients.",
        "Baselines balance every batch by itself, and the mean of K decisions makes a step: as many samples and "
        "as many steps as GCond. The arm pcgrad-every-batch takes a step after every batch instead.",
        "Cost is counted in backward passes, since an arm must give the same numbers for the same seed.",
        "Images are digits instead of ImageNet and CT slices, the network a small autoencoder without normalisation or "
        "dropout, so that evaluation mode changes nothing; the claims are those that the paper's findings imply at "
        "this size.",
        "The claims about a low learning rate are ours: they ask what the paper's comparison, at one learning rate for "
        "all methods, would show.",
    ],
    remarks=[
        "With every arm at its own best learning rate, GCond's L1 of 0.375 is above the weighted sum's (0.359; 0.370 "
        "with GCond's momentum), PCGrad's (0.353) and GradNorm's (0.351). At one low rate for all, momentum before "
        "the optimizer alone takes the sum from 0.433 to 0.381, all of GCond to 0.380: nearly all of that gap, and "
        "perhaps of the published one, is the length of the step, for AdamW then divides by the size of averaged "
        "gradients, which is smaller.",
        "Accumulation finds little to resolve: 27 % of the steps meet a conflict in the stochastic mode, 11 % in the "
        "sequential one. The ablation without it is 2.0 % ahead, since each of its batches serves both losses. What "
        "counts at this size is the number of steps: PCGrad with one after every batch, on the same images, reaches "
        "0.317.",
        "Whether the stochastic mode is within 3 % of the sequential one stays open: it is 1.7 % and 3.0 % behind, "
        "and five seeds are too few for so narrow a bound. So it is with the SSIM loss of the ablation and of the "
        "control, where GCond is behind on average.",
        "The variance of the cosine falls in every seed, by 7 to 18 times (the median is 17), about twice the number "
        "of batches, so that the upper bound is open. At the end of training it does not fall: the ratio is 1.0. The "
        "L1 gradients of two sets of 128 images are then nearly orthogonal (cosines of 0.03 to 0.18 under three other "
        "seeds, when measured at a lower rate), so that eight batches are too few.",
    ],
)
def arms(scale: Scale) -> Mapping[str, Callable[[int], dict[str, float]]]:
    """Weighted sum, PCGrad and others on single batches, GCond and its ablations, and the control of the momentum."""
    from ._gcond_arms import DEFAULT, SMOKE
    from ._gcond_arms import PAPER as PAPER_SIZES
    from ._gcond_arms import arms as make

    return make({"smoke": SMOKE, "default": DEFAULT, "paper": PAPER_SIZES}[scale])
