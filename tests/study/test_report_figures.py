"""What the page's figures draw, as data: which points, in which order, with which marks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.results import example_result
from sharewise.study.report._affinity import affinity_figure, affinity_table
from sharewise.study.report._arms import leading_arm, pairs
from sharewise.study.report._conflict import MOST, conflict_figure, conflict_sentence
from sharewise.study.report._cost import cost_figure
from sharewise.study.report._curves import curves, levelled, weights
from sharewise.study.report._forest import forest, reach
from sharewise.study.report._place import Box, place
from sharewise.study.report._projected import projected_figure, projected_tables
from sharewise.study.report._turns import turns_figure, turns_tables

NAN = float("nan")


def cells(table: Any, row: int = 0) -> list[str]:
    return [cell.text for cell in table.rows[row].cells]


def test_the_leading_arm_is_the_recommended_one_or_the_best_that_shares() -> None:
    assert leading_arm(example_result()) == "uncertainty"
    result = example_result(recommended=None)
    means = {d.arm: d.higher_is_better for d in result.delta_m if d.arm != "trees"}
    assert leading_arm(result) == max(means, key=lambda a: means[a])
    result.verdict.judged = "pcgrad"
    assert leading_arm(result) == "pcgrad", "the arm that the verdict is about, though it is not recommended"
    result.comparisons.append(result.comparisons[0].model_copy(update={"arm": "trees", "versus": "equal"}))
    assert pairs(result)[-1] == ("trees", "equal")


def test_the_forest_shows_each_task_in_its_outcome_with_the_margin() -> None:
    result = example_result()
    figure = forest(result)
    assert figure is not None
    first = figure.variants[0]
    assert first.title == "Shared, uncertainty weighting" and len(figure.variants) == 6
    by_task = {c.task: c for c in result.comparisons if c.arm == "uncertainty"}
    ticks = dict(zip(first.layout["yaxis"]["tickvals"], first.layout["yaxis"]["ticktext"], strict=True))
    drawn = {ticks[y]: (x, t) for t in first.traces for x, y in zip(t["x"], t["y"], strict=True)}
    assert {task: x for task, (x, _) in drawn.items()} == {task: c.effect for task, c in by_task.items()}
    symbols = {"better": "triangle-up", "as good": "diamond", "worse": "triangle-down", "unclear": "circle-open"}
    for task, (_, trace) in drawn.items():
        assert trace["marker"]["symbol"] == symbols[by_task[task].outcome]
    assert first.layout["shapes"][0]["x0"] == -1.0
    said = [a["text"] for a in first.layout["annotations"]]
    assert said[-1] == "margin −1 %" and sum("better" in s for s in said) == sum(
        c.outcome == "better" for c in by_task.values()
    )


def test_the_axis_holds_zero_the_margin_and_all_effects_but_not_every_interval() -> None:
    found = [c for c in example_result().comparisons if c.arm == "trees"]
    low, high = reach(found, 1.0)
    assert low < min(c.low for c in found) and high > 1.0
    found[0].high, found[1].effect = 1e6, NAN
    low, high = reach(found, 1.0)
    assert high < 20 and low < -1.0
    assert reach([], 1.0)[0] < -1.0 < 0 < reach([], 1.0)[1]


def test_curves_are_means_over_seeds_and_dotted_once_a_seed_has_stopped() -> None:
    result = example_result(["a"], arms=("separate", "equal"), seeds=2)
    for run in result.runs:
        run.curves = {"a": [4.0, 2.0] if run.seed else [2.0, 1.0, 0.5]}
    (name, figure), *_ = curves(result)
    assert name == "a" and figure.variants[0].title == "Shared, equal weights"
    low, high, solid, dotted = figure.variants[0].traces[4:]  # after the four of the separate models
    # The splits' difficulties are 0.5 and 2: their curves move by +0.75 and -0.75.
    assert (low["y"], high["y"]) == ([2.75, 1.25, 1.25], [3.25, 1.75, 1.25])
    assert solid["y"] == [3.0, 1.5] and solid["line"]["dash"] == "solid"
    assert (dotted["y"], dotted["x0"], dotted["line"]["dash"]) == ([1.5, 1.25], 2, "dot")


def test_levelling_moves_all_arms_of_a_seed_alike() -> None:
    result = example_result(["a"], arms=("separate", "equal"), seeds=3)
    moved = levelled(result, "a")
    for seed in range(3):
        shifts = {
            round(new - old, 9)
            for run in result.runs
            if run.seed == seed
            for new, old in zip(moved[run.arm][seed], run.curves["a"], strict=True)
        }
        assert len(shifts) == 1
    best = [min(line) for line in moved["equal"]]
    assert max(best) - min(best) < 0.05


def test_long_curves_are_thinned_and_short_ones_are_points() -> None:
    result = example_result(["a"], arms=("separate",), seeds=1)
    result.runs[0].curves = {"a": [1.0 / (i + 1) for i in range(1000)]}
    line = curves(result)[0][1].variants[0].traces[0]
    assert len(line["y"]) == 200 and line["dx"] == 5 and line["y"][1] == pytest.approx(1 / 6)
    result.runs[0].curves = {"a": [1.0]}
    assert curves(result)[0][1].variants[0].traces[0]["mode"] == "markers"


def test_weights_are_relative_to_the_mean_of_their_epoch() -> None:
    result = example_result(["a", "b"], arms=("separate", "uncertainty"), seeds=1)
    result.runs[1].weights = {"a": [1.0, 3.0], "b": [1.0, 1.0]}
    figure = weights(result)
    assert figure is not None and figure.variants[0].traces[0]["z"] == [[1.0, 1.5], [1.0, 0.5]]


def test_who_was_projected_is_a_mean_over_the_seeds_that_know() -> None:
    result = example_result(["a", "b", "c"], arms=("separate", "equal", "pcgrad"), seeds=2)
    assert projected_figure(result.model_copy(update={"runs": result.runs[:4]})) is None, "no arm that projects"
    first, second = (run for run in result.runs if run.arm == "pcgrad")
    first.projected = {"a": {"b": 0.25, "c": 0.5}, "b": {"a": 0.0}, "c": {"a": NAN}}
    second.projected = {"a": {"b": 0.75}, "b": {"a": 0.0}}
    figure = projected_figure(result)
    assert figure is not None and [v.title for v in figure.variants] == ["Shared, PCGrad"]
    trace = figure.variants[0].traces[0]
    assert trace["z"] == [[None, 50.0, 50.0], [0.0, None, None], [None, None, None]]
    assert (trace["zmin"], trace["zmax"]) == (0, 50.0)
    assert trace["text"] == [["", "50", "50"], ["0", "", ""], ["", "", ""]]
    assert trace["hovertext"][0][1] == "a lost its part along b<br>in 50\u00a0% of the steps"
    (table,) = projected_tables(result)
    assert cells(table)[:2] == ["a", "b"] and cells(table)[2].startswith("50.0 ± ")
    assert [cells(table, i)[2] for i in (1, 2, 3)] == ["50.00", "0", "–"]


def test_nobody_was_projected() -> None:
    result = example_result(["a", "b"], arms=("separate", "pcgrad"), seeds=1)
    result.runs[1].projected = {"a": {"b": 0.0}, "b": {"a": 0.0}}
    figure = projected_figure(result)
    assert figure is not None and figure.variants[0].traces[0]["zmax"] == 1.0


def test_who_trained_when_is_a_mean_over_the_seeds_that_still_trained() -> None:
    result = example_result(["a", "b"], arms=("separate", "equal", "pcgrad"), seeds=2)
    assert turns_figure(result) is None and turns_tables(result) == []
    first, second = (run for run in result.runs if run.arm == "pcgrad")
    first.trained = {"a": [0.5, 1.0, 0.0], "b": [0.5, 0.0, 1.0]}
    second.trained = {"a": [0.25], "b": [0.75]}
    figure = turns_figure(result)
    assert figure is not None and [v.title for v in figure.variants] == ["Shared, PCGrad"]
    trace = figure.variants[0].traces[0]
    assert trace["z"] == [[37.5, 100.0, 0.0], [62.5, 0.0, 100.0]] and (trace["x0"], trace["zmax"]) == (1, 100)
    assert trace["hovertext"][1][0] == "b, epoch 1:<br>in 62.5\u00a0% of the steps"
    (table,) = turns_tables(result)
    assert cells(table)[0] == "a" and cells(table)[1].startswith("37.5 ± ")


def test_affinity_leaves_out_the_diagonal_and_signs_what_is_sure() -> None:
    affinity = example_result(["a", "b"]).affinity
    assert affinity is not None
    affinity.groups = [["b"], ["a"]]
    affinity.mean, affinity.low = [[9.0, 0.5], [-0.5, 9.0]], [[9.0, 0.1], [-0.9, 9.0]]
    affinity.high = [[9.0, 0.9], [0.2, 9.0]]
    figure = affinity_figure(affinity)
    assert figure is not None
    trace = figure.variants[0].traces[0]
    assert trace["z"] == [[None, -0.5], [0.5, None]], "grouped tasks stand together, b first"
    assert (trace["zmin"], trace["zmax"]) == (-0.5, 0.5)
    assert trace["narrow"]["text"] == [["", ""], ["+", ""]]
    rows = [cells(affinity_table(affinity), i)[:3] for i in range(2)]
    assert rows == [["b", "○ unclear", "a"], ["a", "▲ helps", "b"]]


def test_the_most_conflicting_pairs_come_first_and_the_rest_is_in_the_table() -> None:
    conflict = example_result([f"t{i}" for i in range(10)]).conflict
    assert conflict is not None and len(conflict.pairs) == 45
    figure = conflict_figure(conflict)
    assert figure is not None
    trace = figure.variants[0].traces[0]
    means = [sum(row) / len(row) for row in trace["z"]]
    assert len(means) == MOST and means == sorted(means)
    assert trace["zmin"] == -trace["zmax"] and trace["zmid"] == 0
    conflict.cosine = [[0.5]] * 44 + [[-0.5]]
    assert conflict_sentence(conflict).startswith("1 of 45 pairs pull apart on average; most of all “t8” and “t9”")
    conflict.cosine = [[0.5]] * 45
    assert conflict_sentence(conflict).startswith("No pair of tasks pulls apart")
    conflict.cosine = [[NAN]] * 45
    assert conflict_figure(conflict) is None


def test_cost_against_quality_puts_separate_models_at_zero_and_the_recommended_on_top() -> None:
    result = example_result()
    figure = cost_figure(result)
    assert figure is not None
    trace = figure.variants[0].traces[0]
    drawn = dict(zip(trace["text"], zip(trace["x"], trace["y"], strict=True), strict=True))
    assert drawn["1"][1] == 0.0
    assert drawn["3"][1] == next(d.higher_is_better for d in result.delta_m if d.arm == "uncertainty")
    assert trace["text"][-1] == "3" and trace["marker"]["symbol"][0] == "square"
    # 45 and 4.8 seconds differ by more than five: the axis is logarithmic.
    assert figure.layout["xaxis"]["type"] == "log"
    for run in result.runs:
        run.cost.fit_seconds = 0.0
    still = cost_figure(result)
    assert still is not None and "type" not in still.layout["xaxis"]


@given(
    st.lists(st.tuples(st.floats(0, 400), st.floats(0, 300), st.floats(5, 30), st.floats(20, 200)), max_size=12),
)
def test_labels_cover_neither_marks_nor_each_other(spots: list[tuple[float, float, float, float]]) -> None:
    centres, radii, widths = [(x, y) for x, y, _, _ in spots], [s[2] for s in spots], [s[3] for s in spots]
    found = place(centres, radii, widths, (400.0, 300.0), [Box(0, 149, 400, 151)])
    boxes = []
    for label in found:
        (x, y), w = centres[label.index], widths[label.index]
        start = {"left": 0.0, "right": -w, "center": -w / 2}[label.anchor]
        left, middle = x + label.dx + start, y + label.dy
        boxes.append(Box(left, middle - 10, left + w, middle + 10))
    marks = [Box(x - r, y - r, x + r, y + r) for (x, y), r in zip(centres, radii, strict=True)]
    tiny = 1e-6
    for i, box in enumerate(boxes):
        assert box.left >= -tiny and box.right <= 400 + tiny and box.top >= -tiny and box.bottom <= 300 + tiny
        inner = Box(box.left + tiny, box.top + tiny, box.right - tiny, box.bottom - tiny)
        assert not any(inner.meets(other) for other in [*marks, *boxes[:i], Box(0, 149, 400, 151)])
