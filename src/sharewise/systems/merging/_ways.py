"""The methods compared, by what they need: a name, then what each may try on validation data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ._tuned import Way


def _each(name: str, *values: float, **fixed: Any) -> tuple[Mapping[str, Any], ...]:
    return tuple({name: value, **fixed} for value in values)


_SUM: Mapping[str, Any] = {"weight": 1.0, "normalize": False}

WAYS: dict[str, Way] = {
    # averages: nothing to tune
    "average": Way("linear", ({"weight": 1.0},), sized=False),
    "karcher": Way("karcher", sized=False),
    "model_stock": Way("model_stock", sized=False),
    # task vectors
    "task_arithmetic": Way("task_arithmetic", (_SUM,)),
    "ties": Way("ties", _each("density", 0.1, 0.2, 0.5, weight=1.0)),
    "dare_linear": Way("dare_linear", _each("density", 0.1, 0.3, 0.5, **_SUM)),
    "dare_ties": Way("dare_ties", _each("density", 0.1, 0.3, 0.5, weight=1.0)),
    "della": Way("della", _each("density", 0.3, 0.5, 0.7, weight=1.0, epsilon=0.1)),
    "breadcrumbs": Way("breadcrumbs", _each("density", 0.5, 0.7, 0.9, gamma=0.01, **_SUM)),
    "sce": Way("sce", _each("select_topk", 0.1, 0.5, 1.0)),
    "pcb": Way("pcb", _each("ratio", 0.05, 0.1, 0.3)),
    "consensus": Way("consensus", _each("mask_lambda", 0.2, 0.4, 0.6)),
    "lines": Way("lines", _each("beta", 0.25, 0.5, 1.0)),
    # spectra
    "tsv": Way("tsv"),
    "iso_c": Way("iso_c"),
    "iso_cts": Way("iso_cts", _each("common", 0.5, 0.8, 0.9)),
    "wudi": Way("wudi", _each("learning_rate", 1e-5, 1e-4, 1e-3)),
    # for a known task
    "tall": Way("tall", _each("mask_lambda", 0.2, 0.3, 0.4, 0.5, 0.6), sized=False, own=True),
    "emr": Way("emr", sized=False, own=True),
    # with examples
    "fisher": Way("fisher", ({"normalize": False}, {"normalize": True}), sized=False, statistics="fisher"),
    "regmean": Way("regmean", _each("off_diagonal", 0.1, 0.5, 0.9, 1.0), sized=False, statistics="gram"),
}
"""Arm -> how it merges. Every one has the same budget of validation scores; those that are not sized use less."""


def _only(name: str, **values: float) -> dict[str, Way]:
    way = WAYS[name]
    kept = tuple(options for options in way.options if all(options[n] == v for n, v in values.items()))
    return {name: replace(way, options=kept)}


PUBLISHED: dict[str, Way] = {
    **WAYS,
    **_only("ties", density=0.2),
    **_only("dare_linear", density=0.1),
    **_only("dare_ties", density=0.1),
    **_only("breadcrumbs", density=0.9),
    **_only("pcb", ratio=0.1),
    **_only("regmean", off_diagonal=0.9),
}
"""The same with the parameters of the methods' papers, for a small budget: all of it goes to the size."""
