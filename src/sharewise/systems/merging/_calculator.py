"""Chains of operations mod 23, how an agent and a reasoner solve them, and the interpreter that answers calls.

A problem is a number and operations on it, one after the other; its steps are numbered. All texts are lists of tokens:
a number is one, an operation with its operand is one, and so is a step's label. What to do next, or that all
is done (``!``), is thought; the protocol only does what was thought.

========== ======================================================================================================
protocol   ``? 7 #1 +5 #2 *3 ! <think> 7 #1 +5 </think> <call> 7 +5 </call> <obs> 12 </obs> <think> 12 #2 ...
           <think> 13 ! </think> <ans> 13 <end>``
derivation ``? 7 #1 +5 #2 *3 ! <think> 7 #1 +5 = 12 ; 12 #2 *3 = 13 ; 13 ! </think> <ans> 13 <end>``
========== ======================================================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

MODULUS = 23
SYMBOLS: dict[str, Callable[[int, int], int]] = {
    "+": lambda a, b: (a + b) % MODULUS,
    "-": lambda a, b: (a - b) % MODULUS,
    "*": lambda a, b: (a * b) % MODULUS,
}
OPERATIONS = tuple(f"{symbol}{b}" for symbol in SYMBOLS for b in range(1, 10))
LABELS = tuple(f"#{i}" for i in range(1, 7))
WORDS = (
    *map(str, range(MODULUS)), *OPERATIONS, *LABELS, "=", ";", "?", "!",
    "<think>", "</think>", "<call>", "</call>", "<obs>", "</obs>", "<ans>", "<end>", "<pad>",
)  # fmt: skip
TOKEN = {word: i for i, word in enumerate(WORDS)}
PAD = TOKEN["<pad>"]
MARKERS = (("<think>", "</think>"), ("<call>", "</call>"))


@dataclass(frozen=True)
class Problem:
    """``first`` and then operations."""

    first: int
    steps: tuple[str, ...]

    @property
    def question(self) -> list[str]:
        """Its words, from ``?`` to ``!``."""
        steps = (word for pair in zip(LABELS, self.steps, strict=False) for word in pair)
        return ["?", str(self.first), *steps, "!"]

    @property
    def results(self) -> list[int]:
        """After each step."""
        found, a = [], self.first
        for step in self.steps:
            a = apply(a, step)
            found.append(a)
        return found

    @property
    def rounds(self) -> list[tuple[str, str, str, str]]:
        """Each step's label, what it starts from, operation, result."""
        befores = [self.first, *self.results]
        return [
            (label, str(a), step, str(b))
            for label, step, (a, b) in zip(LABELS, self.steps, pairwise(befores), strict=False)
        ]


def apply(a: int, step: str) -> int:
    """What an operation makes of a number."""
    return SYMBOLS[step[0]](a, int(step[1:]))


def draw(rng: np.random.Generator, count: int, low: int, high: int) -> list[Problem]:
    """``count`` problems of ``low`` to ``high`` steps."""
    firsts = rng.integers(MODULUS, size=count)
    steps = rng.integers(len(OPERATIONS), size=(count, high))
    lengths = rng.integers(low, high + 1, size=count)
    return [
        Problem(int(first), tuple(OPERATIONS[i] for i in row[:length]))
        for first, row, length in zip(firsts, steps.tolist(), lengths, strict=True)
    ]


def derivation(problem: Problem) -> list[str]:
    """One thought with every step and its result, then the answer."""
    steps = (word for label, a, step, b in problem.rounds for word in (a, label, step, "=", b, ";"))
    return [*problem.question, "<think>", *steps, *_closing(problem)]


def protocol(problem: Problem) -> list[str]:
    """Think one step, call the calculator, read what it observed; at last think that all is done, and answer."""
    words = problem.question
    for label, a, step, b in problem.rounds:
        words += ["<think>", a, label, step, "</think>", "<call>", a, step, "</call>", "<obs>", b, "</obs>"]
    return [*words, "<think>", *_closing(problem)]


def _closing(problem: Problem) -> list[str]:
    result = str(problem.results[-1])
    return [result, "!", "</think>", "<ans>", result, "<end>"]


def answer_call(call: list[str]) -> int | None:
    """What the calculator observes for the words of a call; ``None`` if they are not a number and an operation."""
    if len(call) != 2 or not call[0].isdigit() or call[1] not in OPERATIONS:
        return None
    return apply(int(call[0]), call[1])


@dataclass(frozen=True)
class Judged:
    """One transcript: does it keep the protocol, is its answer right, words per thought, calls."""

    valid: bool
    right: bool
    thought: float
    calls: int


def judge(problem: Problem, words: list[str]) -> Judged:
    """A transcript after the question, up to and with ``<end>``.

    Valid: one or more rounds of a thought that is not empty and holds no marker, a call the calculator understands and
    what it observed; then such a thought, ``<ans>``, a number and ``<end>``. Right: the last number after ``<ans>`` is
    the result, whatever came before.
    """
    at, thoughts, calls = 0, [], 0
    while words[at : at + 1] == ["<think>"]:
        end = _until(words, at + 1, "</think>")
        thoughts.append(end - at - 1)
        at = end + 1
        close = _until(words, at + 1, "</call>") if words[at : at + 1] == ["<call>"] else len(words)
        if not (
            thoughts[-1] > 0
            and answer_call(words[at + 1 : close]) is not None
            and words[close + 1 : close + 2] == ["<obs>"]
            and words[close + 3 : close + 4] == ["</obs>"]
        ):
            break
        calls += 1
        at = close + 4
    tail = words[at:]
    answers = len(tail) == 3 and tail[0] == "<ans>" and tail[1].isdigit() and tail[2] == "<end>"
    valid = answers and 0 < calls < len(thoughts) and thoughts[-1] > 0
    answered = [b for a, b in pairwise(words) if a == "<ans>"]
    right = bool(answered) and answered[-1] == str(problem.results[-1])
    return Judged(valid, right, float(np.mean(thoughts)) if thoughts else 0.0, calls)


def _until(words: list[str], start: int, wanted: str) -> int:
    """Where ``wanted`` stands with no other marker before it; the end if it does not."""
    for i in range(start, len(words)):
        if words[i].startswith("<"):
            return i if words[i] == wanted else len(words)
    return len(words)
