"""The verdict: each answer from comparisons made up for it."""

from __future__ import annotations

import pytest

from sharewise.study._analysis import outcome
from sharewise.study._verdict import Side, decide
from sharewise.study.results import Comparison, DeltaM

CHEAP = {"equal": {"fit": 3.0, "store": 5.0, "serve": 4.0}, "groups": {"fit": 2.0, "store": 2.0, "serve": 2.0}}


def side(outcomes: list[str], low: float, high: float, arm: str = "equal", groups: tuple = ()) -> Side:
    comparisons = [
        Comparison(
            arm=arm, versus="separate", task=f"t{i}", effect=0, low=0, high=0, p=1, p_holm=1, p_margin=1, outcome=o
        )
        for i, o in enumerate(outcomes)
    ]
    middle = (low + high) / 2
    delta = DeltaM(arm=arm, versus="separate", higher_is_better=middle, lower_is_better=-middle, low=low, high=high)
    return Side(arm, arm.title(), comparisons, delta, groups)


@pytest.mark.parametrize(
    ("outcomes", "low", "high", "answer"),
    [
        (["better", "as good", "unclear"], 0.1, 2.0, "share"),
        (["better", "worse"], 0.1, 2.0, "do not share"),
        (["as good", "as good"], -0.5, 0.5, "share: as good and cheaper"),
        (["as good", "better"], -0.5, 0.5, "share: as good and cheaper"),
        (["as good", "unclear"], -0.5, 0.5, "too little data to say"),
        (["unclear", "unclear"], -2.0, -0.1, "do not share"),
        (["as good", "unclear"], -0.8, -0.1, "too little data to say"),  # worse on average, by less than the margin
        ([], -0.5, 0.5, "too little data to say"),
    ],
)
def test_answers(outcomes: list[str], low: float, high: float, answer: str) -> None:
    verdict = decide(side(outcomes, low, high), None, 0.01, CHEAP)
    assert verdict.answer == answer
    assert (verdict.arm == "equal") == answer.startswith("share")
    assert verdict.margin == 1.0


def test_as_good_but_not_cheaper_is_no_reason() -> None:
    verdict = decide(side(["as good"], -0.1, 0.1), None, 0.01, {"equal": {"fit": 2.0, "store": 0.5, "serve": 2.0}})
    assert verdict.answer == "too little data to say"


def test_groups_only_where_sharing_everything_fails() -> None:
    split = (("t0", "t1"), ("t2",))
    groups = side(["better", "as good", "as good"], 0.2, 1.0, "groups", split)
    verdict = decide(side(["better", "worse", "as good"], -1, 1), groups, 0.01, CHEAP)
    assert verdict.answer == "share in these groups" and "t0 + t1; t2" in verdict.sentence
    assert verdict.cheaper == CHEAP["groups"]
    assert decide(side(["better"] * 3, 0.5, 1), groups, 0.01, CHEAP).answer == "share"
    alone = side(["as good"] * 3, -0.1, 0.1, "groups", (("t0",), ("t1",), ("t2",)))
    assert decide(side(["worse"] * 3, -3, -1), alone, 0.01, CHEAP).answer == "do not share"
    together = side(["as good"] * 3, -0.1, 0.1, "groups", (("t0", "t1", "t2"),))
    assert decide(side(["worse"] * 3, -3, -1), together, 0.01, CHEAP).answer == "do not share"


def test_the_loser_is_named() -> None:
    verdict = decide(side(["better", "worse"], -1, 1), None, 0.01, CHEAP)
    assert "t1" in verdict.sentence and "t0" not in verdict.sentence
    assert any("1 shown better, 1 shown worse" in line for line in verdict.evidence)


def test_outcomes() -> None:
    assert outcome(0.02, 0.01, 0.001) == "better"
    assert outcome(-0.002, 0.01, 0.01) == "as good"  # shown worse, but by less than the margin
    assert outcome(-0.02, 0.01, 0.9) == "worse"
    assert outcome(-0.02, 0.2, 0.9) == "unclear"
