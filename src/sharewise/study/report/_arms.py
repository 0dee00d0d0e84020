"""Which arm is which: the separate models, the arm to show first, names by id."""

from __future__ import annotations

from ...page import clean
from ..results import Comparison, StudyResult


def arm_title(result: StudyResult, name: str) -> str:
    """The arm's title, or its name where the arm is not listed."""
    return clean(next((arm.title for arm in result.arms if arm.name == name), name))


def separate(result: StudyResult) -> str | None:
    """Name of the arm with one network a task."""
    return next((arm.name for arm in result.arms if arm.kind == "separate"), None)


def kind_of(result: StudyResult, name: str) -> str:
    """Kind of the arm, ``shared`` where it is not listed."""
    return next((arm.kind for arm in result.arms if arm.name == name), "shared")


def pairs(result: StudyResult) -> list[tuple[str, str]]:
    """Pairs (arm, versus) that were compared, the one to show first in front.

    First comes the arm that was judged (the recommended one, or the sharing arm that was best on validation) against
    separate models; then the others that share, by their mean change.
    """
    seen = list(dict.fromkeys((c.arm, c.versus) for c in result.comparisons))
    alone = separate(result)
    means = {(d.arm, d.versus): d.higher_is_better for d in result.delta_m}

    def rank(pair: tuple[str, str]) -> tuple[bool, bool, bool, float]:
        shares = kind_of(result, pair[0]) in ("shared", "groups")
        mean = means.get(pair, float("-inf"))
        return (
            pair[1] != alone,
            pair[0] != (result.verdict.judged or result.verdict.arm),
            not shares,
            -mean if mean == mean else float("inf"),
        )

    return sorted(seen, key=rank)


def compared(result: StudyResult, pair: tuple[str, str]) -> list[Comparison]:
    """Comparisons of a pair in the order of the tasks."""
    order = {task.name: i for i, task in enumerate(result.tasks)}
    found = [c for c in result.comparisons if (c.arm, c.versus) == pair]
    return sorted(found, key=lambda c: order.get(c.task, len(order)))


def leading_arm(result: StudyResult) -> str | None:
    """The arm that selectors show first."""
    found = pairs(result)
    return found[0][0] if found else None
