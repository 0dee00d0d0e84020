"""A real browser for the pages Sharewise writes: Debian's Chromium, driven by Playwright, cut off from any network."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (apt install chromium)")


DRAWN = """() => [...document.querySelectorAll("[data-figure]")].map((box) => {
  const marks = box.querySelectorAll(".scatterlayer path.point, .scatterlayer path.js-line, .heatmaplayer image");
  const seen = [...marks].filter((m) => m.getBoundingClientRect().width + m.getBoundingClientRect().height > 1);
  return [box.dataset.figure, box.querySelectorAll(".main-svg").length, seen.length];
})"""
"""Every figure: its name, how many surfaces it has, and how many marks can be seen on them."""
COLUMN = """([table, column]) => [...document.querySelectorAll(`#${table} tbody tr:not([hidden])`)]
  .map((row) => row.cells[column].dataset.sort ?? null)"""
"""What a column of a table is sorted by, row by row."""
SMALL_TEXT = """() => {
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    const box = element.getBoundingClientRect();
    if (!own || !box.width || ["SCRIPT", "STYLE", "CAPTION", "NOSCRIPT"].includes(element.tagName)) continue;
    const size = parseFloat(getComputedStyle(element).fontSize);
    if (size < 15) found.push([element.tagName, element.className.baseVal ?? element.className, size]);
  }
  return found;
}"""
"""Text that is too small to read."""


@dataclass
class Seen:
    """A page and everything it said or asked for since it was opened."""

    page: Any
    console: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)

    def complaints(self) -> list[str]:
        """Everything that should be empty on a page that works."""
        return [*self.console, *self.errors, *self.dialogs]


@contextmanager
def browser() -> Iterator[Any]:
    """A headless browser, closed at the end."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"],
        )
        try:
            yield opened
        finally:
            opened.close()


@contextmanager
def opened(browser: Any, path: Path, *, width: int = 1280, height: int = 900, scheme: str = "light") -> Iterator[Seen]:
    """``path`` in a tab of its own, once all its plots are drawn; whatever is not that file is refused and noted."""
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, offline=True)
    page = context.new_page()
    seen = Seen(page)
    page.on("console", lambda message: seen.console.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    page.on("request", lambda request: seen.requests.append(request.url))

    def dismiss(dialog: Any) -> None:
        seen.dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", dismiss)
    url = path.as_uri()
    page.route("**/*", lambda route: route.continue_() if route.request.url == url else route.abort())
    try:
        page.goto(url)
        page.wait_for_selector("html[data-drawn]", timeout=60_000)
        yield seen
    finally:
        context.close()
