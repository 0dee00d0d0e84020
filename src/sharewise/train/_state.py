"""Training state as one file: tensors in safetensors, everything else as JSON in its header. No pickle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from ..errors import RunError
from ..files import write_bytes


def pack(tree: Any) -> tuple[dict[str, Tensor], Any]:
    """Nested dicts, lists, tuples, tensors and JSON scalars -> (tensors by name, skeleton that JSON can hold).

    Keys of dicts may be strings, whole numbers or booleans and keep their type (optimizers count their
    parameters). Raises :class:`TypeError` for anything else: state is data, never objects.
    """
    tensors: dict[str, Tensor] = {}

    def walk(value: Any) -> Any:
        if isinstance(value, Tensor):
            name = str(len(tensors))
            tensors[name] = value.detach().to("cpu", copy=True).contiguous()
            return {"tensor": name}
        if isinstance(value, dict):
            return {"dict": [[k, walk(v)] for k, v in value.items()]}
        if isinstance(value, tuple):
            return {"tuple": [walk(v) for v in value]}
        if isinstance(value, list):
            return {"list": [walk(v) for v in value]}
        if value is None or isinstance(value, bool | int | float | str):
            return {"value": value}
        raise TypeError(f"cannot save {type(value).__name__} as state: use tensors, numbers, strings and nests of them")

    skeleton = walk(tree)
    return tensors, skeleton


def unpack(tensors: dict[str, Tensor], skeleton: Any) -> Any:
    """The inverse of :func:`pack`."""
    ((kind, value),) = skeleton.items()
    if kind == "tensor":
        return tensors[value]
    if kind == "dict":
        return {k: unpack(tensors, v) for k, v in value}
    if kind == "tuple":
        return tuple(unpack(tensors, v) for v in value)
    if kind == "list":
        return [unpack(tensors, v) for v in value]
    return value


def save_state(path: Path | str, tree: Any) -> None:
    """Write ``tree`` (see :func:`pack`) to ``path`` atomically."""
    tensors, skeleton = pack(tree)
    tensors["end"] = torch.zeros(1)  # safetensors wants at least one tensor
    write_bytes(path, to_bytes(tensors, metadata={"state": json.dumps(skeleton)}))


def load_state(path: Path | str) -> Any:
    """Read what :func:`save_state` wrote; raises :class:`RunError` where it is no such file."""
    try:
        with safe_open(str(path), framework="pt") as file:
            skeleton = json.loads((file.metadata() or {})["state"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no iterator)
    except FileNotFoundError:
        raise RunError(f'no saved state at "{path}"') from None
    except (SafetensorError, KeyError, ValueError) as error:
        raise RunError(f'"{path}" is not a state saved by Sharewise ({error}): delete it to start anew') from None
    return unpack(tensors, skeleton)
