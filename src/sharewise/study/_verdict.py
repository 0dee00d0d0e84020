"""The verdict in words, from comparisons with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .results import Answer, Comparison, DeltaM, Run, Verdict


@dataclass(frozen=True)
class Side:
    """A candidate strategy and what is known of it against separate models."""

    arm: str
    title: str
    comparisons: Sequence[Comparison]
    delta_m: DeltaM | None
    groups: Sequence[Sequence[str]] = ()

    def tasks(self, *outcomes: str) -> list[str]:
        """Tasks with one of these outcomes."""
        return [c.task for c in self.comparisons if c.outcome in outcomes]

    @property
    def harmless(self) -> bool:
        """Every task is shown to be better or no worse than the margin allows."""
        return bool(self.comparisons) and not self.tasks("worse", "unclear")

    @property
    def gains(self) -> bool:
        """The mean over tasks is shown to be better, and no task is shown to be worse."""
        return self.delta_m is not None and self.delta_m.low > 0 and not self.tasks("worse")

    def harms(self, margin: float) -> bool:
        """A task, or the mean over tasks, is shown to be worse, and not shown to be so by less than the margin."""
        mean = self.delta_m
        return bool(self.tasks("worse")) or (mean is not None and mean.high < 0 and mean.low <= -100 * margin)


def decide(shared: Side, groups: Side | None, margin: float, cheaper: dict[str, dict[str, float]]) -> Verdict:
    """One of the five answers.

    ``shared`` is the shared strategy that was best on *validation*, so its test comparisons are not chosen by their
    outcome. In this order: *share* if it gains; *share: as good and cheaper* if no task can be worse by the margin
    (an intersection of one-sided tests, each at 5 %, so at 5 % together) and it has fewer parameters; *share in these
    groups* if the groups do one or the other where sharing everything does not; *do not share* if sharing is shown to
    harm; else *too little data to say*.
    """
    parts = [g for g in groups.groups if len(g) > 1] if groups else []
    saves = cheaper.get(shared.arm, {}).get("store", 0) > 1  # a count; the times are told, but a clock decides nothing
    answer: Answer
    side: Side | None = shared
    if shared.gains:
        answer = "share"
    elif shared.harmless and saves:
        answer = "share: as good and cheaper"
    elif groups is not None and parts and len(groups.groups) > 1 and (groups.gains or groups.harmless):
        answer, side = "share in these groups", groups
    elif shared.harms(margin):
        answer, side = "do not share", None
    else:
        answer, side = "too little data to say", None
    factors = cheaper.get(side.arm, {}) if side else {}
    return Verdict(
        answer=answer,
        arm=side.arm if side else None,
        judged=(side or shared).arm,
        sentence=_sentence(answer, shared, groups, factors),
        evidence=_evidence(shared, groups, margin, factors),
        margin=100 * margin,
        cheaper=factors,
    )


def cheaper_than(ours: Sequence[Run], theirs: Sequence[Run]) -> dict[str, float]:
    """``fit``, ``store``, ``serve``: how many times cheaper, from means over seeds."""

    def ratio(read: str) -> float:
        a = sum(getattr(r.cost, read) for r in ours)
        b = sum(getattr(r.cost, read) for r in theirs)
        return b / a if a else float("nan")

    return {"fit": ratio("fit_seconds"), "store": ratio("parameters"), "serve": ratio("predict_seconds")}


def _sentence(answer: Answer, shared: Side, groups: Side | None, factors: dict[str, float]) -> str:
    title = shared.title.lower()
    if answer == "share":
        assert shared.delta_m is not None
        mean = shared.delta_m.higher_is_better
        return f"One model for all tasks ({title}) is better by {mean:.1f} % on average, and no task is shown to lose."
    if answer == "share: as good and cheaper":
        return f"One model for all tasks ({title}) is as good on every task, and {_savings(factors)}."
    if answer == "share in these groups":
        assert groups is not None
        text = "; ".join(" + ".join(g) for g in groups.groups)
        return f"Train these groups together: {text}. All tasks in one model did not pass the same test."
    if answer == "do not share":
        lost = shared.tasks("worse")
        what = f"loses on {_listed(lost)}" if lost else "is worse on average"
        return f"Even the best shared model ({title}) {what}: keep separate models."
    open_ = shared.tasks("unclear")
    return (
        f"The intervals are too wide to say whether sharing helps or harms"
        f"{' on ' + _listed(open_) if open_ else ''}: more rows, or more seeds, would tell."
    )


def _evidence(shared: Side, groups: Side | None, margin: float, factors: dict[str, float]) -> list[str]:
    lines = []
    for side in [shared] + ([groups] if groups is not None and groups.groups else []):
        counts = [
            f"{len(side.tasks(o))} {w}"
            for o, w in (
                ("better", "shown better"),
                ("as good", f"as good within {100 * margin:g} %"),
                ("worse", "shown worse"),
                ("unclear", "unclear"),
            )
            if side.tasks(o)
        ]
        if counts:
            lines.append(f"{side.title}, against separate models, task by task: {', '.join(counts)}.")
        if side.delta_m is not None:
            d = side.delta_m
            lines.append(
                f"{side.title}: mean change over tasks {d.higher_is_better:+.2f} % "
                f"(95 % interval {d.low:+.2f} to {d.high:+.2f} %; positive is better)."
            )
    if factors:
        lines.append(f"Cost: {_savings(factors)}.")
    return lines


def _savings(factors: dict[str, float]) -> str:
    words = {"fit": "to fit", "store": "to store", "serve": "to serve"}
    said = []
    for key, word in words.items():
        f = factors.get(key, float("nan"))
        if f == f:
            said.append(f"{f:.1f} times cheaper {word}" if f >= 1 else f"{1 / f:.1f} times dearer {word}")
    return ", ".join(said)


def _listed(names: Sequence[str], most: int = 5) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
