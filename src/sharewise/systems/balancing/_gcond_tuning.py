"""How the learning rates of the arms were chosen: ``python -m sharewise.systems.balancing._gcond_tuning``.

Every arm tries the same four learning rates under two seeds that no reported run uses, and is judged on validation
images by the weighted sum of the losses that all of them train on. The test images, the same for all seeds, are
never touched. An arm whose best rate was the first or last tried one more beyond it: ``cagrad`` 0.07, which was worse.
Arms "-low" are not tuned: they share a tenth of the weighted sum's learning rate.
"""

from __future__ import annotations

from dataclasses import replace

from ._gcond_arms import ALONE, DEFAULT, RECIPES, Recipe, Sizes, Trained
from ._masked import WEIGHTS, digits

SEEDS = (100, 101)
RATES = (2e-3, 5e-3, 1.2e-2, 3e-2)


def validation_error(recipe: Recipe, seed: int, sizes: Sizes = DEFAULT) -> float:
    """The weighted sum of both errors on validation images; of a model trained on one loss, that one's."""
    train, validation, _ = digits(seed, sizes.train)
    found = Trained(recipe, sizes, seed, train).metrics(validation)
    return sum(weight * found[name] for name, weight in WEIGHTS.items() if recipe.one in (None, name))


def main() -> None:
    """Print the mean validation error of every arm and learning rate."""
    for arm, recipe in {**RECIPES, **{f"{one} alone": recipe for one, recipe in ALONE.items()}}.items():
        for lr in RATES:
            errors = [validation_error(replace(recipe, lr=lr), seed) for seed in SEEDS]
            shown = " ".join(f"{e:.4f}" for e in errors)
            print(f"{arm:20s} lr {lr:<6g} {sum(errors) / len(errors):.4f}  ({shown})", flush=True)


if __name__ == "__main__":
    from ...train import single_thread

    with single_thread():
        main()
