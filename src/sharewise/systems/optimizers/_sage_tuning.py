"""How the arms of ``sage`` and ``sage-speakers`` were tuned: ``python -m sharewise.systems.optimizers._sage_tuning``.

Every arm tries four settings (two of rho and sigma by two learning rates where it has them, else four learning rates)
under one seed that no reported run uses, and is judged by the training domains' validation parts alone; the held-out
domain is not looked at.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from ._sage_arms import DIGITS, RECIPES, SPEAKERS, Sizes, run_digits, run_speakers

SEED = 100


def settings(name: str) -> list[tuple[float, float, float]]:
    """(rho, sigma, learning rate): four each."""
    recipe = RECIPES[name]
    if recipe.rho == recipe.sigma == 0:
        return [(0.0, 0.0, lr) for lr in (1e-3, 2e-3, 4e-3, 8e-3)]
    grid = [(rho, sigma, lr) for rho, sigma in ((0.05, 0.1), (0.2, 0.5)) for lr in (4e-3, 8e-3)]
    return [(rho * (recipe.rho > 0), sigma * (recipe.sigma > 0), lr) for rho, sigma, lr in grid]


def main() -> None:
    """Print the validation accuracy of every arm and setting."""
    run = run_speakers if "speakers" in sys.argv else run_digits
    for name in SPEAKERS.arms if run is run_speakers else DIGITS.arms:
        for tried in settings(name):
            found = run(name, replace(Sizes(), tuned={name: tried}), SEED)
            print(
                f"{name:12s} rho {tried[0]:<5g} sigma {tried[1]:<5g} lr {tried[2]:<6g} valid {found['valid']:.4f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
