"""Ways to merge compared on emoji: the second bed of ``model-merging``.

Needs the folder of ``SHAREWISE_DATA`` with the npm package emoji-datasource-google, and pillow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .._claim import Claim
from .._registry import Scale, system
from .model_merging import PAPER, above

if TYPE_CHECKING:
    from collections.abc import Mapping


def order(inputs: int) -> tuple[Claim, ...]:
    """The order of methods, without margins, for beds on which RegMean sees so many inputs a task."""
    return (
        above("Task arithmetic is above the average", "task_arithmetic", "average"),
        above("TSV-M is above task arithmetic", "tsv", "task_arithmetic"),
        above("Iso-C is above task arithmetic", "iso_c", "task_arithmetic"),
        above(f"RegMean, with {inputs} inputs a task, is above task arithmetic", "regmean", "task_arithmetic"),
        above("RegMean++ is above RegMean", "regmean_plus_plus", "regmean"),
        above("EMR, which is told the task, is above RegMean++", "emr", "regmean_plus_plus"),
        above("The experts are above EMR", "experts", "emr"),
        above("TSV-M loses without orthogonalization", "tsv", "tsv_not_orthogonal"),
        above("EMR loses without rescaling", "emr", "emr_not_rescaled"),
    )


@system(
    "model-merging-emoji",
    title="Ways to merge models, compared on emoji",
    paper=PAPER,
    family="merging",
    data="real: emoji-datasource-google 16.0.0 (images Apache-2.0), 16 x 16 pixels, eight tasks of views and questions",
    claims=order(256),
    reading="ours",
    assumptions=[
        "All that the system model-merging assumes. The claims are its order of methods, without margins.",
        "Pre-training asks for the category of images as they are. All variants of an emoji are in the same part.",
    ],
    remarks=[
        "Task arithmetic is 3.1 points above the average, on an interval that holds 0: on two of five seeds "
        "the two are level within 0.1 points. EMR is 3.0 points above RegMean++ on the "
        "mean and below it on two seeds.",
    ],
)
def arms(scale: Scale) -> Mapping[str, Callable[[int], dict[str, float]]]:
    """The arms of model-merging."""
    from ._arms import EMOJI, EMOJI_PAPER, EMOJI_SMOKE
    from ._arms import arms as make

    return make({"smoke": EMOJI_SMOKE, "default": EMOJI, "paper": EMOJI_PAPER}[scale])
