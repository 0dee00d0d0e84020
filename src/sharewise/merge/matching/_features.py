"""Inner products of the activations of two models' units, gathered while both run."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ...errors import MergeError
from .._running import arguments
from ..mixing._task_model import Tapped, module_at
from ._units import Group, State, Units


@dataclass(frozen=True)
class Features:
    """What is known of a group's activations in both models together, float64.

    Attributes:
        second: ``[2 n, 2 n]``: mean products, the first model's units before the second's.
        mean: ``[2 n, d]``: mean activations; ``d`` entries a unit.
    """

    second: Tensor
    mean: Tensor

    def correlation(self) -> Tensor:
        """``[2 n, 2 n]``; 0 where a unit is constant."""
        covariance = self.second - self.mean @ self.mean.T
        size = covariance.diagonal().clamp(min=0).sqrt()
        scale = torch.where(size > 1e-12 * size.max().clamp(min=1e-300), 1 / size.clamp(min=1e-300), 0.0)
        return covariance * scale.unsqueeze(1) * scale


@torch.no_grad()
def collect_features(
    units: Units, model: nn.Module, first: State, second: State, batches: Iterable[Any]
) -> dict[str, Features]:
    """Of every group, from running both models over the same inputs in evaluation mode; what the groups' first writers
    put out, before any norm or nonlinearity. Raises :class:`MergeError` without batches and for values that are not
    finite."""
    work = copy.deepcopy(model).eval()
    totals: dict[str, list[Tensor]] = {}
    rows = dict.fromkeys(units.groups, 0)
    for batch in batches:
        args, kwargs = arguments(batch)
        seen = [_run(units, work, state, args, kwargs) for state in (first, second)]
        for name in units.groups:
            both = torch.cat([s[name] for s in seen], 1)  # [rows, 2 n, d]
            found = [torch.einsum("rid,rjd->ij", both, both), both.sum(0)]
            totals[name] = [a + b for a, b in zip(totals[name], found, strict=True)] if name in totals else found
            rows[name] += len(both)
    if not totals:
        raise MergeError("no batch was given to match activations on")
    for name, (products, _) in totals.items():
        if not bool(products.isfinite().all()):
            raise MergeError(f'activations of the units "{name}" are not finite: check the models and the batches')
    return {
        name: Features((products / rows[name]).cpu(), (mean / rows[name]).cpu())
        for name, (products, mean) in totals.items()
    }


def _run(
    units: Units, model: nn.Module, state: State, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Tensor]:
    with ExitStack() as open_taps:
        taps = {n: open_taps.enter_context(Tapped(module_at(model, g.module))) for n, g in units.groups.items()}
        functional_call(model, dict(state), args, dict(kwargs))
    return {n: _rows(units.groups[n], tap.module, tap.seen) for n, tap in taps.items()}


def _rows(group: Group, module: nn.Module, output: Tensor) -> Tensor:
    """``[rows, units, d]``."""
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        output = output.movedim(1, -1)
    return output.double().flatten(0, -2).unflatten(1, (group.size, -1))
