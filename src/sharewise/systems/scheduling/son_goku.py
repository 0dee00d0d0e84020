"""SON-GOKU: one colour class of the conflict graph a step, at an equal number of task gradients.

On your own tasks use :class:`sharewise.schedule.SonGoku`; this module registers the comparison.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .._claim import Claim, Paper
from .._registry import Scale, system

if TYPE_CHECKING:
    from collections.abc import Mapping

PAPER = Paper(
    title="Graph Coloring for Multi-Task Learning",
    authors="Patapati, Srinivasan",
    year=2025,
    venue="arXiv 2509.16959",
    url="https://arxiv.org/abs/2509.16959",
    evidence="full text",
)

CLAIMS = (
    Claim(
        "At an equal number of task gradients its error is at least 10 % below that of joint training",
        metric="error", arm="son_goku", versus="joint", margin=0.1,
    ),
    Claim(
        "At an equal number of task gradients its error is at least 10 % below that of random groups of its sizes",
        metric="error", arm="son_goku", versus="random_groups", margin=0.1,
    ),
    Claim(
        "While the error is above the labels' noise it tells at least 90 % of the pairs rightly",
        metric="edges", arm="son_goku", at_least=0.9,
    ),
    Claim(
        "Without memory (beta 0) batches of 16 lose the edges: at least 0.1 fewer pairs are told rightly",
        metric="noisy_edges", arm="no_memory", versus="son_goku", better="lower", relative=False, margin=0.1,
    ),
    Claim(
        "A colouring made once fails when relations change: its error ends at least 10 % higher",
        metric="changed_error", arm="static", versus="son_goku", better="higher", margin=0.1,
    ),
    Claim(
        "Edges by the sign alone are worse than a threshold",
        metric="error", arm="signed", versus="son_goku", better="higher",
    ),
    Claim(
        "Edges to the 4 most conflicting tasks are worse than a threshold",
        metric="error", arm="knn", versus="son_goku", better="higher",
    ),
    Claim(
        "At an equal number of steps joint training is ahead: it takes more gradients a step",
        metric="step_error", arm="joint", versus="son_goku",
    ),
    Claim(
        "Digits with harmful auxiliary tasks: at an equal number of task gradients its test error is below joint "
        "training's",
        metric="digits_error", arm="son_goku", versus="joint",
    ),
    Claim(
        "There, its test error is below that of random groups of its sizes",
        metric="digits_error", arm="son_goku", versus="random_groups",
    ),
)  # fmt: skip


@system(
    "son-goku",
    title="Conflict-graph colouring as a task schedule (SON-GOKU)",
    paper=PAPER,
    family="scheduling",
    data="simulated: nine linear tasks in three groups; handwritten digits with auxiliary tasks (scikit-learn)",
    claims=CLAIMS,
    reading="ours",
    assumptions=[
        "The supplement was not read: refresh interval, threshold and warm-up of each data set are not known. Here a "
        "graph every 16 steps, tau 0.15 (0.05 on digits), chosen below the cosines that noise leaves over, no warm-up.",
        "An edge is a cosine below -tau, as in the paper; the released code joins tasks below +tau.",
        "The running means take the gradients of the tasks of each step, which the step uses as well, and of all tasks "
        "at a refresh; the latter count in the budget. Random groups pay for none of their graphs.",
        "Within a group gradients are added up. Every arm tries the same step sizes and keeps the one that is best on "
        "validation rows. Plain gradient descent on the simulator, Adam on digits.",
        "The data sets of the paper are replaced: a simulator in which the sum of the tasks' gradients nearly cancels "
        "although one model serves all, and digits with two helpful and two harmful auxiliary tasks.",
    ],
    remarks=[
        "Random groups of the same sizes get as far: three random tasks of nine cancel far less than all nine do, and "
        "they pay for no graph. What is left lies within the noise that the last steps leave in every run.",
        "A graph made at the start stays nearly right when one task of three moves on, and costs nothing afterwards, "
        "while a new one every 16 steps takes about an eighth of the budget: without a change static ends lowest.",
        "On the simulator cosines are 0.8 or -0.4, so that while errors are large the sign finds the same edges as a "
        "threshold. Four neighbours miss two of six (85 % of pairs right), which costs less than seeds differ by.",
        "On digits the harmful tasks, which have heads of their own, hardly hurt: joint training, random groups and "
        "SON-GOKU err on about 7 % of 400 test rows, and their differences lie within the seeds'.",
    ],
)
def arms(scale: Scale) -> Mapping[str, Callable[[int], Mapping[str, float]]]:
    """Joint training, PCGrad, random groups, SON-GOKU alone and with PCGrad, and its ablations."""
    from ._son_goku_arms import arms as make

    return make(scale)
