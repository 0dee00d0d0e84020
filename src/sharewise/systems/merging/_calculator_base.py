"""What the base model reads: single steps with their results, and expressions without any.

========== ======================================================================================================
facts      ``7 #4 +5 = 12 #2 *3 = 13 ... ; <end>``: each step from where the last one ended, under any label
look-ups   ``? 7 #1 +5 #2 *3 ! #2 *3 ; #1 +5 ; #2 *3 ; ... <end>``
restated   ``? 7 #1 +5 #2 *3 ! <ans> ; 7 #1 +5 <ans> ; #2 *3 <ans> ; <end>``, with any punctuation
plain      ``? 7 #1 +5 #2 *3 ! 13 <end>``
========== ======================================================================================================
"""

from __future__ import annotations

import numpy as np

from ._calculator import LABELS, Problem, draw

PUNCTUATION = (";", "<think>", "</think>", "<call>", "</call>", "<ans>")
MOST = len(LABELS)
LENGTH = 40
"""Words of a look-up."""
SHARES = (0.15, 0.03, 0.32, 0.5)
"""Of facts, plain expressions, restated ones and look-ups; a batch is of one kind and one number of steps, so that
nothing is padded."""


def facts(rng: np.random.Generator, count: int) -> list[list[str]]:
    """Texts of six steps each."""
    return [_facts(rng, p) for p in draw(rng, count, MOST, MOST)]


def everything(rng: np.random.Generator, count: int) -> list[list[str]]:
    """Texts of one of the four kinds, about expressions of one to six steps."""
    kind = rng.choice(len(SHARES), p=SHARES)
    if kind == 0:
        return facts(rng, count)
    steps = int(rng.integers(1, MOST + 1))
    problems = draw(rng, count, steps, steps)
    if kind == 1:
        return [[*p.question, str(p.results[-1]), "<end>"] for p in problems]
    return [(_restated if kind == 2 else _lookups)(rng, p) for p in problems]


def _facts(rng: np.random.Generator, problem: Problem) -> list[str]:
    words = [str(problem.first)]
    for label, (_, _, step, result) in zip(rng.choice(LABELS, MOST), problem.rounds, strict=True):
        words += [str(label), step, "=", result]
    return [*words, ";", "<end>"]


def _lookups(rng: np.random.Generator, problem: Problem) -> list[str]:
    words = problem.question
    while len(words) < LENGTH:
        i = int(rng.integers(len(problem.steps)))
        words += [LABELS[i], problem.steps[i], ";"]
    return [*words, "<end>"]


def _restated(rng: np.random.Generator, problem: Problem) -> list[str]:
    between = [str(word) for word in rng.choice(PUNCTUATION, rng.integers(1, 4))]
    words = [*problem.question, *between, str(problem.first)]
    for label, step in zip(LABELS, problem.steps, strict=False):
        words += [label, step, *between]
    return [*words, "<end>"]
