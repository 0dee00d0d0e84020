"""LoRA adapters (PEFT folders): added to their model as it is read, or merged to one, exactly or at a chosen rank."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from ..errors import MergeError, nearest
from ..files import write_bytes, write_json
from ._folder import BILL, new_folder
from ._needs import declare
from ._sources import FileSource, Source, read_config

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter: for each module ``scale * b @ a`` is added to its weight.

    Attributes:
        factors: module -> (a ``[r, in]``, b ``[out, r]``), float32.
        scale: ``alpha / r``, or ``alpha / sqrt(r)`` for rank-stabilized ones.
        transposed: the model stores ``[in, out]`` (``fan_in_fan_out``).
    """

    name: str
    factors: Mapping[str, tuple[Tensor, Tensor]]
    scale: float
    transposed: bool
    config: Mapping[str, Any]

    def sides(self, module: str) -> tuple[Tensor, Tensor]:
        """Two matrices whose product is what is added to the stored weight."""
        a, b = self.factors[module]
        return (self.scale * a.T, b.T) if self.transposed else (self.scale * b, a)


def open_adapter(folder: Path | str) -> Adapter:
    """Read an adapter folder; raises :class:`MergeError` for what is not plain LoRA (DoRA, ``modules_to_save``)."""
    folder = Path(folder)
    if not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
        raise MergeError(f'"{folder}" is no LoRA adapter folder: it needs {CONFIG} and {WEIGHTS}')
    config = read_config(folder / CONFIG)
    kind = config.get("peft_type", "LORA")
    odd = [k for k in ("use_dora", "modules_to_save", "alpha_pattern", "lora_bias") if config.get(k)]
    if kind != "LORA" or odd:
        raise MergeError(f'adapter "{folder}": {", ".join(odd) or kind} cannot be merged; only plain LoRA can')
    source = FileSource(str(folder), [folder / WEIGHTS])
    factors = {}
    for name in source.tensors:
        module = name.removeprefix(_PREFIX).removesuffix(".lora_A.weight")
        if name.endswith(".lora_A.weight"):
            other = name.replace(".lora_A.", ".lora_B.")
            factors[module] = source.whole(name, torch.float32), source.whole(other, torch.float32)
        elif not name.endswith(".lora_B.weight"):
            raise MergeError(f'adapter "{folder}": tensor "{name}" is no part of plain LoRA')
    source.close()
    ranks = {len(a) for a, _ in factors.values()}
    if len(ranks) != 1:
        raise MergeError(f'adapter "{folder}" has ranks {sorted(ranks)}: adapters of one rank can be merged')
    (rank,) = ranks
    below = math.sqrt(rank) if config.get("use_rslora") else rank
    scale = float(config.get("lora_alpha", rank)) / below
    return Adapter(str(folder), factors, scale, bool(config.get("fan_in_fan_out")), config)


class AdaptedSource(Source):
    """A model with an adapter added; the product is formed for the rows that are read, never whole."""

    def __init__(self, name: str, model: Source, adapter: Adapter) -> None:
        self.name, self._model, self._adapter = name, model, adapter
        self.tensors, self.folder, self.config = model.tensors, model.folder, model.config
        for module in adapter.factors:
            weight = f"{module}.weight"
            if weight not in self.tensors:
                close = nearest(weight, self.tensors)
                raise MergeError(f'adapter "{adapter.name}" changes "{weight}", which "{model.name}" lacks; {close}')
            left, right = adapter.sides(module)
            if self.tensors[weight].shape != (len(left), right.shape[1]):
                sizes = f"{list(self.tensors[weight].shape)}, the adapter's change {[len(left), right.shape[1]]}"
                raise MergeError(f'adapter "{adapter.name}": "{weight}" is {sizes}')

    def read(self, tensor: str, start: int, out: Tensor) -> None:
        """See :meth:`Source.read`."""
        self._model.read(tensor, start, out)
        module = tensor.removesuffix(".weight")
        if module not in self._adapter.factors:
            return
        left, right = self._adapter.sides(module)
        columns = right.shape[1]
        first, last = start // columns, -(-(start + len(out)) // columns)
        change = (left[first:last] @ right).view(-1)[start - first * columns :][: len(out)]
        out.add_(change.to(out.dtype))

    def close(self) -> None:
        """Close the model."""
        self._model.close()


@declare()
def merge_adapters(
    adapters: Mapping[str, Path | str],
    out: Path | str,
    *,
    weights: Mapping[str, float] | None = None,
    rank: int | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Merge LoRA adapters to one whose product is the weighted sum of theirs; returns the bill.

    Args:
        adapters: folders by name.
        out: the adapter folder to write, whole or not at all.
        weights: by name; 1 each if not given.
        rank: without it the sum is exact, of the ranks' sum (factors put side by side: ``b = [w_1 s_1 b_1, ...]``,
            ``a = [a_1; ...]``); with it each product is cut to its best approximation of that rank (Eckart and Young
            1936), found from the factors' QR decompositions, and its relative error is in the bill.
        overwrite: replace ``out`` if it is a former merge.

    Adding the factors themselves, as PEFT's ``linear`` does, gives cross terms instead of the sum. Raises
    :class:`MergeError` for adapters that are not plain LoRA or do not fit together.
    """
    opened = {name: open_adapter(folder) for name, folder in adapters.items()}
    shares = {name: float((weights or {}).get(name, 1.0)) for name in opened}
    if len({a.transposed for a in opened.values()}) != 1:
        raise MergeError("the adapters do not agree on fan_in_fan_out: they are of different models")
    modules = sorted({m for a in opened.values() for m in a.factors})
    total = sum(len(next(iter(a.factors.values()))[0]) for a in opened.values())
    size, state, errors = rank or total, {}, {}
    for module in modules:
        a, b = _joined(module, opened, shares)
        if rank is not None:
            a, b, errors[module] = _cut(a, b, rank)
        pad = size - len(a)
        state[f"{_PREFIX}{module}.lora_A.weight"] = torch.nn.functional.pad(a, (0, 0, 0, pad)).contiguous()
        state[f"{_PREFIX}{module}.lora_B.weight"] = torch.nn.functional.pad(b, (0, pad)).contiguous()
    first = next(iter(opened.values())).config
    config = {**first, "r": size, "lora_alpha": size, "use_rslora": False, "rank_pattern": {}}
    config["target_modules"] = sorted({m.rsplit(".", 1)[-1] for m in modules})
    bill = {"method": "adapters", "models": list(opened), "weights": shares, "rank": size, "errors": errors}
    bill["largest_error"] = max(errors.values(), default=0.0)
    with new_folder(Path(out), overwrite=overwrite, inputs=map(Path, adapters.values())) as folder:
        write_bytes(folder / WEIGHTS, save(state, metadata={"format": "pt"}))
        write_json(folder / CONFIG, json.loads(json.dumps(config)))
        write_json(folder / BILL, bill)
    return bill


def _joined(module: str, opened: Mapping[str, Adapter], shares: Mapping[str, float]) -> tuple[Tensor, Tensor]:
    own = [(shares[n] * a.scale, *a.factors[module]) for n, a in opened.items() if module in a.factors]
    shapes = {(a.shape[1], b.shape[0]) for _, a, b in own}
    if len(shapes) != 1:
        raise MergeError(f'the adapters\' shapes of "{module}" differ: {sorted(shapes)}; they are of different models')
    return torch.cat([a for _, a, _ in own]), torch.cat([scale * b for scale, _, b in own], 1)


def _cut(a: Tensor, b: Tensor, rank: int) -> tuple[Tensor, Tensor, float]:
    """The best approximation of ``b @ a`` of a rank, as factors, and its relative error (Frobenius)."""
    (q_b, r_b), (q_a, r_a) = torch.linalg.qr(b.double()), torch.linalg.qr(a.double().T)
    left, sizes, right = torch.linalg.svd(r_b @ r_a.T)
    keep = min(rank, len(sizes))
    lost = float(sizes[keep:].square().sum().sqrt() / sizes.square().sum().sqrt().clamp(min=1e-300))
    root = sizes[:keep].sqrt()
    return (root[:, None] * (right[:keep] @ q_a.T)).float(), (q_b @ left[:, :keep] * root).float(), lost
