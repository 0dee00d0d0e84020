"""The page without a browser: what it says, what it escapes, what it leaves out."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.pages import Reader
from helpers.results import HOSTILE, example_result
from sharewise.page import _render
from sharewise.study.report import render, render_picture, write_picture, write_report
from sharewise.study.report._metrics import metrics_table
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
        patch.setattr(_render, "_plotly", lambda: "/* plotly.js */")
        yield


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
        run.projected = {task: dict(list(row.items())[1:]) | {"visits": NAN} for task, row in run.projected.items()}
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


@pytest.mark.parametrize("answer", ANSWERS)
def test_the_answer_comes_first_in_words_icon_and_colour(answer: Answer) -> None:
    page = render(example_result(answer=answer))
    text = Reader(page).text
    assert answer[0].upper() + answer[1:] in text
    order = [page.index(f'id="{s}"') for s in ("verdict", "forest", "metrics", "delta-m", "curves", "conflict",
                                                "projected", "affinity", "cost", "data", "repeat")]  # fmt: skip
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
    for gone in ("forest", "delta-m", "curves", "conflict", "projected", "affinity"):
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


def test_results_of_before_projections_were_kept_can_be_loaded(tmp_path: Path) -> None:
    result = example_result()
    old = json.loads(result.model_dump_json())
    for run in old["runs"]:
        del run["projected"]
    (tmp_path / "result.json").write_text(json.dumps(old))
    page = render(StudyResult.load(tmp_path / "result.json"))
    assert 'id="projected"' not in page and 'id="conflict"' in page


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
