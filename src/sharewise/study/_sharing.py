"""Affinity and conflict over the seeds, from the probes of the first shared runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ._paired import t_interval
from ._plan import Plan
from ._run import mean_affinity
from ._store import Store
from .results import Affinity, Conflict


def affinity(store: Store, plan: Plan, names: Sequence[str]) -> Affinity:
    """Mean lookahead affinity in per cent with 95 % t intervals over seeds, and the groups it proposes."""
    from ..audit import propose_groups

    m = len(names)
    each = np.stack([100 * mean_affinity(store, seed) for seed in plan.seeds])
    low, high = each.min(0), each.max(0)
    if len(each) > 1:
        for i in range(m):
            for j in range(m):
                interval = t_interval(each[:, i, j])
                low[i, j], high[i, j] = interval.low, interval.high
    return Affinity(
        tasks=list(names),
        mean=each.mean(0).tolist(),
        low=low.tolist(),
        high=high.tolist(),
        groups=propose_groups(each.mean(0), names),
    )


def conflict(store: Store, plan: Plan, names: Sequence[str]) -> Conflict | None:
    """Mean gradient cosine of each pair in each epoch, over the seeds that reached it."""
    m = len(names)
    probes = [store.trials(seed, "equal-all")[0].probe for seed in plan.seeds]
    last = max((max(p["epochs"]) for p in probes if p["epochs"]), default=-1)
    pairs = [(i, j) for i in range(m) for j in range(i + 1, m)]
    by_epoch: list[list[np.ndarray]] = [[] for _ in range(last + 1)]
    for probe in probes:
        for epoch, cosine in zip(probe["epochs"], probe["cosine"], strict=True):
            by_epoch[epoch].append(np.array(cosine, dtype=float))
    epochs = [e for e, found in enumerate(by_epoch) if found]
    if not epochs:
        return None
    means = [_mean(np.stack(by_epoch[e])) for e in epochs]
    every = np.concatenate([np.stack(by_epoch[e]) for e in epochs])
    seen = np.isfinite(every)
    rate = (np.where(seen, every, 0) < 0).sum(0) / np.maximum(seen.sum(0), 1)
    return Conflict(
        pairs=[(names[i], names[j]) for i, j in pairs],
        epochs=[e + 1 for e in epochs],
        cosine=[[float(mean[i, j]) for mean in means] for i, j in pairs],
        conflict_rate=[float(rate[i, j]) for i, j in pairs],
    )


def _mean(values: np.ndarray) -> np.ndarray:
    seen = np.isfinite(values)
    return np.where(seen, values, 0.0).sum(0) / np.maximum(seen.sum(0), 1)
