"""What a method of merging is: two functions of the values one tensor has in n models, and a list of parameters."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor

from ..errors import MergeError

if TYPE_CHECKING:
    from ._reading import Part
    from ._statistics import Collected

Reach = Literal["entries", "rows", "tensor"]


@dataclass(frozen=True)
class Parameter:
    """A number (or word) a method takes.

    Attributes:
        name: as in the plan.
        default: also says its type; ``None`` with ``kind`` for one that must be given.
        kind: ``float``, ``int``, ``bool`` or ``str``.
        each: one value a model (``weight``) rather than one a tensor (``lambda``).
        low, high: allowed, both included.
        about: one line for readers.
    """

    name: str
    about: str
    default: Any = None
    kind: type = float
    each: bool = False
    low: float = -math.inf
    high: float = math.inf
    required: bool = False

    def check(self, value: Any) -> Any:
        """``value`` as this parameter's type; raises :class:`MergeError` with what was expected."""
        if value is None:
            return None
        try:
            found = self._convert(value)
        except (TypeError, ValueError):
            raise MergeError(f'parameter "{self.name}" must be {self._wanted()}, found {value!r}') from None
        if self.kind in (int, float) and not self.low <= found <= self.high:
            raise MergeError(f'parameter "{self.name}" must be {self._wanted()}, found {value!r}')
        return found

    def _convert(self, value: Any) -> Any:
        if self.kind is bool:
            if isinstance(value, bool):
                return value
            if value in (0, 1):
                return bool(value)
            raise ValueError
        if self.kind is str:
            return str(value)
        if isinstance(value, bool):  # YAML's yes is no number
            raise ValueError
        number = float(value)  # YAML reads 1e-4 as a word
        if not math.isfinite(number) or (self.kind is int and number != int(number)):
            raise ValueError
        return self.kind(number)

    def _wanted(self) -> str:
        word = {float: "a number", int: "a whole number", bool: "true or false", str: "a word"}[self.kind]
        if math.isfinite(self.low) and math.isfinite(self.high):
            return f"{word} from {self.low:g} to {self.high:g}"
        return word + (f" of at least {self.low:g}" if math.isfinite(self.low) else "")


class Stack(Protocol):
    """One tensor in n models, as a method sees it; implemented by the engine."""

    name: str
    shape: tuple[int, ...]
    models: tuple[str, ...]
    values: Mapping[str, Any]
    dtype: torch.dtype
    depth: tuple[int, int]
    surveyed: Any
    generators: list[torch.Generator]

    def blocks(self) -> Iterator[Block]:
        """All blocks, from the first entry to the last; every call reads them anew, into the same memory."""
        ...

    def statistic(self, leaf: str | None = None, models: Sequence[int] | None = None) -> Collected | None:
        """The statistics of this tensor, one a model (of those at the places ``models``, if given), each read whole
        when asked for (of the parameter ``leaf`` of the same module, if given); ``None`` where one of them has none."""
        ...

    def companion(self, leaf: str) -> Tensor | None:
        """``[n, ...]``: the parameter ``leaf`` of the same module in all models, minus the base's if there is a base;
        ``None`` where a model lacks it."""
        ...


@dataclass
class Block:
    """A part of one tensor in all models.

    Attributes:
        rows: ``[n, entries]`` (flat), ``[n, r, columns]`` or ``[n, *shape]``, as the method's reach says; float32 or
            float64. Task vectors (model minus base) where there is a base to subtract, else weights. The memory is
            used again for the next block: a method neither keeps nor changes it.
        start: flat index of its first entry in the tensor.
        stack: the tensor it is of: its name, parameters and random generators (one a model).
    """

    rows: Tensor
    start: int
    stack: Stack

    def each(self, name: str) -> Tensor:
        """A per-model parameter as ``[n, 1, ...]``, ready to multiply ``rows``."""
        values = torch.tensor(self.stack.values[name], dtype=self.rows.dtype)
        return values.view(-1, *[1] * (self.rows.ndim - 1))


class Method(ABC):
    """Base of all methods. State-free: one object serves all tensors and threads.

    A tensor is merged by :meth:`combine`, block by block in order. What must be known of the whole tensor first (a
    norm, a threshold) is found by :meth:`prepare`, which may walk over the blocks; what must be known of all tensors
    first, by :meth:`survey` and :meth:`gather`.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    paper: ClassVar[str] = ""
    base: ClassVar[Literal["required", "optional", "ignored", "first"]] = "required"
    """``first``: the base is one of the models (the first), not something to subtract."""
    least: ClassVar[int] = 1
    most: ClassVar[float] = math.inf
    """How many models besides the base."""
    reach: ClassVar[Reach] = "entries"
    parameters: ClassVar[tuple[Parameter, ...]] = ()
    passes: ClassVar[int] = 1
    """How often a tensor is read, for the forecast."""
    surveys: ClassVar[bool] = False
    statistics: ClassVar[str] = ""
    """The kind of statistics it takes (``gram``, ``fisher``); none for methods without data."""
    needs_statistics: ClassVar[bool] = True
    """Whether it does nothing without them."""
    temporaries: ClassVar[float] = 3
    """Copies of one model's block alive at once besides the rows, for the forecast."""

    def reach_of(self, name: str, shape: tuple[int, ...], values: Mapping[str, Any]) -> Reach:
        """What a block of this tensor must be: any run of entries, whole rows, or the tensor."""
        return self.reach

    def surveys_for(self, values: Mapping[str, Any]) -> bool:
        """Whether :meth:`survey` is asked, where that depends on the parameters."""
        return self.surveys

    def survey(self, stack: Stack) -> Any:
        """What is to be known of this tensor before any is merged; only asked if :meth:`surveys_for` says so."""
        return None

    def gather(self, found: dict[str, Any]) -> Any:
        """Everything surveyed, by tensor name -> what every tensor finds in ``stack.surveyed``."""
        return found

    def decisions(self, gathered: Any) -> Any:
        """What of :meth:`gather` the bill should tell, as JSON has it; ``None``: nothing."""
        return None

    def prepare(self, stack: Stack) -> Any:
        """What :meth:`combine` must know of the whole tensor."""
        return None

    @abstractmethod
    def combine(self, block: Block, state: Any) -> Tensor:
        """One merged block, in the shape of one row: a task vector where rows are task vectors, else weights."""

    def examine(self, parts: Sequence[Part], values: Mapping[str, Any]) -> None:
        """Raise :class:`MergeError` where the models' statistics of one tensor are missing or do not fit."""
        return None

    def complaint(self, values: Mapping[str, Any]) -> str | None:
        """What is wrong with values of parameters that do not go together."""
        return None

    def __repr__(self) -> str:
        return f"<merging method {self.name}>"


WEIGHT = Parameter("weight", "how much of each model", each=True, required=True)
WEIGHT_ONE = Parameter("weight", "how much of each model", 1.0, each=True)
NORMALIZE = Parameter("normalize", "divide by the sum of the weights", True, bool)
LAMBDA = Parameter("lambda", "scale of the merged task vector", 1.0)
DENSITY = Parameter("density", "share of entries kept", 1.0, each=True, low=0.0, high=1.0)
SEED = Parameter("seed", "of the draws", 0, int, low=0)
