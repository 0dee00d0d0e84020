"""How the learning rates of the arms were chosen: ``python -m sharewise.systems.crops._tuning``.

Every learned arm tries the same number of learning rates, on three collections of vines whose seeds no
reported run uses, and is judged on the validation years of these collections, four seasons a cultivar. Test
years are never touched. An arm whose best rate was the first or last of its three tried one more beyond it:
``dmc-stl`` 3e-4, ``gru`` 3e-4, ``constant`` 0.01, ``temperature-response`` 0.03; all four were worse. Variants of
the shared network that only serve as ablations take the learning rate of ``dmc-mtl``.

The other settings of the default scale were compared on the same years for ``dmc-mtl`` and ``dmc-stl`` and are
shared by all arms: parameters started at stock values, gradient norm clipped at 0.5, plateau factor 0.5 (the
paper's 0.95 belongs to four times as many epochs). Each helped the separate networks; none harmed the shared one.
"""

from __future__ import annotations

from ._arms import DEFAULT, HARDINESS, PHENOLOGY, Sizes, estimator
from ._metrics import onset_errors, rmse
from ._simulator import simulate
from ._weather import seattle

SEEDS = (100, 101, 102)
NETWORK_RATES = (1e-3, 3e-3, 1e-2)
CONSTANT_RATES = (0.02, 0.05, 0.1)
ABLATIONS = ("dmc-mtl-daily", "dmc-add", "dmc-mult", "dmc-multi-head", "dmc-one-hot")


def validation_error(process: str, arm: str, lr: float, seed: int, sizes: Sizes = DEFAULT) -> float:
    """Summed onset RMSE in days, or RMSE of LTE50, of one arm on validation years."""
    data = simulate(process, seattle(), seed, sizes.cultivars, sizes.train, validation=4)
    output = estimator(process, arm, sizes, seed, lr=lr).fit(data.train).predict(data.validation).output
    truth = data.truth["validation"]
    return onset_errors(output, truth)["onset_rmse"] if process == "phenology" else rmse(output, truth)


def main() -> None:
    """Print the mean validation error of every arm and learning rate."""
    for process, table in (("phenology", PHENOLOGY), ("hardiness", HARDINESS)):
        for arm in table:
            if arm == "stock" or arm in ABLATIONS:
                continue
            for lr in CONSTANT_RATES if arm == "constant" else NETWORK_RATES:
                errors = [validation_error(process, arm, lr, seed) for seed in SEEDS]
                shown = " ".join(f"{e:.2f}" for e in errors)
                print(f"{process:10s} {arm:22s} lr {lr:<6g} {sum(errors) / len(errors):6.2f}  ({shown})", flush=True)


if __name__ == "__main__":
    main()
