"""Why models do not fit together, said by name."""

from __future__ import annotations

import math
from collections.abc import Sequence, Set

from ..errors import MergeError, closest
from ._method import Method
from ._reading import Part
from ._rows import is_vocabulary
from ._sources import Source

SHOWN = 5
"""Tensor names in a message."""


def wrong_number(method: Method, found: int, based: bool) -> MergeError:
    """More or fewer models than the method takes."""
    if method.most == math.inf:
        wanted = f"at least {method.least}"
    else:
        wanted = str(method.least) if method.most == method.least else f"{method.least} to {int(method.most)}"
    models = "model" if wanted.endswith("1") else "models"
    counted = {"required": " besides the base", "optional": " besides the base", "first": ", the base among them"}
    how = counted.get(method.base, "") if based else ""
    return MergeError(f'method "{method.name}" takes {wanted} {models}{how}; the plan gives {found}')


def missing(tensor: str, models: Sequence[Source], every: Set[str]) -> MergeError:
    """``tensor`` is not in all models: which of them lack which of ``every`` tensor that is merged."""
    common = set.intersection(*(set(s.tensors) for s in models))  # a tensor under another name is in none of these
    texts = []
    for source in models:
        gone = sorted(every - set(source.tensors)) if tensor in every else [tensor]
        if gone:
            close = closest(gone[0], set(source.tensors) - common)
            texts.append(f'"{source.name}" lacks {_some(gone)}' + (f' (did you mean "{close}"?)' if close else ""))
    return MergeError(
        f"the models do not have the same tensors: {'; '.join(texts)}. Merge models of one architecture, or set "
        "missing: keep to carry such tensors over from one model"
    )


def shapes(tensor: str, first: Part, other: Part) -> MergeError:
    """A tensor has another shape in another model."""
    a, b = list(first.info.shape), list(other.info.shape)
    hint = ""
    if len(a) == len(b) and a[1:] == b[1:] and is_vocabulary(tensor):
        hint = "; their vocabularies differ: set tokenizer_source: union (or base) to match rows by token"
    return MergeError(
        f'tensor "{tensor}" is {a} in "{first.source.name}" and {b} in "{other.source.name}": models to be '
        f"merged must have one architecture{hint}"
    )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
