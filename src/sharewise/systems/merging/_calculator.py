"""Chains of operations mod 23 in three formats of text, and the interpreter that answers a model's calls.

A problem is ``a op b op c ...``, computed from left to right; its steps are numbered. All texts are lists of tokens; a
number is one token, and so is a step's label.

========== ======================================================================================================
plain      ``? 7 #1 + 5 #2 * 3 ! 13 <end>``, or single steps ``7 + 5 = 12 ; 3 * 2 = 6 ; ... <end>``
protocol   ``? 7 #1 + 5 #2 * 3 ! <think> #1 7 + 5 </think> <call> 7 + 5 </call> <obs> 12 </obs> <think> #2 ...
           <ans> 13 <end>``
derivation ``? 7 #1 + 5 #2 * 3 ! #1 7 + 5 = 12 ; #2 12 * 3 = 13 ; <ans> 13 <end>``
========== ======================================================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

MODULUS = 23
OPERATIONS: dict[str, Callable[[int, int], int]] = {
    "+": lambda a, b: (a + b) % MODULUS,
    "-": lambda a, b: (a - b) % MODULUS,
    "*": lambda a, b: (a * b) % MODULUS,
}
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
    """``first`` and then steps ``(operation, operand)``."""

    first: int
    steps: tuple[tuple[str, int], ...]

    @property
    def question(self) -> list[str]:
        """Its words, from ``?`` to ``!``."""
        steps = (word for label, (op, b) in zip(LABELS, self.steps, strict=False) for word in (label, op, str(b)))
        return ["?", str(self.first), *steps, "!"]

    @property
    def results(self) -> list[int]:
        """After each step."""
        found, a = [], self.first
        for op, b in self.steps:
            a = OPERATIONS[op](a, b)
            found.append(a)
        return found


def draw(rng: np.random.Generator, count: int, low: int, high: int) -> list[Problem]:
    """``count`` problems of ``low`` to ``high`` steps."""
    names = list(OPERATIONS)
    return [
        Problem(
            int(rng.integers(MODULUS)),
            tuple((names[rng.integers(3)], int(rng.integers(MODULUS))) for _ in range(rng.integers(low, high + 1))),
        )
        for _ in range(count)
    ]


def plain(problem: Problem) -> list[str]:
    """Question and result without any annotation."""
    return [*problem.question, str(problem.results[-1]), "<end>"]


def equations(problems: list[Problem]) -> list[str]:
    """The first steps of several problems, each with its result."""
    steps = ([str(p.first), p.steps[0][0], str(p.steps[0][1]), "=", str(p.results[0]), ";"] for p in problems)
    return [word for step in steps for word in step] + ["<end>"]


def derivation(problem: Problem) -> list[str]:
    """Every step with its result, then the answer."""
    words, a = problem.question, problem.first
    for label, (op, b), result in zip(LABELS, problem.steps, problem.results, strict=False):
        words += [label, str(a), op, str(b), "=", str(result), ";"]
        a = result
    return [*words, "<ans>", str(a), "<end>"]


def protocol(problem: Problem) -> list[str]:
    """Think one step, call the calculator, read what it observed; then the answer."""
    words, a = problem.question, problem.first
    for label, (op, b), result in zip(LABELS, problem.steps, problem.results, strict=False):
        step = [str(a), op, str(b)]
        words += ["<think>", label, *step, "</think>", "<call>", *step, "</call>", "<obs>", str(result), "</obs>"]
        a = result
    return [*words, "<ans>", str(a), "<end>"]


def answer_call(call: list[str]) -> int | None:
    """What the calculator observes for the words of a call; ``None`` if it is not ``a op b``."""
    if len(call) != 3 or call[1] not in OPERATIONS or not (call[0].isdigit() and call[2].isdigit()):
        return None
    return OPERATIONS[call[1]](int(call[0]), int(call[2]))


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
    what it observed; then ``<ans>``, a number and ``<end>``. Right: the last number after ``<ans>`` is the result,
    whatever came before.
    """
    at, thoughts, calls = 0, [], 0
    valid = True
    while valid and words[at : at + 1] == ["<think>"]:
        end = _until(words, at + 1, "</think>")
        close = _until(words, end + 2, "</call>") if words[end + 1 : end + 2] == ["<call>"] else len(words)
        valid = (
            end > at + 1
            and answer_call(words[end + 2 : close]) is not None
            and words[close + 1 : close + 2] == ["<obs>"]
            and words[close + 3 : close + 4] == ["</obs>"]
        )
        thoughts.append(end - at - 1)
        calls += valid
        at = close + 4
    tail = words[at:]
    valid = valid and calls > 0 and len(tail) == 3 and tail[0] == "<ans>" and tail[1].isdigit() and tail[2] == "<end>"
    answered = [b for a, b in pairwise(words) if a == "<ans>"]
    right = bool(answered) and answered[-1] == str(problem.results[-1])
    return Judged(valid, right, float(np.mean(thoughts)) if thoughts else 0.0, calls)


def _until(words: list[str], start: int, wanted: str) -> int:
    """Where ``wanted`` stands with no other marker before it; the end if it does not."""
    for i in range(start, len(words)):
        if words[i].startswith("<"):
            return i if words[i] == wanted else len(words)
    return len(words)
