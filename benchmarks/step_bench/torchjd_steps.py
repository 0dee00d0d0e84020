"""A full training step with TorchJD, in each of its ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torchjd.aggregation as aggregation
import torchjd.scalarization as scalarization
from torchjd.autogram import Engine
from torchjd.autojac import jac_to_grad, mtl_backward

from backward_modes import Problem

from .worker import Make, Step

AGGREGATORS: dict[str, Callable[[int], Any]] = {
    "aligned_mtl": lambda m: aggregation.AlignedMTL(),
    "cagrad": lambda m: aggregation.CAGrad(c=0.5),
    "config": lambda m: aggregation.ConFIG(),
    "dualproj": lambda m: aggregation.DualProj(),
    "excess_mtl": lambda m: aggregation.ExcessMTL(robust_step_size=1e-2),
    "fairgrad": lambda m: aggregation.FairGrad(alpha=2.0),
    "graddrop": lambda m: aggregation.GradDrop(),
    "gradvac": lambda m: aggregation.GradVac(),
    "imtl_g": lambda m: aggregation.IMTLG(),
    "krum": lambda m: aggregation.Krum(n_byzantine=1),
    "mgda": lambda m: aggregation.MGDA(),
    "nashmtl": lambda m: aggregation.NashMTL(n_tasks=m),
    "pcgrad": lambda m: aggregation.PCGrad(),
    "trimmed_mean": lambda m: aggregation.TrimmedMean(trim_number=1),
    "upgrad": lambda m: aggregation.UPGrad(),
}
SCALARIZERS: dict[str, Callable[[int], Any]] = {
    "constant": lambda m: scalarization.Constant(torch.ones(m)),
    "dwa": lambda m: scalarization.DWA(),
    "equal": lambda m: scalarization.Sum(),
    "famo": scalarization.FAMO,
    "gls": lambda m: scalarization.GeometricMean(),
    "imtl_l": scalarization.IMTLL,
    "rlw": lambda m: scalarization.Random(),
    "stch": lambda m: scalarization.STCH(mu=1.0),
    "uncertainty": scalarization.UW,
}
WEIGHTINGS: dict[str, Callable[[], Any]] = {
    "aligned_mtl": aggregation.AlignedMTLWeighting,
    "cagrad": lambda: aggregation.CAGradWeighting(c=0.5),
    "dualproj": aggregation.DualProjWeighting,
    "fairgrad": lambda: aggregation.FairGradWeighting(alpha=2.0),
    "gradvac": aggregation.GradVacWeighting,
    "imtl_g": aggregation.IMTLGWeighting,
    "krum": lambda: aggregation.KrumWeighting(n_byzantine=1),
    "mgda": aggregation.MGDAWeighting,
    "pcgrad": aggregation.PCGradWeighting,
    "upgrad": aggregation.UPGradWeighting,
}


def torchjd_sides(name: str) -> dict[str, Make]:
    """Every way the library has to take a step of this method: setting -> maker of steps."""
    if name in SCALARIZERS:
        return {"loss": _scalarized(name)}
    if name not in AGGREGATORS:
        return {}
    sides = {"default": _rows(name, None, {}), "one by one": _rows(name, 1, {})}
    if name in WEIGHTINGS:
        sides["Gramian"] = _rows(name, None, {"optimize_gramian_computation": True})
        sides["autogram"] = _autogram(name)
    return sides


def _scalarized(name: str) -> Make:
    def make(problem: Problem) -> Step:
        scalarizer = SCALARIZERS[name](len(problem.heads))

        def step() -> None:
            problem.clear()
            scalarizer(torch.stack(list(problem.losses().values()))).backward()
            if name == "famo":
                with torch.no_grad():
                    scalarizer.update(torch.stack(list(problem.losses().values())))

        return step

    return make


def _rows(name: str, chunk: int | None, options: dict[str, Any]) -> Make:
    def make(problem: Problem) -> Step:
        aggregator = AGGREGATORS[name](len(problem.heads))

        def step() -> None:
            problem.clear()
            z = problem.trunk(problem.x)
            mtl_backward(list(problem.losses(z).values()), features=z, parallel_chunk_size=chunk)
            jac_to_grad(problem.shared, aggregator, **options)

        return step

    return make


def _autogram(name: str) -> Make:
    """Its engine for the Gram matrix alone; heads then get weighted gradients."""

    def make(problem: Problem) -> Step:
        weighting, engine = WEIGHTINGS[name](), Engine(problem.trunk, batch_dim=None)

        def step() -> None:
            problem.clear()
            losses = torch.stack(list(problem.losses().values()))
            losses.backward(weighting(engine.compute_gramian(losses)))

        return step

    return make
