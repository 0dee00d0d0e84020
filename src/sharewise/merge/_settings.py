"""What a parameter is for one tensor: gradients over layers and filters by name, resolved."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import MergeError, nearest
from ._method import Method, Parameter
from ._plan import Conditional, Parameters, Setting

WITHOUT_EFFECT = {"int8_mask"}
"""mergekit's parameters that change how it computes, not what."""


def evaluate(setting: Setting | None, tensor: str, t: float, check: Callable[[Any], Any]) -> Any:
    """A setting's value for a tensor at the relative depth ``t`` (0: first layer, 1: last); ``None`` where it has none.

    A list of numbers is interpolated linearly, one of words or truth values is taken in steps; of conditional values
    the first whose ``filter`` is in the tensor's name counts.
    """
    if isinstance(setting, Conditional):
        setting = [setting]
    if not isinstance(setting, list):
        return check(setting)
    if any(isinstance(item, Conditional) for item in setting):
        for item in setting:
            if isinstance(item, Conditional) and (item.filter in (None, "*") or str(item.filter) in tensor):
                return evaluate(item.value, tensor, t, check)
        return None
    return _along(setting, t, check) if setting else None


def _along(values: Sequence[Any], t: float, check: Callable[[Any], Any]) -> Any:
    checked = [check(v) for v in values]
    place = t * (len(checked) - 1)
    low = int(place)
    if any(isinstance(v, bool | str) for v in checked):
        return checked[low]
    high = min(len(checked) - 1, low + 1)
    return check((1 - (place - low)) * checked[low] + (place - low) * checked[high])


@dataclass(frozen=True)
class Asker:
    """Finds the values a method needs for a tensor.

    Args:
        method: whose parameters.
        common: parameters of all models, the most specific first.
        own: parameters of each model that go before those.
    """

    method: Method
    common: tuple[Parameters, ...]
    own: tuple[Parameters, ...]
    names: tuple[str, ...]

    def values(self, tensor: str, inputs: Sequence[str], t: float) -> dict[str, Any]:
        """Every parameter's value: a list, one a model, where it is each model's own.

        Raises :class:`MergeError` for a value of the wrong kind and for one that is missing.
        """
        found: dict[str, Any] = {}
        for parameter in self.method.parameters:
            if parameter.each:
                places = zip(self.own, inputs, self.names, strict=True)
                found[parameter.name] = [self._one(parameter, [o, *self.common], name, t, m) for o, name, m in places]
            else:
                found[parameter.name] = self._one(parameter, self.common, tensor, t, None)
        wrong = self.method.complaint(found)
        if wrong:
            raise MergeError(f'method "{self.method.name}": {wrong} (tensor {tensor})')
        return found

    def _one(self, parameter: Parameter, places: Iterable[Parameters], tensor: str, t: float, model: str | None) -> Any:
        whose, filtered = f' of model "{model}"' if model else "", False
        try:
            for place in places:
                if parameter.name in place:
                    filtered = True
                    value = evaluate(place[parameter.name], tensor, t, parameter.check)
                    if value is not None:
                        return value
        except MergeError as error:
            raise MergeError(f"{error}{whose} (tensor {tensor})") from None
        if parameter.required:
            why = "it is not given"
            if filtered:
                why = "none of its filters fits: end them with a value without filter"
            raise MergeError(
                f'method "{self.method.name}" needs the parameter "{parameter.name}"{whose}; {why} (tensor {tensor})'
            )
        return parameter.default


def check_names(method: Method, given: Iterable[tuple[str, Setting]], known: Iterable[str]) -> list[str]:
    """Warnings for parameters this method does not use; raises :class:`MergeError` for those no method knows."""
    own, every = {p.name for p in method.parameters}, set(known)
    unused = []
    for name in dict.fromkeys(name for name, _ in given):
        if name in own or name in WITHOUT_EFFECT:
            continue
        if name not in every:
            hint = nearest(name, sorted(own) or sorted(every))
            raise MergeError(f'method "{method.name}" has no parameter "{name}"; {hint}')
        unused.append(f'method "{method.name}" does not use the parameter "{name}"')
    return unused
