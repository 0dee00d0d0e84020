"""AIM: learned, differentiable gradient intervention, tried on simulated molecules.

For molecules of one's own use :class:`sharewise.systems.molecules.PropertyModel`, in a loop of one's own
:class:`sharewise.balance.AIM`; this module registers the controlled comparison.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .._claim import Claim, Paper
from .._registry import Scale, system

if TYPE_CHECKING:
    from collections.abc import Mapping

PAPER = Paper(
    title="AIM: Adaptive Intervention for Deep Multi-task Learning of Molecular Properties",
    authors="Minot, Schneider",
    year=2025,
    venue="NeurIPS workshop AI4Science; arXiv 2509.25955",
    url="https://arxiv.org/abs/2509.25955",
    evidence="partial text",
)

CLAIMS = (
    Claim(
        "With 300 molecules, AIM with a matrix policy has a delta_m at least 2 points lower than linear scalarisation",
        metric="delta_m", arm="aim-matrix", versus="linear", margin=2.0, relative=False,
    ),
    Claim(
        "With 300 molecules, AIM with a matrix policy has a delta_m at least 2 points lower than PCGrad",
        metric="delta_m", arm="aim-matrix", versus="pcgrad", margin=2.0, relative=False,
    ),
    Claim(
        "With 10,000 molecules, AIM and linear scalarisation are within 1 point of delta_m of each other",
        metric="delta_m_many", arm="aim-matrix", versus="linear", within=1.0, relative=False,
    ),
    Claim(
        "With 10,000 molecules, AIM and PCGrad are within 1 point of delta_m of each other",
        metric="delta_m_many", arm="aim-matrix", versus="pcgrad", within=1.0, relative=False,
    ),
    Claim(
        "The shares removed, averaged over the last quarter of training, tell conflicting from aligned pairs with an "
        "area under the ROC curve of at least 0.9",
        metric="conflict_auc", arm="aim-matrix", at_least=0.9,
    ),
    Claim(
        "Learning pays: with 300 molecules, AIM has a lower delta_m than with its thresholds held at 0",
        metric="delta_m", arm="aim-matrix", versus="aim-frozen", relative=False,
    ),
    Claim(
        "On the molecules AIM's network sees, its delta_m is lower than that of linear scalarisation",
        metric="delta_m", arm="aim-matrix", versus="linear-primary", relative=False,
    ),
)  # fmt: skip


@system(
    "aim",
    title="Adaptive intervention on task gradients (AIM)",
    paper=PAPER,
    family="gradient balancing",
    data="simulated: random trees of 6 to 20 atoms, six properties in two groups, a bottleneck of four units",
    claims=CLAIMS,
    reading="ours",
    assumptions=[
        "The guide term looks one step ahead, to first order, along the guidance batch's own balanced direction "
        "(along training gradients in the arm aim-cross); how it acts in the paper was not found.",
        "The policy's step follows the model's, on gradients taken after it, as in a re-implementation that was read.",
        "Motifs are leaves and branching atoms of four types; conflicting pairs are those of different groups. Test "
        "labels are free of noise.",
        "Scale default: up to 40 epochs (12 of batch 250 with 10,000 molecules) with the plateau after 6, the stop "
        "after 12 epochs without gain, and AIM's learning rate up to 2e-2 for fewer steps; scale paper: 400, 50, 75.",
        "All methods tried the same three learning rates; one whose largest was its best went on to larger ones.",
        "Baselines and separate networks train on the guidance molecules as well; the arms linear-primary and "
        "pcgrad-primary show what these molecules are worth.",
    ],
    remarks=[
        "With 300 molecules AIM is behind linear scalarisation by 0.8 points and behind PCGrad by 1.2 on average over "
        "ten seeds, which rules out that it is two points ahead of PCGrad. CAGrad (+2.2) and Nash-MTL (+2.2) are ahead "
        "of all three; no shared network is better than separate ones.",
        "Thresholds move, by 0.51 on average, but nothing is seen to come of it: held at 0, delta_m is 0.3 lower. "
        "On average the tenth of the molecules that guides is worth 2.4 points to linear scalarisation. On the "
        "molecules AIM's network sees it is ahead by 1.6, which ten seeds cannot tell from nothing.",
        "The shares removed hardly tell conflicting pairs from aligned ones (area 0.53), nor do the angles that they "
        "rest on (0.36). A likely reason: a head can change its sign, so that properties with opposite directions in "
        "the motifs can share a direction of the encoder and need not conflict there.",
        "With 10,000 molecules the encoder's four units for six properties decide: linear scalarisation, PCGrad and "
        "AIM are 42 to 49 points behind separate networks. AIM is behind the other two, by 6.5 and 6.6 points, with "
        "intervals that exclude a gap below one point.",
    ],
)
def arms(scale: Scale) -> Mapping[str, Callable[[int], dict[str, float]]]:
    """Separate networks, linear scalarisation, PCGrad and others, AIM and its ablations."""
    from ._aim_arms import DEFAULT, SMOKE
    from ._aim_arms import PAPER as PAPER_SIZES
    from ._aim_arms import arms as make

    return make({"smoke": SMOKE, "default": DEFAULT, "paper": PAPER_SIZES}[scale])
