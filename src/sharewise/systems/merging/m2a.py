"""M2A: reasoning added to a model that keeps a protocol, only where the protocol does not read.

On your own checkpoints use the merging method ``m2a`` with :func:`sharewise.merge.collect_readouts`; this module
registers the comparison.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .._claim import Claim, Paper
from .._registry import Scale, system

if TYPE_CHECKING:
    from collections.abc import Mapping

PAPER = Paper(
    title="M2A: Synergizing Mathematical and Agentic Reasoning in Large Language Models",
    authors="Wang, Zhou, Xu, Zhan",
    year=2026,
    venue="arXiv",
    url="https://arxiv.org/abs/2605.09879",
    evidence="partial text",
)


def _gain(text: str, versus: str, margin: float = 0.0) -> Claim:
    return Claim(text, "joint", "m2a", versus, better="higher", margin=margin, relative=False)


CLAIMS = [
    _gain("solves 10 points more of the longer problems within the protocol than the agent alone", "agent", 0.10),
    _gain("solves 5 points more than the same merge without the projection", "m2a_unprojected", 0.05),
    Claim(
        "keeps the protocol within a point as often as the agent",
        "valid",
        "m2a",
        "agent",
        better="higher",
        margin=-0.01,
        relative=False,
    ),
    _gain("solves more than without the layer mask", "m2a_unmasked"),
    _gain("solves more than with one strength for all layers", "constant_alpha"),
    _gain("solves more than task arithmetic", "task_arithmetic"),
    _gain("solves more than TIES", "ties"),
    _gain("solves more than DARE", "dare"),
    Claim("thoughts do not get shorter as beta grows", "rising", "beta_sweep", at_least=0.99),
]


@system(
    "m2a",
    title="Merging reasoning into a protocol-keeping model (M2A)",
    paper=PAPER,
    family="merging",
    data="simulated: chains of operations mod 23, solved with a calculator that is called by a protocol",
    claims=CLAIMS,
    reading="ours",
    assumptions=[
        "The authors' code and the abstract were read, the paper's text and tables were not. Calibration texts are the "
        "agent's own transcripts of problems like those it was trained on.",
        "Heads that share keys and values are solved together; the released code adds the heads' projections up.",
        "Of a pair of positions the later one asks; in the released code it is the earlier, whose attention to the "
        "later one a decoder masks. Rotary positions are part of the logits that are kept.",
        "Operands are 1 to 9, and an operation with its operand is one word, so that the base knows all 621 single "
        "steps and looks steps up by their labels before it is tuned. Experts are tuned in the linear layers alone, "
        "all that is merged, and think what comes next or that all is done. Rates and steps were chosen on a seed "
        "outside the entry by what each checkpoint can do of its own task; of four layouts tried there, in none "
        "of which a merge solved clearly more than the agent, the one in which the agent keeps its protocol "
        "best was kept.",
    ],
    remarks=[
        "On the problems to choose by no strength does better than the weakest, which is the agent but for a few "
        "transcripts (5.2 % solved, as by the agent alone). Every checkpoint masters its own task, but the "
        "reasoner has never read an observation; on the seed for trials neither k of 0 or 0.5, nor a beta up to "
        "1.5, nor four times the calibration texts helped.",
        "A merge so weak needs no protection: the protocol is kept in 99.8 % of the transcripts with the "
        "projection, 99.7 % without it and 99.1 % without the mask. So the claims about projection, mask and "
        "strength compare arms that are all nearly the agent.",
        "Task arithmetic, TIES and DARE, which start from the base, solve nothing with the settings they chose. "
        "The lead over them is the agent's own share, not a gain.",
        "Thoughts grow from 2.6 words to 26.6 at a beta of 1.5 and then stay about as long as the reasoner's. In "
        "two of five seeds one of the four steps shortens them.",
    ],
)
def arms(scale: Scale) -> Mapping[str, Callable[[int], dict[str, float]]]:
    """Three checkpoints of a small decoder, one trained on both experts' texts together, and merges of every kind.

    Metrics on problems of three to five steps (the agent was trained on one and two; ``short_``: on those): ``joint``
    (protocol kept and answer right), ``valid``, ``right``, ``thought`` (words a thought), ``calls``. ``bed``: what each
    checkpoint can do of what it was made for.
    """
    from . import _m2a_arms

    sizes = {"smoke": _m2a_arms.SMOKE, "default": _m2a_arms.DEFAULT, "paper": _m2a_arms.PAPER}
    return _m2a_arms.arms(sizes[scale])
