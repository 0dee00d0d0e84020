"""The arms of the system ``ras``: every method on the same simulated tasks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from . import _ras_baselines as baselines
from ._ras import RAS
from ._ras_simulator import Outliers, Simulated, errors, simulate, subspace_error
from ._tasks import Array, LinearTasks


class Fit(NamedTuple):
    """Coefficients [T, p], and the shared directions found [p, rank] where a method looks for them."""

    coefficients: Array
    basis: Array | None = None


Method = Callable[[LinearTasks], Fit]


@dataclass(frozen=True)
class Sizes:
    """Of one scale. ``grid_eps`` x ``grid_h`` x two structures of outliers form the grid."""

    tasks: int = 100
    n: int = 100
    p: int = 40
    r: int = 3
    erm_steps: int = 300
    grid_eps: tuple[float, ...] = (0.0, 0.2, 0.5, 0.8, 0.95)
    grid_h: tuple[float, ...] = (0.0, 0.2, 0.5, 0.8)

    def draw(self, seed: int, eps: float, outliers: Outliers, h: float = 0.0) -> Simulated:
        """Tasks of these sizes; every scenario of a seed draws its own random numbers."""
        mixed = np.random.SeedSequence([seed, round(1000 * eps), round(1000 * h), len(outliers)])
        return simulate(
            int(mixed.generate_state(1)[0]),
            tasks=self.tasks,
            n=self.n,
            p=self.p,
            r=self.r,
            eps=eps,
            h=h,
            outliers=outliers,
        )


FULL = Sizes()
SMOKE = Sizes(tasks=20, n=60, p=12, r=2, erm_steps=30, grid_eps=(0.0, 0.8), grid_h=(0.0, 0.8))

SCENARIOS: dict[str, tuple[float, Outliers]] = {
    "clean": (0.0, "random"),
    "few": (0.05, "random"),
    "structured": (0.8, "subspace"),
    "random": (0.8, "random"),
}
"""Name -> share of outliers and their structure; h = 0."""


def ras(**options: object) -> Method:
    """RAS with these options, as a method of a comparison."""

    def fit(tasks: LinearTasks) -> Fit:
        model = RAS(**options).fit(tasks)  # type: ignore[arg-type]
        return Fit(model.coefficients, model.spectrum.basis)

    return fit


def methods(sizes: Sizes) -> dict[str, Method]:
    """All methods by the name of their arm."""

    def winsorised(tasks: LinearTasks) -> Fit:
        coefficients, found = baselines.winsorised_spectral(tasks, r_bar=sizes.p)
        return Fit(coefficients, found.basis)

    return {
        "stl": lambda tasks: Fit(baselines.single_task(tasks)),
        "pooled": lambda tasks: Fit(baselines.pooled(tasks)),
        "spectral_known_r": lambda tasks: Fit(baselines.known_rank_projection(tasks, sizes.r)),
        "winsorised_spectral": winsorised,
        "penalised_erm": lambda tasks: Fit(baselines.penalised_erm(tasks, sizes.r, steps=sizes.erm_steps)),
        "ras": ras(),
        "ras_cv": ras(gamma="cv"),
        "ras_centre": ras(penalty="centre"),
        "ras_top_r": ras(rank=sizes.r),
        "squared": ras(penalty="squared", gamma=1.0),
        "squared_cv": ras(penalty="squared", gamma="cv"),
    }


ON_GRID = ("ras", "ras_cv", "squared", "squared_cv")
"""Arms that are also run over the grid."""


def scenario_metrics(method: Method, sizes: Sizes, seed: int) -> dict[str, float]:
    """Errors ``|estimate - truth|_2`` in each of :data:`SCENARIOS`, means and worst case over tasks."""
    found: dict[str, float] = {}
    for name, (eps, outliers) in SCENARIOS.items():
        drawn = sizes.draw(seed, eps, outliers)
        fit, alone = method(drawn.tasks), errors(baselines.single_task(drawn.tasks), drawn)
        error, inlier = errors(fit.coefficients, drawn), drawn.inlier
        found[f"{name}_inlier"] = float(error[inlier].mean())
        found[f"{name}_inlier_ratio"] = float(error[inlier].mean() / alone[inlier].mean())
        found[f"{name}_inlier_worst"] = float(error[inlier].max())
        if not inlier.all():
            found[f"{name}_outlier"] = float(error[~inlier].mean())
        if fit.basis is not None:
            found[f"{name}_rank"] = float(fit.basis.shape[1])
            found[f"{name}_subspace_error"] = subspace_error(fit.basis, drawn.basis)
    return found


def grid_metrics(method: Method, sizes: Sizes, seed: int) -> dict[str, float]:
    """Against single-task learning over the grid, means over its cells.

    ``grid_worst_ratio`` the largest ratio of the two errors of one task, ``grid_ratio_of_worst`` the
    largest error over the largest error, ``grid_mean_ratio`` the mean error over the mean error;
    ``..._large_h`` the same over the cells with the largest h.
    """
    cells: list[tuple[float, float, float]] = []
    large: list[bool] = []
    outliers: Outliers
    for outliers in ("random", "subspace"):
        for eps in sizes.grid_eps:
            for h in sizes.grid_h:
                drawn = sizes.draw(seed, eps, outliers, h)
                error = errors(method(drawn.tasks).coefficients, drawn)
                alone = errors(baselines.single_task(drawn.tasks), drawn)
                cells.append(((error / alone).max(), error.max() / alone.max(), error.mean() / alone.mean()))
                large.append(h == max(sizes.grid_h))
    names = ("grid_worst_ratio", "grid_ratio_of_worst", "grid_mean_ratio")
    every, far = np.mean(cells, axis=0), np.mean(np.asarray(cells)[large], axis=0)
    return {
        **{name: float(value) for name, value in zip(names, every, strict=True)},
        **{f"{name}_large_h": float(value) for name, value in zip(names, far, strict=True)},
    }


def extra_metrics(name: str, sizes: Sizes, seed: int) -> dict[str, float]:
    """For ``stl`` and ``ras``: transfer to 20 short tasks, and logistic tasks, half of them outliers."""
    if name not in ("stl", "ras"):
        return {}
    sources = sizes.draw(seed, 0.8, "subspace")
    targets = simulate(seed, tasks=20, n=3 * sizes.p // 2, p=sizes.p, r=sizes.r, basis=sources.basis)
    labels = simulate(
        seed, tasks=sizes.tasks // 2, n=8 * sizes.p, p=sizes.p, r=sizes.r, eps=0.5, outliers="subspace", loss="logistic"
    )
    logistic = RAS(loss="logistic").fit(labels.tasks)
    if name == "stl":
        moved, scored = baselines.single_task(targets.tasks), logistic.single_task
    else:
        model = RAS().fit(sources.tasks)
        rows = zip(targets.tasks.x, targets.tasks.y, strict=True)
        moved, scored = np.stack([model.transfer(x, y)[0] for x, y in rows]), logistic.coefficients
    return {
        "transfer_error": float(errors(moved, targets).mean()),
        "logistic_inlier": float(errors(scored, labels)[labels.inlier].mean()),
    }


def arm(name: str, method: Method, sizes: Sizes) -> Callable[[int], dict[str, float]]:
    """The arm of ``method``: seed in, metrics out."""

    def run(seed: int) -> dict[str, float]:
        found = scenario_metrics(method, sizes, seed) | extra_metrics(name, sizes, seed)
        return found | grid_metrics(method, sizes, seed) if name in ON_GRID else found

    return run
