"""``advise``: a fast answer before the full study."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from ..audit import SharingProbe, propose_groups
from ..train import build_table_model, fit, single_thread
from ._space import NETWORK
from ._study import make_plan
from ._tables import read, split
from .results import Record


class Advice(Record):
    """What one short shared run suggests; not a verdict, which takes a study.

    ``affinity[i][j]``: mean relative fall of task j's loss (per cent) after a step on task i alone; ``cosine`` the mean
    cosine between their gradients; ``conflict`` the share of probes where it was negative. ``study_seconds``: about
    how long the full study with the default settings would take on this machine.
    """

    tasks: list[str]
    rows: int
    groups: list[list[str]]
    affinity: list[list[float]]
    cosine: list[list[float]]
    conflict: list[list[float]]
    warnings: list[str]
    seconds: float
    study_seconds: float
    sentence: str


def advise(
    table: Path | str, targets: Sequence[str] = (), *, seed: int = 0, epochs: int = 10, **options: object
) -> Advice:
    """Affinities and proposed groups from one short run of a shared network, and the time a study would take.

    Arguments as for :func:`study`; nothing is written. Cost: one training of ``epochs`` epochs, with four probes an
    epoch.
    """
    began = time.monotonic()
    plan = make_plan(table, targets, seeds=[seed], **options)  # type: ignore[arg-type]
    frame, _ = read(plan.table)
    data = split(plan, frame, seed)
    tasks = data.preprocessor.tasks()
    probe = SharingProbe(per_epoch=4)
    shape = {k: NETWORK[k] for k in ("width", "depth", "dropout", "numeric_embedding")}
    model, _ = build_table_model(data.preprocessor, tasks, seed=seed, **shape)
    with single_thread():
        fitted = fit(
            model,
            tasks,
            data.splits,
            learning_rate=float(NETWORK["learning_rate"]),
            weight_decay=float(NETWORK["weight_decay"]),
            epochs=epochs,
            seed=seed,
            callbacks=[probe],
        )
    epoch_seconds = float(np.median([r.seconds for r in fitted.history]))
    names = [t.name for t in tasks]
    z, c = (_stack(v) for v in (probe.affinity, probe.cosine))
    mean = _mean(z)
    groups = propose_groups(mean, names)
    return Advice(
        tasks=names,
        rows=data.rows,
        groups=groups,
        affinity=(100 * mean).tolist(),
        cosine=_mean(c).tolist(),
        conflict=((np.nan_to_num(c) < 0).sum(0) / np.maximum(np.isfinite(c).sum(0), 1)).tolist(),
        warnings=[w.text for w in data.warnings],
        seconds=time.monotonic() - began,
        study_seconds=_study_seconds(epoch_seconds, len(names)),
        sentence=_sentence(groups),
    )


def _stack(matrices: Sequence[Tensor]) -> np.ndarray:
    return np.stack([x.numpy() for x in matrices])


def _mean(values: np.ndarray) -> np.ndarray:
    return np.nan_to_num(values).sum(0) / np.maximum(np.isfinite(values).sum(0), 1)


def _study_seconds(epoch_seconds: float, tasks: int, seeds: int = 5, trials: int = 4, epochs: int = 35) -> float:
    """Trainings of a default study, in units of a shared epoch: separate models and groups about as much as one for
    each task, PCGrad about a backward for each task, the other shared arms one each; trees about one a task."""
    units = 0.6 * tasks + 3 + 0.5 * tasks + 0.6 * tasks + 0.3 * tasks
    return units * epoch_seconds * epochs * seeds * trials / (os.cpu_count() or 1)


def _sentence(groups: Sequence[Sequence[str]]) -> str:
    if len(groups) == 1:
        return "Every task gains from the others' steps: one shared model is worth a study."
    text = "; ".join(" + ".join(g) for g in groups)
    if all(len(g) == 1 for g in groups):
        return "No task gains from another's steps: separate models are the safe choice, a study would tell."
    return f"Groups worth a study: {text}."
