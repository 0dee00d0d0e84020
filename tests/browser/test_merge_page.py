"""The bill's page in a real browser: it draws, sorts, fits a phone, stays offline, and no name does anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.bills import example_bill, layered
from helpers.browser import COLUMN, DRAWN, SMALL_TEXT, browser, needs_chromium, opened
from helpers.results import HOSTILE
from sharewise.merge.report import write_bill

pytestmark = [pytest.mark.browser, needs_chromium]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as one:
        yield one


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pages to open: hostile names with scores, many long ones of a deep model."""
    folder = tmp_path_factory.mktemp("bills")
    bills = {
        "hostile": example_bill(HOSTILE, [*layered(3), *HOSTILE], scores=True),
        "many": example_bill([f"a/path/to/an/uncommonly/long/name/of/model/{i}" for i in range(12)], layered(40)),
    }
    bills["hostile"]["warnings"] = [HOSTILE[0]]
    for name, bill in bills.items():
        (folder / name).mkdir()
        write_bill(bill, folder / name)
    return folder


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["hostile", "many"])
def test_everything_is_drawn_and_nothing_complains(chromium: Any, folder: Path, name: str, width: int) -> None:
    with opened(chromium, folder / name / "merge.html", width=width) as seen:
        drawn = seen.page.evaluate(DRAWN)
        assert [figure for figure, _, _ in drawn] == ["cosines", "layers"]
        for figure, surfaces, marks in drawn:
            assert surfaces >= 1 and marks >= 1, f"{figure} is empty"
        for index in range(seen.page.locator("#select-layers option").count()):
            seen.page.select_option("#select-layers", index=index)
            assert seen.page.evaluate(DRAWN)[1][2] >= 1
        assert seen.complaints() == []
        assert seen.requests == [(folder / name / "merge.html").as_uri()]
        widths = seen.page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert widths == [width, width], "the page scrolls sideways"
        assert seen.page.evaluate(SMALL_TEXT) == []


def test_a_script_as_a_name_is_shown_and_does_nothing(chromium: Any, folder: Path) -> None:
    with opened(chromium, folder / "hostile" / "merge.html") as seen:
        text = seen.page.inner_text("body")
        assert all(name in text for name in HOSTILE)
        labels = seen.page.eval_on_selector_all("#plot-layers .ytick text", "all => all.map((t) => t.textContent)")
        assert HOSTILE[2] in labels and labels[0].startswith("<script>")
        assert seen.page.locator("img, iframe, script[src]").count() == 0
        assert seen.complaints() == []


def test_tables_sort_and_change_with_the_model(chromium: Any, folder: Path) -> None:
    with opened(chromium, folder / "hostile" / "merge.html") as seen:
        page = seen.page
        page.locator("#table-tensors-all thead th button").nth(3).click()
        values = [float(v) for v in page.evaluate(COLUMN, ["table-tensors-all", 3])]
        assert values == sorted(values) and len(values) == len(layered(3)) + len(HOSTILE)
        assert not page.locator("#table-tensors-1").is_visible()
        page.select_option("#select-tensors-table", index=2)
        assert page.locator("#table-tensors-1").is_visible() and not page.locator("#table-tensors-all").is_visible()
        read = "() => document.getElementById('plot-cosines').data[0].z"
        before = page.evaluate(read)
        page.select_option("#select-cosines", index=2)
        assert page.evaluate(read) != before
        assert seen.complaints() == []
