"""The verdict in words: what the top of the page and the picture say."""

from __future__ import annotations

from dataclasses import dataclass

from ...page import clean, interval, percent, times
from ..results import StudyResult
from ._arms import arm_title, compared, kind_of, pairs, separate
from ._theme import ANSWERS, OUTCOMES

_WARNINGS = {
    "leak": ("a likely leak", "likely leaks"),
    "tiny task": ("a tiny task", "tiny tasks"),
    "drift": ("a drift", "drifts"),
    "other": ("a peculiarity", "peculiarities"),
}


def _warning(kind: str, n: int) -> str:
    one, many = _WARNINGS[kind]
    return one if n == 1 else f"{n} {many}"


@dataclass(frozen=True)
class Facts:
    """The verdict, ready to print."""

    question: str
    answer: str
    look: str
    sentence: str
    evidence: list[str]
    arm: str
    """Title of the recommended arm, or that there is none yet."""
    text: str
    groups: list[list[str]]
    shown: str
    """Title of the arm that is drawn and counted: the recommended one, or the best one that shares."""
    counts: list[tuple[str, str, str, int]]
    """Outcome, glyph, word and number of tasks of the shown arm against separate models."""
    cheaper: list[tuple[str, str]]
    """What for, how many times."""
    delta_m: str
    delta_m_interval: str
    margin: str
    seeds: int
    warnings: list[str]


def facts(result: StudyResult) -> Facts:
    """Everything the verdict's box says."""
    verdict = result.verdict
    found = pairs(result)
    best = verdict.arm or (separate(result) if verdict.answer == "do not share" else None)
    arm = next((a for a in result.arms if a.name == best), None)
    tasks = compared(result, found[0]) if found else []
    mean = next((d for d in result.delta_m if found and (d.arm, d.versus) == found[0]), None)
    n = len(result.tasks)
    kinds = [w.kind for w in result.data.warnings]
    return Facts(
        question=f"Should these {n} tasks share a model?" if n != 1 else "Should this task share a model?",
        answer=verdict.answer[0].upper() + verdict.answer[1:],
        look=ANSWERS[verdict.answer],
        sentence=clean(verdict.sentence),
        evidence=[clean(e) for e in verdict.evidence],
        arm="Nothing yet" if best is None else arm_title(result, best),
        text=clean(arm.text) if arm is not None and arm.text else "",
        groups=[[clean(t) for t in group] for group in (arm.groups if arm is not None else [])],
        shown=arm_title(result, found[0][0]) if found else "",
        counts=[(o, m.glyph, m.word, sum(c.outcome == o for c in tasks)) for o, m in OUTCOMES.items()] if tasks else [],
        cheaper=_cheaper(result),
        delta_m=percent(mean.higher_is_better) if mean else "",
        delta_m_interval=interval(mean.low, mean.high) if mean else "",
        margin=f"{verdict.margin:g}",
        seeds=len(result.recipe.seeds),
        warnings=[_warning(kind, kinds.count(kind)) for kind in _WARNINGS if kind in kinds],
    )


def _cheaper(result: StudyResult) -> list[tuple[str, str]]:
    """How many times cheaper the recommended arm is; nothing where separate models are recommended."""
    arm = result.verdict.arm
    if arm is None or arm == separate(result) or kind_of(result, arm) == "separate":
        return []
    order = ["fit", "store", "serve"]
    known = sorted(result.verdict.cheaper, key=lambda k: order.index(k) if k in order else len(order))
    return [(clean(k), times(result.verdict.cheaper[k])) for k in known]
