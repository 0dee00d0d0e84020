"""Doing a study's work, in one process or several, in an order that lets every core be busy."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

import numpy as np

from ..errors import RunError
from ._models import Model, models_of
from ._plan import Plan
from ._store import Store

Progress = Callable[[int, int, str], None]
"""``progress(done, total, text)``, called after each model."""


def run(plan: Plan, store: Store, total_tasks: int, jobs: int, progress: Progress) -> None:
    """Train every model of every arm under every seed that is not in the store yet.

    The shared models come first: the groups are read from what the first of them saw. Raises :class:`RunError` if
    a worker dies (out of memory, killed); what was finished is kept.
    """
    first = [(s, m) for s in plan.seeds for m in _models(plan, total_tasks, "equal")]
    rest = [(s, m) for a in plan.arms if a not in ("equal", "groups") for s in plan.seeds
            for m in _models(plan, total_tasks, a)]  # fmt: skip
    text = plan.model_dump_json()
    work = _Work(text, store, jobs, progress, len(first) + len(rest))
    try:
        work.add(first + rest)
        grouped: set[int] = set()
        while work.busy:
            for seed in work.take():
                if "groups" in plan.arms and seed not in grouped and _has_probe(store, seed):
                    grouped.add(seed)
                    groups = seed_groups(store, seed, total_tasks)
                    known = {m.key for m in models_of("equal", total_tasks) + models_of("separate", total_tasks)}
                    work.add([(seed, m) for m in models_of("groups", total_tasks, groups) if m.key not in known])
    finally:
        work.close()


def _models(plan: Plan, total: int, arm: str) -> list[Model]:
    return models_of(arm, total) if arm in plan.arms else []


def _has_probe(store: Store, seed: int) -> bool:
    return bool(store.trials(seed, "equal-all"))


def mean_affinity(store: Store, seed: int) -> np.ndarray:
    """Mean lookahead affinity ``[m, m]`` over the probes of a seed's first shared run; 0 where never measured."""
    probes = np.array(store.trials(seed, "equal-all")[0].probe["affinity"], dtype=float)
    seen = np.isfinite(probes)
    return np.where(seen, probes, 0.0).sum(0) / np.maximum(seen.sum(0), 1)


def seed_groups(store: Store, seed: int, total: int) -> list[list[int]]:
    """The groups proposed under a seed, from its training rows alone."""
    from ..audit import propose_groups

    names = [str(i) for i in range(total)]
    return [[int(n) for n in group] for group in propose_groups(mean_affinity(store, seed), names)]


class _Work:
    """Models under way; in this process if one job is asked for, else in a pool of fresh ones."""

    def __init__(self, plan: str, store: Store, jobs: int, progress: Progress, total: int) -> None:
        self.plan, self.store, self.progress = plan, store, progress
        self.total, self.done = total, 0
        self.futures: dict[Future[str], tuple[int, Model]] = {}
        self.queue: list[tuple[int, Model]] = []
        self.pool = None
        if jobs > 1:
            self.pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_start_worker)

    @property
    def busy(self) -> bool:
        return bool(self.futures or self.queue)

    def add(self, models: Iterable[tuple[int, Model]]) -> None:
        models = list(models)
        self.total = max(self.total, self.done + len(self.futures) + len(self.queue) + len(models))
        for seed, model in models:
            if self.pool is None:
                self.queue.append((seed, model))
            else:
                self.futures[self.pool.submit(_tune, self.plan, str(self.store.folder), seed, model)] = (
                    seed,
                    model,
                )

    def take(self) -> Sequence[int]:
        """Wait for the next models to be done; their seeds."""
        if self.pool is None:
            seed, model = self.queue.pop(0)
            _tune(self.plan, str(self.store.folder), seed, model)
            self._count(seed, model)
            return [seed]
        finished, _ = wait(self.futures, return_when=FIRST_COMPLETED)
        seeds = []
        for future in finished:
            seed, model = self.futures.pop(future)
            try:
                future.result()
            except BrokenProcessPool:
                raise RunError(
                    "a worker process died, perhaps for lack of memory: run the same command again to continue, "
                    "with fewer --jobs"
                ) from None
            self._count(seed, model)
            seeds.append(seed)
        return seeds

    def _count(self, seed: int, model: Model) -> None:
        self.done += 1
        self.progress(self.done, self.total, f"seed {seed}, {model.key}")

    def close(self) -> None:
        if self.pool is not None:
            self.pool.shutdown(wait=True, cancel_futures=True)


def _tune(plan: str, folder: str, seed: int, model: Model) -> str:
    from ..train import single_thread
    from ._train import tune

    with single_thread():
        return tune(plan, folder, seed, model)


def _start_worker() -> None:
    """An end when the parent has gone: an orphan would wait for work for ever."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
