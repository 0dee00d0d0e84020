"""The page in a real browser: it draws, sorts, fits a phone, stays offline, and no name does anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.browser import COLUMN, DRAWN, SMALL_TEXT, Seen, browser, needs_chromium, opened
from helpers.results import HOSTILE, example_result
from sharewise.study.report import write_picture, write_report
from sharewise.study.results import ColumnSummary

pytestmark = [pytest.mark.browser, needs_chromium]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as one:
        yield one


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pages to open: a usual one, one of hostile names, one of forty long names."""
    folder = tmp_path_factory.mktemp("pages")
    usual = example_result()
    for run in usual.runs:
        run.metrics["ovisits"]["rmse"] = None
    write_report(usual, folder / "usual.html")
    hostile = example_result(HOSTILE)
    hostile.data.columns.append(ColumnSummary(name=HOSTILE[0], kind=HOSTILE[1], missing=0.5))
    hostile.arms[2].title = HOSTILE[1]
    hostile.title = HOSTILE[0]
    for run in hostile.runs:
        if run.arm in ("uncertainty", "pcgrad"):
            run.trained = {name: [0.2 * ((e + i) % 6) for e in range(9)] for i, name in enumerate(HOSTILE)}
    write_report(hostile, folder / "hostile.html")
    long = [f"a_target_with_an_uncommonly_long_name_of_which_there_are_{i}" for i in range(40)]
    write_report(example_result(long, seeds=2, epochs=6), folder / "forty.html")
    write_picture(hostile, folder / "picture.svg")
    return folder


@pytest.fixture(scope="module")
def usual(chromium: Any, folder: Path) -> Iterator[Seen]:
    """One tab for the tests that leave the page as they found it."""
    with opened(chromium, folder / "usual.html") as seen:
        yield seen


@pytest.mark.parametrize(
    ("name", "width", "figures"), [("hostile", 1280, 12), ("hostile", 390, 12), ("forty", 1280, 46), ("forty", 390, 46)]
)
def test_everything_is_drawn_and_nothing_complains(
    chromium: Any, folder: Path, name: str, width: int, figures: int
) -> None:
    with opened(chromium, folder / f"{name}.html", width=width) as seen:
        drawn = seen.page.evaluate(DRAWN)
        assert len(drawn) == figures
        for figure, surfaces, marks in drawn:
            assert surfaces >= 1 and marks >= 1, f"{figure} is empty"
        assert seen.complaints() == []
        assert seen.requests == [(folder / f"{name}.html").as_uri()]
        widths = seen.page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert widths == [width, width], "the page scrolls sideways"
        assert seen.page.evaluate(SMALL_TEXT) == []


def test_a_script_as_a_name_is_shown_and_does_nothing(chromium: Any, folder: Path) -> None:
    with opened(chromium, folder / "hostile.html") as seen:
        text = seen.page.inner_text("body")
        for name in HOSTILE:
            assert name in text
        labels = seen.page.eval_on_selector_all("#plot-forest .ytick text", "all => all.map((t) => t.textContent)")
        assert HOSTILE[0] in labels and HOSTILE[3] in labels
        assert (
            seen.page.eval_on_selector_all("#plot-forest .ytick a, #plot-forest .ytick [style*=bold]", "a => a.length")
            == 0
        )
        assert seen.page.title().endswith(HOSTILE[0])
        seen.page.hover("#plot-forest .scatterlayer path.point >> nth=0", force=True)
        seen.page.wait_for_selector("#plot-forest .hoverlayer .hovertext")
        hover = seen.page.text_content("#plot-forest .hoverlayer")
        assert any(name in hover for name in HOSTILE), hover
        assert seen.page.locator("img, iframe, script[src]").count() == 0
        assert seen.complaints() == []


def test_a_script_that_got_in_all_the_same_would_not_run(chromium: Any, folder: Path) -> None:
    with opened(chromium, folder / "usual.html") as seen:
        seen.page.evaluate("""() => {
          const script = document.createElement("script");
          script.textContent = "window.broken = true";
          document.body.append(script);
          const image = document.createElement("img");
          image.src = "https://example.org/spy.png";
          document.body.append(image);
        }""")
        seen.page.wait_for_timeout(200)
        assert seen.page.evaluate("window.broken") is None
        assert len([line for line in seen.console if "Content Security Policy" in line]) >= 2


def test_numbers_sort_both_ways_with_unknown_last(usual: Seen) -> None:
    page = usual.page
    before = page.evaluate(COLUMN, ["table-metrics", 2])
    heading = page.locator("#table-metrics thead th").nth(2)
    heading.locator("button").click()
    up = page.evaluate(COLUMN, ["table-metrics", 2])
    assert heading.get_attribute("aria-sort") == "ascending"
    heading.locator("button").click()
    down = page.evaluate(COLUMN, ["table-metrics", 2])
    assert heading.get_attribute("aria-sort") == "descending"
    numbers = sorted(float(v) for v in before if v is not None)
    assert len(numbers) == 6 and before.count(None) == 1
    assert [float(v) for v in up[:-1]] == numbers != [float(v) for v in before if v is not None]
    assert [float(v) for v in down[:-1]] == numbers[::-1]
    assert up[-1] is None and down[-1] is None
    assert (
        page.locator("#table-metrics thead th[aria-sort=none]").count()
        == page.locator("#table-metrics thead th").count() - 1
    )


def test_negative_numbers_sort_as_numbers(usual: Seen) -> None:
    usual.page.locator("#table-delta-m thead th button").nth(1).click()
    values = [float(v) for v in usual.page.evaluate(COLUMN, ["table-delta-m", 1])]
    assert values == sorted(values) and values[0] < 0 < values[-1]


def test_words_sort_from_the_keyboard(usual: Seen) -> None:
    page = usual.page
    page.locator("#table-metrics thead th button").first.focus()
    page.keyboard.press("Enter")
    names = page.evaluate(COLUMN, ["table-metrics", 0])
    assert names == sorted(names)
    page.keyboard.press("Space")
    assert page.evaluate(COLUMN, ["table-metrics", 0]) == names[::-1]


def test_all_metrics_are_shown_on_demand(usual: Seen) -> None:
    rows = usual.page.locator("#table-metrics tbody tr:visible")
    assert rows.count() == 7
    usual.page.check("input[data-extra]")
    assert rows.count() == 21
    usual.page.uncheck("input[data-extra]")
    assert rows.count() == 7


def test_another_strategy_is_drawn_with_its_numbers(usual: Seen) -> None:
    page = usual.page
    page.locator("#forest summary").click()
    read = "() => document.getElementById('plot-forest').data.flatMap((t) => t.x).sort()"
    before = page.evaluate(read)
    assert page.locator("#table-forest-0").is_visible() and not page.locator("#table-forest-3").is_visible()
    page.select_option("#select-forest", index=3)
    assert page.evaluate(read) != before
    assert page.locator("#table-forest-3").is_visible() and not page.locator("#table-forest-0").is_visible()
    page.select_option("#select-curves", index=1)
    page.select_option("#select-forest", index=0)
    assert page.evaluate(read) == before
    assert usual.complaints() == []


def test_turning_the_phone_and_the_light_draws_anew(chromium: Any, folder: Path) -> None:
    with opened(chromium, folder / "usual.html", width=390, scheme="dark") as seen:
        page = seen.page
        ink = "() => getComputedStyle(document.querySelector('#plot-forest .xtick text')).fill"
        dark = page.evaluate(ink)
        size = "() => document.querySelector('#plot-conflict .main-svg').getBoundingClientRect().width"
        narrow = page.evaluate(size)
        page.set_viewport_size({"width": 1280, "height": 900})
        page.wait_for_function("() => document.querySelector('#plot-conflict .main-svg').clientWidth > 800")
        assert narrow < 390
        page.emulate_media(color_scheme="light")
        page.wait_for_function(f"(dark) => ({ink})() !== dark", arg=dark)
        page.set_viewport_size({"width": 390, "height": 900})
        page.wait_for_function("() => document.querySelector('#plot-conflict .main-svg').clientWidth < 390")
        assert all(marks for _, _, marks in page.evaluate(DRAWN))
        assert seen.complaints() == []


def test_on_paper_everything_is_open_and_light(chromium: Any, folder: Path) -> None:
    with opened(chromium, folder / "usual.html", scheme="dark") as seen:
        assert seen.page.locator("details[open]").count() == 0
        seen.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        assert seen.page.locator("details:not([open])").count() == 0
        assert seen.page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--paper')") == "#ffffff"
        seen.page.evaluate("window.dispatchEvent(new Event('afterprint'))")
        assert seen.page.locator("details[open]").count() == 0
        assert len(seen.page.pdf(format="A4")) > 20_000
        assert seen.complaints() == []


def test_the_picture_is_drawn_inside_its_frame(chromium: Any, folder: Path) -> None:
    page = chromium.new_page(viewport={"width": 900, "height": 700})
    page.goto((folder / "picture.svg").as_uri())
    box = "(e) => { const b = e.getBoundingClientRect(); return [b.left, b.right, b.bottom, e.textContent]; }"
    frame = page.eval_on_selector("rect", box)
    boxes = page.eval_on_selector_all("text", f"all => all.map({box})")
    assert len(boxes) > 10
    for left, right, bottom, text in boxes:
        assert frame[0] <= left and right <= frame[1] and bottom <= frame[2], text
    page.close()
