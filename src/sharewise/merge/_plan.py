"""Plan files: YAML, read safely into these models. A mergekit YAML is a plan, for every method both have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from ..errors import MergeError
from ._complaints import complaints
from ._yaml import read_yaml

Scalar = bool | int | float | str
Dtype = Literal["float64", "float32", "float16", "bfloat16"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=(), frozen=True)


class Conditional(_Part):
    """A value for tensors whose name contains ``filter`` (all without one, or with ``"*"``)."""

    value: Scalar | list[Scalar]
    filter: str | None = None


Setting = Scalar | list[Scalar] | Conditional | list[Conditional]
"""One value; a list that runs evenly over the layers; or either for some tensors only."""
Parameters = dict[str, Setting]


class Reference(_Part):
    """A model, and an adapter that is added to it before anything else."""

    path: str
    adapter: str | None = None

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{self.path}+{self.adapter}" if self.adapter else self.path


def _reference(value: Any) -> Any:
    """``"MODEL"``, ``"MODEL+ADAPTER"``, or mergekit's nested form."""
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, str):
        if not value.strip():
            raise ValueError("a model's name is empty")
        path, plus, adapter = value.partition("+")
        return {"path": path, "adapter": adapter if plus else None}
    if isinstance(value, Mapping) and "model" in value:
        return {"path": _path(value["model"]), "adapter": _path(value["lora"]) if value.get("lora") else None}
    return value


def _path(value: Any) -> Any:
    return value.get("path", value) if isinstance(value, Mapping) else value


Model = Annotated[Reference, BeforeValidator(_reference)]


class Input(_Part):
    """One of the models, with parameters of its own and, for methods that take them, a file of statistics."""

    model: Model
    parameters: Parameters = Field(default_factory=dict)
    statistics: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _not_a_word(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise ValueError(f"write {{model: {value}}}")
        return value


class SliceInput(Input):
    """Some layers of one of the models: from the first up to, not including, the second."""

    layer_range: tuple[int, int]


class Slice(_Part):
    """Layers of the output, made of as many layers of every source."""

    sources: list[SliceInput] = Field(min_length=1)
    base_model: Model | None = None
    residual_weight: float | None = None
    parameters: Parameters = Field(default_factory=dict)

    @model_validator(mode="after")
    def _same_length(self) -> Slice:
        for source in self.sources:
            first, last = source.layer_range
            if not 0 <= first < last:
                raise ValueError(f"layer_range [{first}, {last}] of {source.model.name} holds no layer")
        lengths = {s.layer_range[1] - s.layer_range[0] for s in self.sources}
        if len(lengths) > 1:
            raise ValueError(f"the sources of a slice must have equally many layers, found {sorted(lengths)}")
        return self


class Module(_Part):
    """mergekit's ``modules``: what to do with one part of a model."""

    models: list[Input] | None = None
    slices: list[Slice] | None = None
    parameters: Parameters = Field(default_factory=dict)

    @model_validator(mode="after")
    def _models_or_slices(self) -> Module:
        if bool(self.models) == bool(self.slices):
            raise ValueError("a module has either models (whole) or slices (ranges of layers)")
        return self


class TokenModel(_Part):
    """A row for a token: zeros, or that of another token (or number) of a model."""

    kind: Literal["zero", "model_token"]
    model: str | None = None
    token: str | None = None
    token_id: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _one_token(self) -> TokenModel:
        if self.kind == "model_token" and (self.model is None or (self.token is None) == (self.token_id is None)):
            raise ValueError("model_token needs a model, and either token or token_id")
        return self


class TokenSource(_Part):
    """Where the row of a token comes from; ``force``: also for models that have the token."""

    source: TokenModel | str | None = None
    force: bool = False


class Tokens(_Part):
    """mergekit's ``tokenizer``: whose vocabulary the output has."""

    source: str | None = None
    tokens: dict[str, TokenSource] = Field(default_factory=dict)
    pad_to_multiple_of: int | None = Field(default=None, ge=1)


class Plan(_Part):
    """What to merge, and how.

    Fields are mergekit's (https://github.com/arcee-ai/mergekit, docs), besides these. ``missing``: what to do with
    tensors that not every model has, ``refuse`` or ``keep`` (as the base, or the first model that has it, has it).
    ``exclude``: tensors the output is to lack, as each task keeps its head: names, modules or patterns with ``*``.
    ``rank``: of the adapter that adapters alone are merged to; their ranks' sum, which is exact, if not given.
    ``statistics`` of a model: the file that :meth:`~sharewise.merge.Statistics.save` wrote.
    """

    merge_method: str
    models: list[Input] | None = None
    slices: list[Slice] | None = None
    modules: dict[str, Module] | None = None
    base_model: Model | None = None
    parameters: Parameters = Field(default_factory=dict)
    dtype: Dtype | None = None
    out_dtype: Dtype | None = None
    tokenizer_source: str | None = None
    tokenizer: Tokens | None = None
    chat_template: str | None = None
    missing: Literal["refuse", "keep"] = "refuse"
    exclude: list[str] = Field(default_factory=list)
    rank: int | None = Field(default=None, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _one_module(cls, value: Any) -> Any:
        """``modules`` with one entry says what its content says."""
        if not isinstance(value, Mapping) or not isinstance(value.get("modules"), Mapping):
            return value
        if len(value["modules"]) != 1:
            return value
        ((_, module),) = value["modules"].items()
        rest = {k: v for k, v in value.items() if k != "modules"}
        own = dict(module or {})
        return {**rest, **own, "parameters": {**(rest.get("parameters") or {}), **(own.get("parameters") or {})}}

    @model_validator(mode="after")
    def _models_or_slices(self) -> Plan:
        if sum(map(bool, (self.models, self.slices, self.modules))) != 1:
            raise ValueError("give either models (whole) or slices (ranges of layers), or modules of these")
        if self.tokenizer_source and self.tokenizer:
            raise ValueError("give tokenizer_source or tokenizer, not both")
        return self

    def parts(self) -> dict[str, Plan]:
        """Module -> what is done there, as a plan of its own; without modules the plan itself, called ``""``."""
        if not self.modules:
            return {"": self}
        found = {}
        for name, module in self.modules.items():
            own = {"parameters": {**self.parameters, **module.parameters}}
            found[name] = self.model_copy(
                update={"modules": None, "models": module.models, "slices": module.slices, **own}
            )
        return found

    def references(self) -> list[Reference]:
        """All models named, each once, in the order they are named; the base, if new, last."""
        found = [i.model for i in self.inputs()]
        found += [s.base_model for part in self.parts().values() for s in part.slices or [] if s.base_model]
        return list(dict.fromkeys([*found, *([self.base_model] if self.base_model else [])]))

    def inputs(self) -> list[Input]:
        """Every mention of a model as something to merge."""
        parts = self.parts().values()
        return [i for p in parts for i in [*(p.models or []), *(s for part in p.slices or [] for s in part.sources)]]

    def all_parameters(self) -> Iterator[tuple[str, Setting]]:
        """Every parameter given anywhere."""
        for part in self.parts().values():
            yield from part.parameters.items()
            for piece in part.slices or []:
                yield from piece.parameters.items()
        for one in self.inputs():
            yield from one.parameters.items()

    def to_yaml(self) -> str:
        """The plan as a file, without what was not given."""
        return yaml.safe_dump(_plain(self.model_dump(exclude_unset=True)), sort_keys=False)


def _plain(value: Any) -> Any:
    """References as the words they were."""
    if isinstance(value, dict):
        if set(value) <= {"path", "adapter"} and "path" in value:
            return f"{value['path']}+{value['adapter']}" if value.get("adapter") else value["path"]
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def make_plan(content: Mapping[str, Any]) -> Plan:
    """A plan from plain data; raises :class:`MergeError` in one line that names the field."""
    from ._registry import all_parameters  # methods, which a plan needs only to tell what is wrong

    try:
        return Plan.model_validate(content)
    except pydantic.ValidationError as error:
        raise MergeError("the plan cannot be used: " + "; ".join(complaints(error, _NAMES, all_parameters()))) from None


def load_plan(path: Path | str) -> Plan:
    """A plan from a YAML file; raises :class:`MergeError` for what is no plan."""
    path = Path(path)
    try:
        content = read_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MergeError(f'cannot read the plan "{path}": {error.strerror}') from None
    except UnicodeDecodeError:
        raise MergeError(f'"{path}" is no plan: it is not even text; a plan is a YAML file') from None
    except yaml.YAMLError as error:
        raise MergeError(f'"{path}" is no YAML: {error}') from None
    if not isinstance(content, dict):
        found = "nothing" if content is None else f"{content!r:.60}"
        raise MergeError(f'"{path}" holds no plan: expected merge_method, models and so on, found {found}')
    return make_plan(content)


_NAMES = sorted({name for kind in (Plan, Slice, SliceInput, Module, Tokens) for name in kind.model_fields})
