"""The page without a browser: what it says, what it escapes, how its numbers come about."""

from __future__ import annotations

import base64
import doctest
import hashlib
import json
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from helpers.results import HOSTILE, example_result
from sharewise.study.report import _page, _text, render, render_picture, write_picture, write_report
from sharewise.study.report._affinity import affinity_figure, affinity_table
from sharewise.study.report._arms import leading_arm, pairs
from sharewise.study.report._conflict import MOST, conflict_figure, conflict_sentence
from sharewise.study.report._cost import cost_figure, cost_table
from sharewise.study.report._curves import curves, levelled, weights
from sharewise.study.report._data import columns_table
from sharewise.study.report._embed import embed
from sharewise.study.report._estimate import estimate
from sharewise.study.report._forest import forest, reach
from sharewise.study.report._metrics import delta_m_table, metrics_table
from sharewise.study.report._place import Box, place
from sharewise.study.results import Answer, ColumnSummary, DataWarning, StudyResult

NAN = float("nan")
NO_NUMBER = re.compile(r"\b(nan|NaN|None|null|undefined|inf|Infinity)\b")
ANSWERS: list[Answer] = [
    "share",
    "share: as good and cheaper",
    "share in these groups",
    "do not share",
    "too little data to say",
]
LOOKS = ["better", "good", "groups", "worse", "unclear"]


@pytest.fixture(autouse=True, scope="module")
def without_plotly() -> Iterator[None]:
    """The page without 5 MB of plotly.js, which these tests would only wait for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_page, "_plotly", lambda: "/* plotly.js */")
        yield


class Reader(HTMLParser):
    """What a browser would make of a page: its elements, its text and its scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self.inside = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag if tag in ("script", "style") else ""

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside == "script":
            self.scripts.append(data)
        elif not self.inside:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


def cells(table: Any, row: int = 0) -> list[str]:
    return [cell.text for cell in table.rows[row].cells]


def emptied() -> StudyResult:
    """A result with as little in it as a result can have."""
    result = example_result(["only"], arms=("separate",), seeds=1, audit=False, answer="too little data to say")
    result.runs, result.comparisons, result.delta_m = [], [], []
    result.data.columns, result.data.warnings, result.data.splits = [], [], {}
    result.verdict.evidence, result.recipe.versions, result.recipe.seeds = [], {}, []
    return result


def riddled() -> StudyResult:
    """A result with every number that may be missing, missing."""
    result = example_result(seeds=3)
    for run in result.runs:
        run.metrics["visits"] = dict.fromkeys(run.metrics["visits"], None)
        run.curves["hospital"] = [NAN] * 4
        run.cost.fit_seconds = run.cost.peak_mb = NAN
        run.weights = {task: [NAN, *line] for task, line in run.weights.items()}
    for c in result.comparisons:
        c.effect = c.low = c.high = c.p = c.p_holm = c.p_margin = NAN
        c.outcome = "unclear"
    for d in result.delta_m:
        d.higher_is_better = d.lower_is_better = d.low = d.high = NAN
    assert result.affinity and result.conflict
    result.affinity.mean[0][1] = result.affinity.low[2][1] = NAN
    result.conflict.cosine[0] = [NAN] * len(result.conflict.epochs)
    result.conflict.conflict_rate[0] = NAN
    result.verdict.cheaper = {"fit": NAN, "store": 0.0}
    result.tasks[0].baseline = NAN
    return result


# ---------------------------------------------------------------- the page as a whole


@pytest.mark.parametrize("answer", ANSWERS)
def test_the_answer_comes_first_in_words_icon_and_colour(answer: Answer) -> None:
    page = render(example_result(answer=answer))
    text = Reader(page).text
    assert answer[0].upper() + answer[1:] in text
    order = [page.index(f'id="{s}"') for s in ("verdict", "forest", "metrics", "delta-m", "curves", "conflict",
                                                "affinity", "cost", "data", "repeat")]  # fmt: skip
    assert order == sorted(order)
    look = re.search(r'class="verdict look-(\w+)"', page)
    assert look and look.group(1) == dict(zip(ANSWERS, LOOKS, strict=True))[answer]
    assert f".look-{look.group(1)} {{" in page and '<svg class="icon"' in page


def test_the_verdict_says_what_is_recommended_how_sure_and_how_much_cheaper() -> None:
    result = example_result()
    text = Reader(render(result)).text
    for said in ("Shared, uncertainty weighting", "5.9× cheaper", "6.7× cheaper", result.verdict.sentence):
        assert said in text
    for line in result.verdict.evidence:
        assert line in text.replace("\u00a0", " ")
    assert "by 1 % or more, the margin of this study" in text
    outcomes = [c.outcome for c in result.comparisons if c.arm == "uncertainty"]
    assert f"▲ {outcomes.count('better')} better" in text
    assert f"◆ {outcomes.count('as good')} as good" in text


def test_nothing_recommended_over_separate_models_is_said_so() -> None:
    text = Reader(render(example_result(answer="do not share", recommended=None))).text
    assert "Recommended Separate models" in text
    assert "Cost against separate models" not in text
    assert (
        "Recommended Nothing yet"
        in Reader(render(example_result(answer="too little data to say", recommended=None))).text
    )


def test_hostile_names_stay_text_everywhere() -> None:
    plain, hostile = example_result(NAMES := [f"t{i}" for i in range(5)]), example_result(HOSTILE)
    for result in (plain, hostile):
        result.data.columns.append(ColumnSummary(name=HOSTILE[0], kind=HOSTILE[1], missing=0.5))
    hostile.title = hostile.data.name = hostile.data.source = hostile.data.split_by = HOSTILE[1]
    hostile.arms[1].title = hostile.arms[2].text = hostile.verdict.sentence = HOSTILE[0]
    hostile.data.warnings.append(DataWarning(kind="other", column=HOSTILE[2], text=HOSTILE[0]))
    hostile.recipe.versions = {HOSTILE[0]: HOSTILE[1]}
    plain.data.warnings.append(DataWarning(kind="other", column="c", text="t"))
    page = Reader(render(hostile))
    usual = Reader(render(plain))
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in usual.tags], "a name became an element"
    assert page.count("script") == 3
    assert NAMES
    for name in HOSTILE:
        assert page.text.count(name) >= 5
    for _, attributes in page.tags:
        assert not any(key.startswith("on") for key in attributes)
        assert set(attributes) <= {
            "id", "class", "lang", "charset", "http-equiv", "content", "name", "rel", "href", "aria-label", "aria-sort",
            "aria-hidden", "focusable", "viewbox", "cx", "cy", "r", "d", "fill", "stroke", "stroke-width",
            "stroke-linecap", "stroke-linejoin", "for", "data-group", "data-variant", "data-figure", "data-sort",
            "data-extra", "autocomplete", "value", "selected", "role", "tabindex", "scope", "type", "style", "hidden",
        }  # fmt: skip


def test_data_in_the_page_cannot_end_its_script_and_reads_back() -> None:
    value = {"a": [*HOSTILE, "\u2028\u2029", "<!--"], "b": [1.0, NAN, math.inf], "c": True}
    text = str(embed(value))
    assert not set(text) & set("<>&\u2028\u2029")
    assert json.loads(text) == {"a": value["a"], "b": [1.0, None, None], "c": True}


def test_names_in_plots_are_escaped_for_plotly() -> None:
    page = Reader(render(example_result(HOSTILE)))
    data = json.loads(page.scripts[0])
    ticks = data["forest"]["variants"][0]["layout"]["yaxis"]["ticktext"]
    assert ticks[0] == "&lt;script&gt;alert(1)&lt;/script&gt;"
    allowed = {"<b>", "</b>", "<br>"}

    def strings(value: Any) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            yield from strings(item)

    assert {tag for text in strings(data) for tag in re.findall(r"<[^>]*>", text)} <= allowed


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=40), min_size=2, max_size=4, unique=True))
def test_any_name_leaves_the_page_as_it_is(names: list[str]) -> None:
    small: dict[str, Any] = {"seeds": 2, "epochs": 2, "arms": ("separate", "uncertainty")}
    usual = Reader(render(example_result([f"t{i}" for i in range(len(names))], **small)))
    page = Reader(render(example_result(names, **small)))
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in usual.tags]
    json.loads(page.scripts[0])
    ET.fromstring(render_picture(example_result(names, **small)))


@pytest.mark.parametrize("make", [emptied, riddled, example_result], ids=lambda f: f.__name__)
def test_what_is_missing_is_a_dash_never_a_word_of_the_language(make: Any) -> None:
    result = make()
    page = Reader(render(result))
    found = NO_NUMBER.search(page.text)
    assert found is None, page.text[max(0, found.start() - 60) : found.end() + 60]
    assert "–" in page.text
    hover = json.dumps([v for f in json.loads(page.scripts[0]).values() for v in f["variants"]])
    assert not re.search(r"\b(nan|None)\b", hover)
    assert not NO_NUMBER.search(" ".join(ET.fromstring(render_picture(result)).itertext()))


def test_sections_without_data_are_left_out() -> None:
    page = render(emptied())
    for gone in ("forest", "delta-m", "curves", "conflict", "affinity"):
        assert f'id="{gone}"' not in page and f'href="#{gone}"' not in page
    for stays in ("verdict", "metrics", "cost", "data", "repeat"):
        assert f'id="{stays}"' in page


@pytest.mark.parametrize("n", [1, 40])
def test_one_task_and_forty(n: int) -> None:
    result = example_result([f"a_task_with_quite_a_long_name_number_{i}" for i in range(n)], seeds=2, epochs=4)
    page = Reader(render(result))
    assert f"{n} task{'s' if n > 1 else ''} · 7 strategies · 2 seeds" in page.text
    assert len(metrics_table(result).rows) == 3 * n
    data = json.loads(page.scripts[0])
    assert sum(name.startswith("curve-") for name in data) == n
    assert ("affinity" in data) == (n > 1) == ("weights" in data)


def test_the_page_asks_nothing_of_a_network_and_runs_only_its_own_scripts() -> None:
    page = Reader(render(example_result(HOSTILE)))
    for tag, attributes in page.tags:
        assert tag not in ("img", "iframe", "object", "embed", "base", "form", "video", "audio")
        for key in ("src", "href", "action", "srcset"):
            assert (attributes.get(key) or "#")[0] == "#" or attributes[key] == "data:,"
    policy = next(a["content"] for tag, a in page.tags if tag == "meta" and "http-equiv" in a)
    assert policy and policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-inline" not in policy.split("style-src")[0] and "unsafe-eval" not in policy
    for script in page.scripts[1:]:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


def test_the_same_result_gives_the_same_page() -> None:
    assert render(example_result(HOSTILE)) == render(example_result(HOSTILE))


def test_writing_is_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "report.html"
    write_report(example_result(), path)
    assert path.read_text(encoding="utf-8").rstrip().endswith("</html>")
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        write_report(example_result(), tmp_path / "file" / "report.html")
    assert sorted(p.name for p in path.parent.iterdir()) == ["report.html"]


def test_warnings_about_the_data_stand_in_the_verdict_and_in_full_below() -> None:
    result = example_result()
    page = Reader(render(result))
    assert "Read with care: the data show a likely leak, a tiny task and a drift." in page.text
    for warning in result.data.warnings:
        assert warning.text in page.text.replace("\u00a0", " ")
    result.data.warnings = result.data.warnings[:1] * 3
    assert "the data show 3 tiny tasks." in Reader(render(result)).text
    result.data.warnings = []
    assert "Read with care" not in render(result)
    assert "No leak, tiny task or drift was found." in render(result)


def test_a_result_with_nan_survives_saving_and_draws_the_same(tmp_path: Path) -> None:
    result = riddled()
    result.save(tmp_path / "result.json")
    assert render(StudyResult.load(tmp_path / "result.json")) == render(result)


def test_text_has_contrast_in_light_and_dark() -> None:
    css = (Path(_page.__file__).parent / "page.css").read_text()
    schemes = re.findall(r":root[^{]*\{([^}]*)\}", css)
    assert len(schemes) == 2

    def light(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    def contrast(a: str, b: str) -> float:
        low, high = sorted((light(a), light(b)))
        return (high + 0.05) / (low + 0.05)

    for scheme in schemes:
        colours = dict(re.findall(r"--([\w-]+): (#\w{6})", scheme))
        for text in ("ink", "muted", "better", "good", "worse", "unclear", "groups"):
            for ground in ("paper", "soft", "ground", "caution"):
                assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
        for ground in ("negative", "negative-soft", "middle", "positive-soft", "positive"):
            assert contrast(colours["ink"], colours[ground]) >= 4.5, ground


# ---------------------------------------------------------------- numbers and words


def test_examples_in_the_docstrings_of_text() -> None:
    assert doctest.testmod(_text).failed == 0


@given(st.floats(allow_nan=True, allow_infinity=True))
@example(5e-324)
@example(-0.0)
@example(1.8e306)
def test_any_number_can_be_printed(value: float) -> None:
    for write in (_text.number, _text.signed, _text.percent, _text.share, _text.duration, _text.times, _text.count):
        text = write(value)
        assert text and not NO_NUMBER.search(text)
        assert "-" not in text, "a minus sign is not a hyphen"
        if not math.isfinite(value):
            assert text == _text.DASH


def test_rounding_follows_the_interval() -> None:
    assert _text.plus_minus(12.3456, 0.0123) == "12.346 ± 0.012"
    assert _text.plus_minus(1234.5, 21.0) == "1,234 ± 21"  # round half to even
    assert _text.plus_minus(0.5, 0.0) == "0.5000"
    assert _text.plus_minus(-1.0, 0.5) == "−1.00 ± 0.50"
    assert _text.plus_minus(5e9, 2e8) == "5 × 10⁹ ± 200,000,000"
    assert _text.number(9.999) == "10.0" and _text.number(-5e-324) == "−4.94 × 10⁻³²⁴"
    assert _text.signed(-1e7) == "−10,000,000" and _text.signed(9.999) == "+10.0"
    assert _text.share(1.0) == "100\u00a0%"


def test_names_are_cleaned_and_shortened_at_both_ends() -> None:
    assert _text.clean("a\x00b\u202ec\n d") == "a\ufffdb\ufffdc d"
    assert _text.clean("  ") == "(no name)"
    assert _text.shorten("abcdefghijklmnop", 10) == "abcdef…nop"
    assert _text.shorten("abc", 3) == "abc"


def test_means_and_intervals_pinned_by_hand() -> None:
    found = estimate([1.0, 2.0, 3.0])
    assert found.mean == 2.0 and found.half == pytest.approx(4.302652730 / math.sqrt(3), rel=1e-8)  # t(0.975, 2) s/√n
    partly = estimate([1.0, None, 5.0, NAN])
    assert (partly.mean, partly.count, partly.of) == (3.0, 2, 4)
    assert partly.half == pytest.approx(12.70620474 * math.sqrt(8) / math.sqrt(2), rel=1e-8)
    assert estimate([7.0]).half is None and estimate([None]).mean is None


# ---------------------------------------------------------------- tables


def test_metrics_are_means_over_seeds_and_the_best_is_marked() -> None:
    result = example_result(["a", "b"], arms=("separate", "equal"), seeds=2)
    result.tasks[1].higher_is_better = True
    for run in result.runs:
        shift = 0.2 if run.arm == "equal" else 0.0
        run.metrics = {
            "a": {"rmse": 1.0 + run.seed + shift, "own": 3.0 + shift},
            "b": {"rmse": 5.0 + shift if run.seed else None},
        }
    table = metrics_table(result)
    # The arm that leads comes first: sharing, as the only one that was compared.
    assert [c.label for c in table.columns[2:4]] == ["Shared, equal weights", "Separate models"]
    assert cells(table)[:2] == ["a", "rmse ↓"]
    assert cells(table)[2:4] == ["1.7 ± 6.4", "1.5 ± 6.4"]  # t(0.975, 1) = 12.706, s = 1/√2
    assert [cell.best for cell in table.rows[0].cells] == [False, False, False, True, False]
    assert cells(table, 1)[1] == "own" and not any(cell.best for cell in table.rows[1].cells)
    assert table.rows[1].extra and not table.rows[0].extra
    assert cells(table, 2)[1:3] == ["rmse ↑", "5.200 (1 of 2 seeds)"]
    assert table.rows[2].cells[2].best


def test_delta_m_stands_in_both_conventions() -> None:
    result = example_result()
    table = delta_m_table(result)
    assert [c.label for c in table.columns[1:]] == [
        "delta_m, %, higher is better",
        "95 % interval",
        "delta_m, %, lower is better",
    ]
    sorts = [row.cells[1].sort for row in table.rows]
    assert sorts == sorted(sorts, reverse=True)
    for row in table.rows:
        assert row.cells[1].sort == -row.cells[3].sort
    assert sum("(recommended)" in cells(table, i)[0] for i in range(len(table.rows))) == 1


def test_cost_table_has_every_arm_with_its_number() -> None:
    table = cost_table(example_result())
    assert cells(table)[0] == "1 · Separate models" and cells(table)[3] == "7"
    assert len(table.rows) == 7


def test_of_very_many_columns_those_with_most_missing_are_listed() -> None:
    result = example_result()
    result.data.columns = [ColumnSummary(name=f"c{i}", kind="number", missing=i / 1000) for i in range(900)]
    table = columns_table(result)
    assert len(table.rows) == 500 and cells(table)[0] == "c899"
    assert "500 of 900 columns" in Reader(render(result)).text


# ---------------------------------------------------------------- figures


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
    assert said[0] == "margin −1 %" and sum("better" in s for s in said) == sum(
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


# ---------------------------------------------------------------- the picture


def test_the_picture_is_sound_xml_with_hostile_names_as_text(tmp_path: Path) -> None:
    result = example_result([*HOSTILE, "bell\x07 and \u202ereversed"])
    write_picture(result, tmp_path / "demo.svg")
    root = ET.fromstring((tmp_path / "demo.svg").read_text(encoding="utf-8"))
    texts = list(root.itertext())
    assert "Share: as good and cheaper" in texts
    assert "<script>alert(1)</script>"[:10] in " ".join(texts)
    assert {el.tag.split("}")[1] for el in root.iter()} == {
        "svg",
        "title",
        "desc",
        "style",
        "g",
        "rect",
        "text",
        "line",
    }
    assert sum("%" in t and t.endswith(("better", "as good", "worse", "unclear")) for t in texts) == 6


def test_the_picture_of_many_tasks_says_what_it_leaves_out() -> None:
    root = ET.fromstring(render_picture(example_result([f"t{i}" for i in range(40)], seeds=2)))
    assert any("and 28 more tasks" in t for t in root.itertext())
    assert "Too little data to say" in "".join(ET.fromstring(render_picture(emptied())).itertext())
