"""Ways to merge compared: the taxonomy of a survey on eight fine-tunes of one network.

To merge your own models, use :func:`sharewise.merge.merge`; this module registers the comparison.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .._claim import Claim, Paper
from .._registry import Scale, system

if TYPE_CHECKING:
    from collections.abc import Mapping

PAPER = Paper(
    title="Model Merging in the Era of Large Language Models: Methods, Applications, and Future Directions",
    authors="Song, Zheng",
    year=2026,
    venue="arXiv 2603.09938",
    url="https://arxiv.org/abs/2603.09938",
    evidence="abstract",
)


def above(text: str, arm: str, versus: str, margin: float = 0.0) -> Claim:
    """A claim on mean accuracy, in shares."""
    return Claim(text, metric="accuracy", arm=arm, versus=versus, better="higher", relative=False, margin=margin)


CLAIMS = (
    Claim(
        "The average of the models is no better than the base, within 10 points",
        metric="accuracy", arm="average", versus="base", better="higher", relative=False, within=0.10,
    ),
    above("Task arithmetic is above the average", "task_arithmetic", "average"),
    above("RegMean, with 256 inputs a task, is above task arithmetic", "regmean", "task_arithmetic"),
    above("RegMean++ is above RegMean by at least 2 points", "regmean_plus_plus", "regmean", 0.02),
    above("TSV-M is above task arithmetic by at least 5 points", "tsv", "task_arithmetic", 0.05),
    above("Iso-C is above task arithmetic", "iso_c", "task_arithmetic"),
    above("EMR, which is told the task, is above RegMean++ by at least 10 points", "emr", "regmean_plus_plus", 0.10),
    above("EMR is above TSV-M by at least 10 points", "emr", "tsv", 0.10),
    above("The experts are above EMR", "experts", "emr"),
    above("Without orthogonalization, TSV-M loses at least 8 points", "tsv", "tsv_not_orthogonal", 0.08),
    Claim(
        "and falls back to task arithmetic, within 3 points",
        metric="accuracy", arm="tsv_not_orthogonal", versus="task_arithmetic", better="higher", relative=False,
        within=0.03,
    ),
    above("Without rescaling, EMR loses at least 1 point", "emr", "emr_not_rescaled", 0.01),
    above("Without flattening the spectrum, Iso-C loses at least 1 point", "iso_c", "iso_c_not_flat", 0.01),
    above(
        "With features of the models as they were, RegMean++ loses at least 1 point",
        "regmean_plus_plus", "regmean_plus_plus_unmerged", 0.01,
    ),
)  # fmt: skip


@system(
    "model-merging",
    title="Ways to merge models, compared",
    paper=PAPER,
    family="merging",
    data="real: scikit-learn's 1,797 handwritten digits (UCI, CC BY 4.0), eight tasks of views and questions",
    claims=CLAIMS,
    reading="ours",
    assumptions=[
        "Of the survey only the abstract was read. The methods follow their own papers and their authors' code; "
        "each method's page names the equations.",
        "The benchmark replaces eight image sets by eight views of digits, CLIP by a network of three layers, and "
        "its text heads by random orthonormal ones, frozen before fine-tuning: with heads fitted to the base's "
        "features all methods score alike.",
        "Every method may score 48 settings on validation data. The size of the merged task vector is one of them "
        "for all methods but those that state it: averages, Karcher's mean, Model Stock, EMR, TALL, Fisher, "
        "RegMean.",
        "RegMean and Fisher see 256 training inputs a task, RegMean's with biases; AdaMerging and WEMoE learn on "
        "the inputs of validation data, without labels.",
        "The size of the task vector in Twin-Merging, WEMoE and Surgery is task arithmetic's best; WEMoE mixes "
        "every layer.",
        '"About the same" of base and average is taken as within 10 points, "much more" of EMR as at least 10.',
    ],
    remarks=[
        "Iso-C leads task arithmetic by 1.9 points on the mean of ten seeds, and trails it on three of "
        "them. Task vectors here are nearly orthogonal, so few directions drown in others, and flattening "
        "the spectrum is worth only 1.4 points (interval -1.1 to 3.9).",
        "Without orthogonalization TSV-M loses 5.5 points and falls back to task arithmetic; its own lead "
        "there is 5.7 points, so that 8 cannot be lost. EMR leads RegMean++ by 9.7 points, not quite the 10 "
        'that were set here for "much more".',
    ],
)
def arms(scale: Scale) -> Mapping[str, Callable[[int], dict[str, float]]]:
    """Base, experts, every method, and ablations; RegMean++ with features of unmerged models is RegMean."""
    from ._arms import DEFAULT, SMOKE
    from ._arms import PAPER as PAPER_SIZES
    from ._arms import arms as make

    return make({"smoke": SMOKE, "default": DEFAULT, "paper": PAPER_SIZES}[scale])
