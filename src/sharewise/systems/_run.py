"""Run the arms of a system over seeds and judge its claims: :func:`reproduce`."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version

from ..errors import OptionError, RunError, nearest
from ._claim import Claim
from ._registry import SCALES, Arm, Scale, System, get
from ._result import Result, judged

Metrics = dict[str, dict[str, float]]
"""Arm -> metric -> value, under one seed."""


def reproduce(
    id: str,
    seeds: Iterable[int],
    scale: Scale = "default",
    jobs: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> Result:
    """Run every arm of the system ``id`` under every seed and judge its claims.

    ``jobs`` processes share the seeds (all arms of a seed run in one of them); each computes with one
    thread, so that the numbers do not depend on ``jobs`` or on the machine's cores.
    ``on_progress(done, total)`` counts finished runs of an arm. Torch's and Python's global generators are
    seeded with the seed before each run, and are as before afterwards.

    Raises :class:`OptionError` for an unknown system or scale, seeds that are not distinct numbers >= 0, and
    claims about arms or metrics that do not exist; :class:`RunError`, naming arm and seed, where an arm
    fails or returns something else than finite numbers.
    """
    started = time.perf_counter()
    order = _seeds(seeds)
    if scale not in SCALES:
        raise OptionError(f'no scale "{scale}": {nearest(scale, SCALES)}')
    if jobs < 1:
        raise OptionError(f"jobs is {jobs}, expected 1 or more processes")
    found = get(id)
    _check_arms(found, found.arms(scale))
    jobs = min(jobs, len(order))
    runs: dict[int, Metrics] = {}
    for seed, metrics in (_here if jobs == 1 else _in_processes)(found, order, scale, jobs, on_progress):
        _check_metrics(found, seed, metrics, runs)
        runs[seed] = metrics
    first = runs[order[0]]
    arms = {a: {m: [runs[s][a][m] for s in order] for m in first[a]} for a in first}
    return _result(found, order, scale, jobs, arms, time.perf_counter() - started)


def _result(
    found: System,
    seeds: list[int],
    scale: Scale,
    jobs: int,
    arms: dict[str, dict[str, list[float]]],
    seconds: float,
) -> Result:
    return Result(
        id=found.id,
        title=found.title,
        scale=scale,
        seeds=seeds,
        arms=arms,
        claims=[judged(claim, arms) for claim in found.claims],
        seconds=round(seconds, 1),
        jobs=jobs,
        family=found.family,
        data=found.data,
        paper=found.paper.url,
        evidence=found.paper.evidence,
        reading=found.reading,
        assumptions=list(found.assumptions),
        remarks=list(found.remarks),
        versions=_versions(),
    )


def _seeds(seeds: Iterable[int]) -> list[int]:
    order = list(seeds)
    if not order:
        raise OptionError("no seeds given: name at least one, five for a verdict")
    if any(not isinstance(s, int) or s < 0 for s in order):
        raise OptionError(f"seeds are {order}, expected whole numbers >= 0")
    if len(set(order)) < len(order):
        raise OptionError(f"seeds {order} repeat: a seed counts once")
    return order


def _here(
    found: System, seeds: list[int], scale: Scale, jobs: int, on_progress: Callable[[int, int], None] | None
) -> Iterator[tuple[int, Metrics]]:
    total = len(seeds) * len(found.arms(scale))
    for i, seed in enumerate(seeds):

        def tick(arm: int, before: int = i) -> None:
            if on_progress:
                on_progress(before * (total // len(seeds)) + arm, total)

        yield seed, run_seed(found, scale, seed, tick)


def _in_processes(
    found: System, seeds: list[int], scale: Scale, jobs: int, on_progress: Callable[[int, int], None] | None
) -> Iterator[tuple[int, Metrics]]:
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

    each = len(found.arms(scale))
    # Spawned, not forked: a forked child of a process that has used torch's threads can hang.
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(_in_process, found.id, found.module, scale, seed): seed for seed in seeds}
        try:
            for done, future in enumerate(as_completed(futures), start=1):
                yield futures[future], future.result()
                if on_progress:
                    on_progress(done * each, len(seeds) * each)
        except BrokenProcessPool:
            raise RunError(
                f'system "{found.id}": a process ended without an answer: killed, out of memory, or the '
                "calling script starts work on import (guard it with `if __name__ == '__main__':`)"
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _in_process(id: str, module: str, scale: Scale, seed: int) -> Metrics:
    import importlib

    importlib.import_module(module)  # a system registered outside this package is found this way
    return run_seed(get(id), scale, seed)


def run_seed(found: System, scale: Scale, seed: int, tick: Callable[[int], None] = lambda done: None) -> Metrics:
    """All arms of one seed, in order, each with one thread and freshly seeded global generators."""
    metrics: Metrics = {}
    for name, arm in found.arms(scale).items():
        with _alone(seed):
            metrics[name] = _run_arm(f'system "{found.id}", arm "{name}", seed {seed}', arm, seed)
        tick(len(metrics))
    return metrics


def _run_arm(where: str, arm: Arm, seed: int) -> dict[str, float]:
    try:
        found = arm(seed)
    except Exception as error:
        raise RunError(f"{where}: {type(error).__name__}: {error}") from error
    if not isinstance(found, Mapping) or not found:
        raise RunError(f"{where}: returned {type(found).__name__}, expected a mapping of metrics to numbers")
    metrics = {}
    for metric, value in found.items():
        try:
            metrics[str(metric)] = float(value)
        except (TypeError, ValueError):
            raise RunError(f'{where}: metric "{metric}" is {value!r}, expected a number') from None
        if not math.isfinite(metrics[str(metric)]):
            raise RunError(
                f'{where}: metric "{metric}" is {value}, expected a finite number; an arm that diverges '
                "should return the worst value its metric can take, and the remarks say so"
            )
    return metrics


@contextmanager
def _alone(seed: int) -> Iterator[None]:
    """One thread and seeded global generators inside; the caller's state is restored on the way out."""
    import torch

    from ..train import single_thread

    state = random.getstate()
    with single_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(state)


def _check_arms(found: System, arms: Mapping[str, Arm]) -> None:
    for claim in found.claims:
        for name in (claim.arm, claim.versus):
            if name is not None and name not in arms:
                raise OptionError(f'system "{found.id}", claim "{claim.text}": no arm "{name}": {nearest(name, arms)}')


def _check_metrics(found: System, seed: int, metrics: Metrics, before: Mapping[int, Metrics]) -> None:
    """Every claim finds its metric, and every seed reports the same ones (told after the first seed)."""
    for claim in found.claims:
        for name in _sides(claim):
            if claim.metric not in metrics[name]:
                raise OptionError(
                    f'system "{found.id}", claim "{claim.text}": arm "{name}" reports no metric '
                    f'"{claim.metric}": {nearest(claim.metric, metrics[name])}'
                )
    for other, first in before.items():
        for name in metrics:
            if metrics[name].keys() != first[name].keys():
                odd = ", ".join(sorted(metrics[name].keys() ^ first[name].keys()))
                raise RunError(f'system "{found.id}", arm "{name}": seeds {other} and {seed} differ in metrics: {odd}')
        break


def _sides(claim: Claim) -> list[str]:
    return [name for name in (claim.arm, claim.versus) if name is not None]


def _versions() -> dict[str, str]:
    import platform

    found = {"python": platform.python_version()}
    for package in ("sharewise", "torch", "numpy", "scipy", "scikit-learn"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed as a package"
    return found
