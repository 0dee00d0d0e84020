"""A page as one file: a part's own template inside the common one, styles, scripts and data inlined."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from . import _text
from ._embed import embed
from ._figures import Figure

_HERE = Path(__file__).parent


def render(folder: Path, template: str, figures: Iterable[Figure], /, **content: Any) -> str:
    """One HTML page that needs no network: styles, scripts, plotly.js and the figures' data are all inside.

    Args:
        folder: where the template is; it extends ``page.html.j2`` and fills ``title``, ``header`` and ``main``.
        template: its name.
        figures: all that the template shows.
        content: what the template knows besides.

    About 5 MB, nearly all of it plotly.js. Every string is escaped; the page's Content-Security-Policy allows no
    request and runs no script but the page's own two, by their hash.
    """
    scripts = [_plotly(), _asset("page.js")]
    return environment(folder).get_template(template).render(
        **content,
        css=Markup(_asset("page.css")),
        scripts=[Markup(s) for s in scripts],
        hashes=" ".join(_hash(s) for s in scripts),
        data=embed({figure.id: figure.data() for figure in figures}),
    )  # fmt: skip


@cache
def environment(folder: Path) -> jinja2.Environment:
    """Templates of a folder and the common ones: everything is escaped, a name that is not there is an error."""
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, _HERE]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown = ("clean", "count", "duration", "interval", "number", "percent", "prose", "share", "signed", "times")
    env.filters.update({name: getattr(_text, name) for name in shown})
    return env


@cache
def _asset(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


@cache
def _plotly() -> str:
    # The file `plotly.offline.get_plotlyjs` reads, without the tenth of a second its import takes.
    spec = find_spec("plotly")
    assert spec is not None and spec.origin is not None
    source = (Path(spec.origin).parent / "package_data" / "plotly.min.js").read_text(encoding="utf-8")
    # A script element's text ends at the first of these; plotly.js 4.1 has neither.
    return source.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _hash(script: str) -> str:
    """The script's source expression for ``script-src`` (CSP level 3, section 2.3.1)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
