"""What running a model over examples tells a merge: one tensor a parameter, kept in a safetensors file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import save
from torch import Tensor

from ..errors import MergeError
from ..files import write_bytes
from ._sources import FileSource, Source, StateSource

if TYPE_CHECKING:
    from ._reading import Part

COLLECTORS = {"gram": "collect_gram", "fisher": "collect_fisher", "readouts": "collect_readouts"}
"""Kind of statistics -> the function that collects them."""


@dataclass(frozen=True)
class Statistics(Mapping[str, Tensor]):
    """Statistics of one model, by the name of the parameter each is of; a mapping, so ``statistics["fc.weight"]``.

    Attributes:
        kind: ``gram``, ``fisher`` or ``readouts``.
        tensors: the values, means over rows.
        rows: over how many (for convolutions: patches; for sequences: positions).
    """

    kind: str
    tensors: Mapping[str, Tensor]
    rows: Mapping[str, int] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Tensor:
        """The values of one parameter."""
        return self.tensors[name]

    def __iter__(self) -> Iterator[str]:
        """The parameters' names."""
        return iter(self.tensors)

    def __len__(self) -> int:
        """How many parameters have values."""
        return len(self.tensors)

    def save(self, path: Path | str) -> None:
        """Write them to ``path``, whole or not at all."""
        tensors = {name: tensor.contiguous() for name, tensor in self.tensors.items()}
        write_bytes(Path(path), save(tensors, {"kind": self.kind, "rows": json.dumps(dict(self.rows))}))

    @classmethod
    def load(cls, path: Path | str) -> Statistics:
        """Read what :meth:`save` wrote; raises :class:`~sharewise.errors.MergeError` for any other file."""
        source = open_statistics(Path(path), str(path))
        try:
            kind, rows = source.metadata.get("kind"), source.metadata.get("rows")
            if kind not in COLLECTORS or rows is None:
                raise MergeError(f'"{path}" holds no statistics of a model (kind {kind!r}): collect them anew')
            return cls(kind, {name: source.whole(name) for name in source.tensors}, json.loads(rows))
        finally:
            source.close()


Given = Statistics | Mapping[str, Tensor] | Path | str
"""Statistics as a merge takes them: collected, any tensors by name, or a file of them."""


def open_statistics(given: Given, name: str) -> Source:
    """Statistics to be read tensor by tensor; ``name`` is what messages call them."""
    if isinstance(given, Path | str):
        path = Path(given)
        if not path.is_file():
            raise MergeError(f'statistics of "{name}": there is no file "{path}"; write it with Statistics.save')
        return FileSource(name, [path])
    source = StateSource(name, given)
    if isinstance(given, Statistics):
        source.metadata = {"kind": given.kind}
    return source


class Collected:
    """One tensor's statistics of several models, each read when it is its turn, so that one at a time is in memory.

    Attributes:
        shape: of the first.
    """

    def __init__(self, places: Sequence[tuple[Source, str]]) -> None:
        self._places = places
        source, name = places[0]
        self.shape = source.tensors[name].shape

    def __len__(self) -> int:
        """How many models."""
        return len(self._places)

    def __iter__(self) -> Iterator[Tensor]:
        """Read one after the other."""
        for source, name in self._places:
            yield source.whole(name)


def beside(tensor: str, leaf: str | None) -> str:
    """The parameter ``leaf`` of the module that ``tensor`` belongs to; ``tensor`` itself for ``None``.

    >>> beside("layers.0.fc.bias", "weight")
    'layers.0.fc.weight'
    """
    return tensor if leaf is None else ".".join([*tensor.split(".")[:-1], leaf])


def holders(parts: Sequence[Part], kind: str, *, required: bool) -> bool:
    """Whether all models have statistics of their part of a tensor.

    Raises :class:`MergeError`, with the function that collects them, where some have and some have not, where none has
    and they are ``required``, and where statistics are of another kind.
    """
    for part in parts:
        found = part.statistics.metadata.get("kind", kind) if part.statistics is not None else kind
        if found != kind:
            raise MergeError(
                f'the statistics of model "{part.source.name}" are of the kind "{found}", this method takes "{kind}": '
                f"collect them with sw.merge.{COLLECTORS[kind]}"
            )
    lacking = [p for p in parts if p.statistics is None or p.tensor not in p.statistics.tensors]
    if not lacking:
        return True
    if len(lacking) == len(parts) and not required:
        return False
    part = lacking[0]
    remedy = f"collect them with sw.merge.{COLLECTORS[kind]}(model, batches) and pass them as statistics"
    other = ", or average what no model has statistics of with unseen: average" if len(lacking) == len(parts) else ""
    raise MergeError(f'model "{part.source.name}" has no {kind} statistics of tensor "{part.tensor}": {remedy}{other}')
