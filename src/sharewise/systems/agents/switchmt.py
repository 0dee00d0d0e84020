"""SwitchMT: one spiking network plays several games, and goes on to the next when the parameters stand still.

For one's own games use :class:`sharewise.train.deepq.MultiTaskDQN`; this module registers the comparison.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .._claim import Claim, Paper
from .._registry import Scale, system

if TYPE_CHECKING:
    from collections.abc import Mapping

PAPER = Paper(
    title="Scalable Multi-Task Learning through Spiking Neural Networks with Adaptive Task-Switching Policy for "
    "Intelligent Autonomous Agents",
    authors="Putra, Devkota, Shafique",
    year=2026,
    venue="DAC, arXiv 2504.13541",
    url="https://arxiv.org/abs/2504.13541",
    evidence="partial text",
)

CLAIMS = (
    Claim(
        "Switching when the parameters stand still gives a mean normalised return at least that of fixed switching",
        metric="normalised", arm="switchmt", versus="fixed", better="higher", relative=False,
    ),
    Claim(
        "Gated by the task's context, the mean normalised return is higher than without by at least 0.2",
        metric="normalised", arm="switchmt", versus="ungated", better="higher", relative=False, margin=0.2,
    ),
    Claim(
        "Without the context at least one of the two conflicting games is not learned: the lower normalised return of "
        "the two is at most 0.25",
        metric="worst_of_two", arm="ungated", at_most=0.25,
    ),
    Claim(
        "Adaptive switching gives the game that is slowest to learn more frames than fixed switching does",
        metric="frames_third", arm="switchmt", versus="fixed", better="higher", relative=False,
    ),
    Claim(
        "Where the return must stand still too, the mean normalised return is at least that of fixed switching",
        metric="normalised", arm="reward", versus="fixed", better="higher", relative=False,
    ),
    Claim(
        "Changes measured against copies of the parameters give a mean normalised return at least that of the released "
        "tracker, which compares the parameters with themselves",
        metric="normalised", arm="switchmt", versus="aliased", better="higher", relative=False,
    ),
    Claim(
        "A gate a neuron, as in the text, gives a higher mean normalised return than one a layer, as in the code",
        metric="normalised", arm="switchmt", versus="scalar", better="higher", relative=False,
    ),
    Claim(
        "One network for all games loses less than 0.1 of the mean normalised return of one network a game",
        metric="normalised", arm="switchmt", versus="separate", better="higher", relative=False, margin=-0.1,
    ),
)  # fmt: skip


@system(
    "switchmt",
    title="A spiking agent of several games that switches when learning stands still (SwitchMT)",
    paper=PAPER,
    family="agents",
    data="simulated: three games of 6 x 6 pixels (default); Atari's Pong, Breakout and Enduro from ale-py at smoke "
    "scale (a few steps) and at paper scale",
    claims=CLAIMS,
    reading="ours",
    assumptions=[
        "The text's formulas of the change of the parameters and of the use of rewards could not be read: the change "
        "is that of the released code, measured against copies; the reward stands still when its mean over the last "
        "window of episodes is at most 5 % above that of the window before, and both conditions must hold.",
        "The main arm has a gate a neuron, as the text says, set by the segment with the largest absolute response; "
        "the released code's, one number a layer set by the largest response, is the arm scalar.",
        "The margins of 0.2, 0.25 and 0.1 and the claims on frames, gates, the tracker and separate networks are ours. "
        "Returns are normalised: 0 is random play, 1 a scripted player that knows the rules (Atari: people).",
        "At default scale: games of 6 x 6 pixels, one spiking convolution without normalisation, 128 neurons a stream, "
        "a discount of 0.8, 2,400 frames in all, a round of updates after every 6, at least 10 episodes a visit; "
        "threshold and window are the released code's. These numbers are the same for all arms and were chosen on "
        "another seed, with networks of one game, of two and of three, gated and not.",
        "The games have 6 x 6 pixels because on 10 x 10, in 6,000 frames of that seed, neither the gated nor the "
        "ungated network of all three games learned more than chance on avoid; the claims on the context were not "
        "tried there over seeds.",
        "Separate networks have a third of the frames each and, at default scale, as many gradient steps a game as the "
        "shared one.",
        "MinAtar was not used: its licence (GPL) is not ours.",
        "At paper scale a replay holds 2^17 transitions a game instead of 2^20, which would take 59 GB each.",
    ],
    remarks=[
        "Switching rules differ by less than seeds do: 2,400 frames are about 47 episodes, so every rule "
        "switches at most four times, and all games learn from their replays at every update whichever is "
        "played. The four claims on switching, that on the released tracker among them, would need many more "
        "frames or seeds to be decided.",
        "One network of all three games trails separate ones by 0.20 (interval 0.05 to 0.35), mostly on "
        "fetch, the slowest to learn, of which the shared network sees a fifth of the frames and a network of "
        "its own a third.",
    ],
)
def arms(scale: Scale) -> Mapping[str, Callable[[int], dict[str, float]]]:
    """Adaptive and fixed switching, with the reward, with the released tracker; gates; separate networks."""
    from ._arms import DEFAULT, SMOKE
    from ._arms import PAPER as PAPER_SIZES
    from ._arms import arms as make

    return make({"smoke": SMOKE, "default": DEFAULT, "paper": PAPER_SIZES}[scale])
