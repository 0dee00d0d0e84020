"""Parts of a model that a plan merges in different ways: ``modules`` of its tensors' names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

from ..errors import MergeError, nearest
from ._layers import place_of
from ._sources import Source
from ._tensorfile import TensorInfo

_ALSO = {"text_decoder": ("language_model", "text_model"), "vision_tower": ("vision_model", "visual")}
"""mergekit's words for modules whose tensors are called otherwise."""
REST = "default"
"""The module of every tensor that belongs to no other."""


class Within(Source):
    """The tensors of a model that belong to one module."""

    def __init__(self, model: Source, tensors: Mapping[str, TensorInfo]) -> None:
        self.name, self.folder, self.config, self.tensors = model.name, model.folder, model.config, tensors
        self._model = model

    def read(self, tensor: str, start: int, out: Tensor) -> None:
        """See :meth:`Source.read`."""
        self._model.read(tensor, start, out)


def split(modules: Iterable[str], sources: Iterable[Source]) -> dict[str, set[str]]:
    """Module -> the tensors' names that belong to it: those in which its name stands as a whole part before any layer's
    number; of several the one that stands first; ``default`` has the rest.

    Raises :class:`MergeError` for a module without tensors and for tensors of no module.
    """
    found: dict[str, set[str]] = {name: set() for name in modules}
    names = dict.fromkeys(n for s in sources for n in s.tensors)
    lost, parts = [], set()
    for name in names:
        place = place_of(name)
        own = (place.prefix if place else name).strip(".").split(".")
        parts.update(own[: -1 if place is None else None])
        at = {m: min((own.index(w) for w in (m, *_ALSO.get(m, ())) if w in own), default=None) for m in found}
        known = {m: i for m, i in at.items() if i is not None}
        if known:
            found[min(known, key=known.__getitem__)].add(name)
        elif REST in found:
            found[REST].add(name)
        else:
            lost.append(name)
    for module, own_names in found.items():
        if not own_names:
            raise MergeError(f'no tensor belongs to the module "{module}"; {nearest(module, sorted(parts))}')
    if lost:
        raise MergeError(
            f"tensors belong to no module of the plan ({len(lost):,}, such as {lost[0]}): name theirs, or add a module "
            f'"{REST}" for the rest'
        )
    return found
