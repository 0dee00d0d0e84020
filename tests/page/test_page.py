"""What all pages have in common: data that cannot end its script, colours one can read."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

from helpers.results import HOSTILE
from sharewise.page import _embed
from sharewise.page._embed import embed

NAN = float("nan")


def test_data_in_the_page_cannot_end_its_script_and_reads_back() -> None:
    value = {"a": [*HOSTILE, "\u2028\u2029", "<!--"], "b": [1.0, NAN, math.inf], "c": True}
    text = str(embed(value))
    assert not set(text) & set("<>&\u2028\u2029")
    assert json.loads(text) == {"a": value["a"], "b": [1.0, None, None], "c": True}


def test_text_has_contrast_in_light_and_dark() -> None:
    css = (Path(_embed.__file__).parent / "page.css").read_text()
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
