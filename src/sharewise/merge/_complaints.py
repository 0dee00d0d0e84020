"""What pydantic finds wrong with a plan, as a reader of the plan would say it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pydantic

from ..errors import closest, nearest

_TAGS = {"bool", "int", "float", "str", "Conditional", "TokenModel"}
"""What pydantic adds to a place to tell which of several types it tried."""
_SETTING = "must be a value, a list of values along the layers, or {filter: NAME, value: ...} (or a list of these)"
_FIELDS = "must have fields (name: value)"
_WANTED = {"missing": "is not given", "list_type": "must be a list", "dict_type": _FIELDS, "model_type": _FIELDS}
_MOST = 5
"""Complaints shown."""


def complaints(error: pydantic.ValidationError, fields: Sequence[str], parameters: Sequence[str]) -> list[str]:
    """Each complaint once, as ``place: what``.

    Args:
        error: raised by a plan.
        fields: every name a plan may have, to offer the nearest.
        parameters: those of the methods, which a plan has under ``parameters``.
    """
    found: dict[str, str] = {}
    for item in error.errors():
        place = _place(item["loc"])
        at = place.index("parameters") + 2 if "parameters" in place[:-1] else None
        if at is not None and (len(place) == at or item["type"] in ("missing", "extra_forbidden")):
            found.setdefault(".".join(place[:at]), f"{_SETTING}{_shown(item) if len(place) == at else ''}")
        elif at is None:
            found.setdefault(".".join(place), _text(item, place, fields, parameters))
    return [f"{where}: {text}" if where else text for where, text in found.items()][:_MOST]


def _place(loc: Sequence[int | str]) -> list[str]:
    return [str(p) for p in loc if p not in _TAGS and not str(p).startswith(("list[", "function-"))]


def _text(item: Any, place: Sequence[str], fields: Sequence[str], parameters: Sequence[str]) -> str:
    kind = item["type"]
    if kind == "extra_forbidden":
        close = closest(place[-1], [*fields, *parameters])
        if close in parameters:
            return f"not known here; the parameter {close} belongs under parameters: {{{close}: ...}}"
        return f"not known; {nearest(place[-1], fields)}"
    if kind == "value_error":
        return str(item["msg"]).removeprefix("Value error, ")
    text = _WANTED.get(kind, item["msg"].replace("Input should be", "must be"))
    return text if kind == "missing" else text + _shown(item)


def _shown(item: Any) -> str:
    return f", found {item['input']!r:.40}"
