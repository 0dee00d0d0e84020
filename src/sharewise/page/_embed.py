"""Data inside a page, such that no string in it can end the script element it stands in."""

from __future__ import annotations

import json
import math
from typing import Any

from markupsafe import Markup

# `<` would allow `</script>` and `<!--`; U+2028 and U+2029 end a line in old scripts. Escaped they are
# the same JSON strings.
_ESCAPES = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


def embed(value: Any) -> Markup:
    """``value`` as JSON for ``<script type="application/json">``; NaN and infinities become ``null``."""
    text = json.dumps(_finite(value), allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.translate(_ESCAPES))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
