"""The arms of the system ``aim-moleculenet``: three real sets, a few hundred molecules of each to learn from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ._compare import METHODS, Budget, delta_m, errors, parts_for
from ._moleculenet import SETS, read_molecules
from ._table import PropertyTable

ARMS = (*METHODS, "aim-frozen", "linear-primary", "pcgrad-primary")


@dataclass(frozen=True)
class Sizes:
    """Of one scale: molecules to learn from and to judge with, bits of their fingerprints, and the budget."""

    learn: int
    test: int
    bits: int
    budget: Budget


DEFAULT = Sizes(600, 1000, 512, Budget((128, 64), (32,), epochs=40, batch=64, plateau=6, patience=12))
SMOKE = Sizes(60, 60, 32, Budget((16, 8), (8,), epochs=1, batch=32, plateau=6, patience=12))
PAPER = Sizes(10_000, 1000, 2048, Budget((512, 128), (64, 32), epochs=400, batch=32, plateau=50, patience=75))


def draw(name: str, sizes: Sizes, seed: int) -> tuple[PropertyTable, PropertyTable]:
    """Molecules of a set to learn from and to judge with, drawn at random; what is left of small sets to learn from."""
    molecules = read_molecules(name)
    order = np.random.default_rng([seed, list(SETS).index(name)]).permutation(len(molecules))
    test = min(sizes.test, len(molecules) // 3)
    rows = order[: min(test + sizes.learn, len(molecules))]
    table = molecules.table(rows, bits=sizes.bits)
    return table.select(slice(test, None)), table.select(slice(test))


def arms(sizes: Sizes) -> dict[str, Callable[[int], dict[str, float]]]:
    """Every arm on every set."""

    @lru_cache(maxsize=len(SETS))
    def drawn(name: str, seed: int) -> tuple[PropertyTable, PropertyTable]:
        return draw(name, sizes, seed)

    @lru_cache(maxsize=len(SETS))
    def alone(name: str, seed: int) -> np.ndarray:
        return train("stl", name, seed)

    def train(arm: str, name: str, seed: int) -> np.ndarray:
        table, test = drawn(name, seed)
        return errors(sizes.budget.model(arm, seed).fit_parts(parts_for(arm, table)), test)

    def make(arm: str) -> Callable[[int], dict[str, float]]:
        def run(seed: int) -> dict[str, float]:
            metrics: dict[str, float] = {}
            for name in SETS:
                reference = alone(name, seed)
                found = reference if arm == "stl" else train(arm, name, seed)
                metrics |= {f"{name}_delta_m": delta_m(found, reference), f"{name}_error": float(np.nanmean(found))}
            return {"delta_m": float(np.mean([metrics[f"{name}_delta_m"] for name in SETS])), **metrics}

        return run

    return {arm: make(arm) for arm in ARMS}
