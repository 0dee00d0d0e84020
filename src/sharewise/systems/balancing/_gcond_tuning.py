"""How the learning rates of the arms were chosen: ``python -m sharewise.systems.balancing._gcond_tuning``.

Every arm tries the same eight learning rates, a factor of 1.6 apart, under three seeds that no reported run uses, and
is judged on validation images by the weighted sum of the losses that all of them train on. The test images, the same
for all seeds, are never touched. No arm's best was the first or the last. GradNorm had eight trials more: with weights
that learn at 0.001, as in the paper, it was worse (0.350 against 0.331). Arms "-low" are not tuned: they share a tenth
of the weighted sum's learning rate.
"""

from __future__ import annotations

from dataclasses import replace

from ._gcond_arms import ALONE, DEFAULT, RECIPES, Recipe, Sizes, Trained
from ._masked import WEIGHTS, digits

SEEDS = (100, 101, 102)
RATES = (2e-3, 3.2e-3, 5e-3, 8e-3, 1.25e-2, 2e-2, 3.2e-2, 5e-2)


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
