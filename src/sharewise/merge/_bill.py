"""The bill: what a merge did to each model, from inner products gathered while merging."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ._layers import place_of
from ._reading import Job
from .methods._gram import gram


@dataclass
class Tally:
    """What is known of a tensor, or of several together.

    Attributes:
        inner: ``[n + 1, n + 1]`` inner products in float64 of what each model brings (its task vector where there is a
            base, else its weights) and, last, of the merged one.
        conflicts: entries at which two models' task vectors have opposite signs.
        entries: how many were looked at.
    """

    inner: Tensor
    conflicts: int = 0
    entries: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.inner + other.inner, self.conflicts + other.conflicts, self.entries + other.entries)

    def numbers(self, changes: bool) -> dict[str, Any]:
        """As plain data, one number a model where it is each model's own; ``changes``: rows are task vectors.

        ``kept``: <merged, tau_t> / |tau_t|^2, how much of a model's task vector is in the merged one. ``foreign``:
        what the merged one has besides that, over |tau_t|. ``interference``: |merged - tau_t| / |tau_t|, both
        together: 0 is that model itself, 1 as far from it as the base is. ``None`` where a model changed nothing.
        """
        norms = self.inner.diagonal().clamp(min=0).sqrt()
        safe = torch.where(norms > 0, norms, torch.nan)
        cosines = (self.inner / torch.outer(safe, safe)).clamp(-1, 1)
        found: dict[str, Any] = {
            "entries": self.entries,
            "norms": norms[:-1].tolist(),
            "merged_norm": float(norms[-1]),
            "norm_kept": _plain(norms[-1] / safe[:-1]),
            "cosines": [_plain(row) for row in cosines[:-1, :-1]],
        }
        if changes:
            squares, with_merged, merged = safe[:-1] ** 2, self.inner[:-1, -1], self.inner[-1, -1]
            apart = (merged - 2 * with_merged + squares).clamp(min=0)
            found |= {
                "sign_conflict": self.conflicts / max(self.entries, 1),
                "kept": _plain(with_merged / squares),
                "foreign": _plain((merged / squares - (with_merged / squares) ** 2).clamp(min=0).sqrt()),
                "interference": _plain((apart / squares).sqrt()),
            }
        return found


def _plain(values: Tensor) -> list[float | None]:
    return [float(v) if v.isfinite() else None for v in values]


def _conflicts(rows: Sequence[Tensor]) -> int:
    """At how many entries two of the rows have opposite signs: the largest is positive and the smallest negative."""
    if len(rows) == 2:
        return int(np.count_nonzero(torch.mul(*rows).numpy() < 0))
    most, least = rows[0].clone(), rows[0].clone()
    for row in rows[1:]:
        torch.maximum(most, row, out=most)
        torch.minimum(least, row, out=least)
    return int(np.count_nonzero((most.numpy() > 0) & (least.numpy() < 0)))


@dataclass
class Recorder:
    """Watches an engine; one tally a tensor. A tensor is worked on by one thread, so nothing is locked."""

    tallies: dict[str, Tally] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)

    def observe(self, job: Job, rows: Tensor, merged: Tensor) -> None:
        """Add a block."""
        flat = [*rows.flatten(1), merged.reshape(-1)]
        conflicts = _conflicts(flat[:-1]) if job.base is not None else 0
        tally = Tally(gram(flat), conflicts, len(flat[0]))
        self.tallies[job.name] = self.tallies[job.name] + tally if job.name in self.tallies else tally
        self.jobs[job.name] = job

    def bill(self) -> dict[str, Any]:
        """``models``, ``total``, ``layers`` and ``tensors``; empty where nothing was merged, only copied."""
        if not self.jobs:
            return {"models": [], "total": None, "layers": [], "tensors": []}
        models = [part.source.name for part in next(iter(self.jobs.values())).parts]
        alike = {n: t for n, t in self.tallies.items() if len(self.jobs[n].parts) == len(models)}
        changes = all(self.jobs[n].base is not None for n in alike)
        layers: dict[str, list[Tally]] = {}
        for name in sorted(alike, key=_order):
            place = place_of(name)
            layers.setdefault(f"{place.prefix}{place.layer}" if place else "outside of the layers", []).append(
                alike[name]
            )
        return {
            "models": models,
            "changes": changes,
            "total": _sum(alike.values()).numbers(changes),
            "layers": [{"layer": layer, **_sum(t).numbers(changes)} for layer, t in layers.items()],
            "tensors": [{"tensor": n, **alike[n].numbers(changes)} for n in sorted(alike, key=_order)],
        }


def _order(name: str) -> tuple[str, int, str]:
    place = place_of(name)
    return (place.prefix, place.layer, place.rest) if place else ("", -1, name)


def _sum(tallies: Iterable[Tally]) -> Tally:
    first, *rest = tallies
    return sum(rest, first)


def table(bill: Mapping[str, Any]) -> list[str]:
    """The bill in lines for a terminal."""
    total = bill["total"]
    if total is None or not bill["changes"]:
        return []
    width = max(map(len, bill["models"]))
    lines = [f"{'model':<{width}}  kept  foreign  interference"]
    for i, model in enumerate(bill["models"]):
        numbers = [total[k][i] for k in ("kept", "foreign", "interference")]
        shown = ["-" if n is None else f"{n:.2f}" for n in numbers]
        lines.append(f"{model:<{width}}  {shown[0]:>4}  {shown[1]:>7}  {shown[2]:>12}")
    lines.append(f"signs conflict at {100 * total['sign_conflict']:.0f} % of entries")
    return lines
