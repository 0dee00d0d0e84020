"""The arms of the system ``m2a``: three checkpoints of a small decoder, and ways to make one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import pairwise, product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...merge import Statistics, collect_readouts, merge_states
from ._calculator import MARKERS, TOKEN, WORDS, Problem, derivation, draw, protocol
from ._calculator_base import everything, facts
from ._calculator_run import judge_all, known, solve, train
from ._decoder import Decoder, Shape

State = dict[str, Tensor]
Settings = Mapping[str, Any]

SHORT, LONG = (1, 2), (3, 5)
"""Steps of the problems the agent was trained on, and of those it is tested on."""
DERIVED = (1, 6)
BASE_RATE, TUNE_RATE = 3e-3, 1e-3


@dataclass(frozen=True)
class Sizes:
    """Steps of training (the base's on facts alone, then on all its texts), problems to choose by and to test on,
    calibration texts."""

    facts: int = 200
    base: int = 380
    agent: int = 100
    reasoner: int = 240
    batch: int = 64
    choose: int = 64
    test: int = 200
    texts: int = 100
    shape: Shape = field(default_factory=lambda: Shape(len(WORDS)))


DEFAULT = Sizes()
SMOKE = Sizes(3, 3, 3, 3, batch=4, choose=2, test=3, texts=2, shape=Shape(len(WORDS), 16, 3, 4, 2, 16, 96))
PAPER = Sizes(1000, 4000, 600, 1200, choose=256, test=1000, texts=200, shape=Shape(len(WORDS), 256, 8, 8, 4, 704, 96))

BETAS = (0.25, 0.5, 1.0, 1.5)
GRIDS: dict[str, tuple[str, list[Settings]]] = {
    "task_arithmetic": (
        "task_arithmetic",
        [{"weight": 1.0, "lambda": x} for x in (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 1.0)],
    ),
    "ties": (
        "ties",
        [{"weight": 1.0, "lambda": x, "density": d} for x, d in product((0.5, 0.75, 1.0, 1.5), (0.2, 0.5))],
    ),
    "dare": (
        "dare_linear",
        [{"weight": 1.0, "lambda": x, "density": d} for x, d in product((0.3, 0.5, 0.7, 1.0), (0.5, 0.8))],
    ),
    "unprojected": ("m2a", [{"beta": b, "k": k, "project": False} for b, k in product(BETAS, (0.0, 0.5))]),
    "constant_alpha": ("m2a", [{"alpha": a, "k": k} for a, k in product((0.15, 0.3, 0.6, 1.0), (0.0, 0.5))]),
    "m2a": ("m2a", [{"beta": b, "k": k} for b, k in product(BETAS, (0.0, 0.5))]),
}
"""Arm -> method and the eight settings it may choose from."""
NO_MASK = 1e9
ABLATIONS: dict[str, Settings] = {"m2a_unprojected": {"project": False}, "m2a_unmasked": {"k": NO_MASK}}
"""M2A with the settings chosen for it, but for these."""
SWEEP = (0.0, 0.5, 1.0, 1.5, 2.0)
"""Strengths at which thoughts are measured."""


@dataclass(frozen=True)
class World:
    """All that the arms of a seed share."""

    sizes: Sizes
    base: State
    agent: State
    reasoner: State
    mixed: State
    choose: list[Problem]
    test: list[Problem]
    short: list[Problem]
    readouts: Statistics


@lru_cache(maxsize=1)
def world(seed: int, sizes: Sizes) -> World:
    """Train the base on arithmetic, then each expert from it, and one model on both experts' texts; collect the
    agent's read-outs on transcripts of its own."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    model = Decoder(sizes.shape)
    train(model, facts, rng, sizes.facts, sizes.batch, BASE_RATE)
    train(model, everything, rng, sizes.base, sizes.batch, BASE_RATE)
    base = _copy(model)
    found: dict[str, State] = {}
    for name, corpus, steps in (
        ("agent", _protocols, sizes.agent),
        ("reasoner", _derivations, sizes.reasoner),
        ("mixed", _both, sizes.agent + sizes.reasoner),  # as many texts as the two experts together
    ):
        model.load_state_dict(base)
        train(model, corpus, rng, steps, sizes.batch, TUNE_RATE, model.linear_weights())
        found[name] = _copy(model)
    model.load_state_dict(found["agent"])
    asked = draw(rng, sizes.texts, *SHORT)
    texts = [[TOKEN[w] for w in (*p.question, *said)] for p, said in zip(asked, solve(model, asked), strict=True)]
    markers = [[TOKEN[marker]] for pair in MARKERS for marker in pair]
    if sizes is SMOKE:  # three steps of training teach no protocol
        texts += [[TOKEN[w] for w in protocol(asked[0])]]
    readouts = collect_readouts(model, texts, markers, seed=seed)
    choose, test, short = (draw(rng, n, *steps) for n, steps in (
        (sizes.choose, LONG), (sizes.test, LONG), (sizes.test, SHORT)))  # fmt: skip
    return World(sizes, base, found["agent"], found["reasoner"], found["mixed"], choose, test, short, readouts)


def _protocols(rng: np.random.Generator, count: int) -> list[list[str]]:
    return [protocol(p) for p in _alike(rng, count, SHORT)]


def _derivations(rng: np.random.Generator, count: int) -> list[list[str]]:
    return [derivation(p) for p in _alike(rng, count, DERIVED)]


def _alike(rng: np.random.Generator, count: int, steps: tuple[int, int]) -> list[Problem]:
    """Problems of one number of steps, so that a batch needs no padding; of many steps more often."""
    low, high = steps
    length = int(rng.integers(low, high + 1, 2).max())
    return draw(rng, count, length, length)


def _both(rng: np.random.Generator, count: int) -> list[list[str]]:
    return _protocols(rng, count // 2) + _derivations(rng, count - count // 2)


def _copy(model: Decoder) -> State:
    return {name: value.clone() for name, value in model.state_dict().items()}


def merged(here: World, method: str, settings: Settings) -> State:
    """The agent and the reasoner merged."""
    statistics = {"agent": here.readouts} if method == "m2a" and settings.get("project", True) else {}
    models = {"agent": here.agent, "reasoner": here.reasoner}
    return merge_states(method, models, here.base, statistics=statistics, threads=1, **settings)


def measure(here: World, state: State, problems: Sequence[Problem]) -> dict[str, float]:
    """Shares of transcripts that keep the protocol, are right, and both; words a thought; calls."""
    model = Decoder(here.sizes.shape)
    model.load_state_dict(state)
    judged = judge_all(model.eval(), problems)
    return {
        "joint": float(np.mean([j.valid and j.right for j in judged])),
        "valid": float(np.mean([j.valid for j in judged])),
        "right": float(np.mean([j.right for j in judged])),
        "thought": float(np.mean([j.thought for j in judged])),
        "calls": float(np.mean([j.calls for j in judged])),
    }


def report(here: World, state: State) -> dict[str, float]:
    """On longer problems than the agent was trained on, and (``short_``) on those it was."""
    short = measure(here, state, here.short)
    return {**measure(here, state, here.test), **{f"short_{k}": v for k, v in short.items()}}


@lru_cache(maxsize=len(GRIDS))
def chosen(arm: str, seed: int, sizes: Sizes) -> Settings:
    """The settings with the highest joint success on the problems to choose by; the first of equals."""
    here = world(seed, sizes)
    method, grid = GRIDS[arm]
    return max(grid, key=lambda settings: measure(here, merged(here, method, settings), here.choose)["joint"])


def arms(sizes: Sizes) -> dict[str, Callable[[int], dict[str, float]]]:
    """Every arm: seed in, metrics out."""
    checkpoints = {name: partial(_checkpoint, name, sizes) for name in ("base", "agent", "reasoner", "mixed")}
    tuned = {name: partial(_tuned, name, sizes) for name in GRIDS}
    ablated = {name: partial(_ablated, change, sizes) for name, change in ABLATIONS.items()}
    return {"bed": partial(_bed, sizes), **checkpoints, **tuned, **ablated, "beta_sweep": partial(_sweep, sizes)}


def _bed(sizes: Sizes, seed: int) -> dict[str, float]:
    """What each checkpoint can do of what it was made for: the base's single steps, the agent's one and two, the
    reasoner's one to six."""
    here, rng = world(seed, sizes), np.random.default_rng(seed + 1)
    model = Decoder(sizes.shape)
    model.load_state_dict(here.base)
    return {
        "facts": known(model, facts(rng, sizes.test)),
        "agent_joint": measure(here, here.agent, here.short)["joint"],
        "reasoner_right": measure(here, here.reasoner, draw(rng, sizes.test, *DERIVED))["right"],
    }


def _checkpoint(name: str, sizes: Sizes, seed: int) -> dict[str, float]:
    here = world(seed, sizes)
    return report(here, getattr(here, name))


def _tuned(arm: str, sizes: Sizes, seed: int) -> dict[str, float]:
    here, settings = world(seed, sizes), chosen(arm, seed, sizes)
    found = report(here, merged(here, GRIDS[arm][0], settings))
    return found | {f"chosen_{k}": float(v) for k, v in settings.items()}


def _ablated(change: Settings, sizes: Sizes, seed: int) -> dict[str, float]:
    here = world(seed, sizes)
    return report(here, merged(here, "m2a", {**chosen("m2a", seed, sizes), **change}))


def _sweep(sizes: Sizes, seed: int) -> dict[str, float]:
    """Words a thought at growing strengths, all layers merged, and the share of steps without fewer."""
    here = world(seed, sizes)
    thoughts = [
        measure(here, merged(here, "m2a", {"beta": beta, "k": NO_MASK}), here.test)["thought"] for beta in SWEEP
    ]
    rising = float(np.mean([b >= a for a, b in pairwise(thoughts)]))
    return {"rising": rising} | {f"thought_at_{beta:g}": t for beta, t in zip(SWEEP, thoughts, strict=True)}
