"""How the learning rates of the arms were chosen: ``python -m sharewise.systems.optimizers._madam_tuning``.

Every arm tries the same five under two seeds that no reported run uses.
"""

from __future__ import annotations

from statistics import fmean

from ._madam_arms import DEFAULT, RATES, TRAINED, bursts, changed

SEEDS = (100, 101)


def main() -> None:
    """Print burst excess and front error of every arm and rate."""
    for arm in TRAINED:
        for lr in RATES:
            burst = fmean(bursts(arm, DEFAULT, seed, lr) for seed in SEEDS)
            front = fmean(changed(arm, DEFAULT, seed, lr) for seed in SEEDS)
            print(f"{arm:15s} lr {lr:<6g} burst excess {burst:.5f}  front error {front:.5f}", flush=True)


if __name__ == "__main__":
    main()
