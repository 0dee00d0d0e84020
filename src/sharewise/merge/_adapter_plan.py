"""Plans whose models are all LoRA adapters: their products are added, whatever their factors."""

from __future__ import annotations

from pathlib import Path

from ..errors import MergeError
from ._adapters import CONFIG
from ._paths import locate
from ._plan import Plan

_METHODS = {"linear": True, "task_arithmetic": False}
"""Method -> whether weights are divided by their sum unless the plan says otherwise."""


def adapter_folders(plan: Plan, root: Path, allow_outside: bool) -> dict[str, Path] | None:
    """The adapters by name; ``None`` where the plan merges models.

    Raises :class:`MergeError` for a plan that mixes both, as a model and a change to one have no sum.
    """
    if not plan.models:
        return None
    places = {i.model.name: locate(i.model.path, root, allow_outside) for i in plan.models}
    adapters = [name for name, place in places.items() if (place / CONFIG).is_file()]
    if not adapters:
        return None
    if len(adapters) != len(places) or plan.base_model is not None:
        raise MergeError(
            f'"{adapters[0]}" is an adapter: write MODEL+{adapters[0]} where it is to be added to a model, or give '
            "adapters alone, without base_model"
        )
    return places


def adapter_weights(plan: Plan) -> dict[str, float]:
    """Each adapter's weight; raises :class:`MergeError` for methods and parameters that adapters do not have."""
    if plan.merge_method not in _METHODS:
        raise MergeError(f'adapters are merged by {" or ".join(_METHODS)}, not by "{plan.merge_method}"')
    common = {"normalize": _METHODS[plan.merge_method], "lambda": 1.0, "weight": 1.0, **plan.parameters}
    unknown = set(common) - {"normalize", "lambda", "weight"}
    found = {}
    for one in plan.models or []:
        own = {**common, **one.parameters}
        unknown |= set(own) - set(common)
        found[one.model.name] = _number("weight", own["weight"])
    if unknown:
        raise MergeError(f'adapters do not use the parameter "{min(unknown)}"; they have weight, normalize and lambda')
    scale = _number("lambda", common["lambda"])
    if common["normalize"]:
        total = sum(found.values())
        if abs(total) < 1e-8:
            raise MergeError("the adapters' weights add up to 0 and cannot be normalized: set normalize: false")
        scale /= total
    return {name: scale * weight for name, weight in found.items()}


def _number(name: str, setting: object) -> float:
    if isinstance(setting, bool) or not isinstance(setting, int | float):
        raise MergeError(f'the parameter "{name}" of adapters must be one number, found {setting!r:.60}')
    return float(setting)
