"""One learned tensor a task, found again by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ._state import decode_names, encode_names


class TaskParameters(nn.ParameterList):
    """A parameter for each of ``tasks``, in their order, starting at a copy of ``initial``.

    One parameter a task, not one for all: a task absent from a step has no gradient, and no optimizer moves it. The
    names are saved as well, so that a state finds its tasks in whatever order they are given.
    """

    def __init__(self, tasks: Sequence[str], initial: Tensor) -> None:
        super().__init__([nn.Parameter(initial.clone()) for _ in tasks])
        self._place = {name: i for i, name in enumerate(tasks)}

    def of(self, names: Sequence[str]) -> list[Tensor]:
        """The parameters of the named tasks."""
        return [self[self._place[name]] for name in names]

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "tasks"] = encode_names(list(self._place))

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        *rest: Any,
    ) -> None:
        if prefix + "tasks" not in state_dict:
            missing_keys.append(prefix + "tasks")
        else:
            saved = decode_names(state_dict.pop(prefix + "tasks"))
            if set(saved) != set(self._place):
                rest[-1].append(f"the state is of tasks {saved}, this balancer was built for {list(self._place)}")
                return
            values = [state_dict.get(f"{prefix}{saved.index(name)}") for name in self._place]
            state_dict.update({f"{prefix}{i}": v for i, v in enumerate(values) if v is not None})
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing_keys, *rest)
