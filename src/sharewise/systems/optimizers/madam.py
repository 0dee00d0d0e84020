"""MAdam: does a step mean the same at every weight, and does it end nearer to the front?

On your own tasks use :class:`sharewise.optim.MAdam`; this module registers the comparison.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .._claim import Claim, Paper
from .._registry import Scale, system

if TYPE_CHECKING:
    from collections.abc import Mapping

PAPER = Paper(
    title="MAdam: Metric-Aware Multi-Objective Adam",
    authors="Liu, Saluja, Kwak, Wang, Deng, Kim, Paetzold, Sabuncu",
    year=2026,
    venue="arXiv 2606.03904",
    url="https://arxiv.org/abs/2606.03904",
    evidence="partial text",
)

CLAIMS = (
    Claim(
        "Under Adam the size of a step depends on the weights: the largest of five is at least 4 times the smallest",
        metric="size_ratio", arm="adam", at_least=4.0,
    ),
    Claim(
        "Under MAdam it does not: the largest is at most 1.05 times the smallest",
        metric="size_ratio", arm="madam", at_most=1.05,
    ),
    Claim(
        "With correlated objectives too",
        metric="correlated_size_ratio", arm="madam", at_most=1.05,
    ),
    Claim(
        "Dividing by the running mean of the balanced gradient's square restores Adam's dependence",
        metric="size_ratio", arm="madam_past", at_least=4.0,
    ),
    Claim(
        "Without the products of two objectives sizes depend on the weights where objectives are correlated",
        metric="correlated_size_ratio", arm="madam_diagonal", at_least=1.1,
    ),
    Claim(
        "Weights that change every 20 steps: MAdam ends each burst with a smaller excess loss than Adam",
        metric="burst_excess", arm="madam", versus="adam",
    ),
    Claim(
        "With one learning rate for both, chosen for Adam, as well",
        metric="burst_excess_shared", arm="madam", versus="adam",
    ),
    Claim(
        "A change of weights late in training: MAdam ends nearer to the new point of the front than Adam",
        metric="front_error", arm="madam", versus="adam",
    ),
)  # fmt: skip


@system(
    "madam",
    title="Metric-aware multi-objective Adam (MAdam)",
    paper=PAPER,
    family="optimization",
    data="simulated: gradients of two objectives at scales 1 and 10; pairs of quadratics with known fronts",
    claims=CLAIMS,
    reading="ours",
    assumptions=[
        "The abstract and the update equations could be read; results, ramp and epsilon could not.",
        "The ramp is linear over a twentieth of the steps (none where sizes of steps are measured), and blocks are "
        "corrected for their bias one by one. With two objectives drawing pairs is the full mode.",
        "Claims about the size of steps are the mechanism's; those about where training ends are asked openly, for the "
        "paper's own tasks and figures are not known.",
        "Each arm's learning rate was the best of five by the burst excess, and by the front error, on two seeds that "
        'no reported run uses; "shared" uses Adam\'s for all arms.',
    ],
    remarks=[
        "Steps mean the same at every weight, as claimed; that training ends nearer to the front is refuted "
        "where weights change every 20 steps: Adam ends a burst with an excess loss of 0.47, MAdam with "
        "0.80, each at its own best rate. The noise of these gradients grows with their length, so that "
        "shorter steps at some weights may simply average more of it; that was not tested by itself.",
        "Both arms' best rate in the bursts is 0.1, so that the claim with one rate for both repeats the one before "
        "it.",
    ],
)
def arms(scale: Scale) -> Mapping[str, Callable[[int], dict[str, float]]]:
    """Adam, MAdam, and two ablations of its metric."""
    from ._madam_arms import DEFAULT, SMOKE
    from ._madam_arms import PAPER as PAPER_SIZES
    from ._madam_arms import arms as make

    return make({"smoke": SMOKE, "default": DEFAULT, "paper": PAPER_SIZES}[scale])
