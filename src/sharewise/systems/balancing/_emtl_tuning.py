"""How weighing rules with rates of their own were tuned: ``python -m sharewise.systems.balancing._emtl_tuning``.

Uncertainty weighting and GradNorm try six settings each on the linear users of seeds that no reported run uses, and
are judged by the fairness of the whole horizon (alpha 2), which is what ``owo_fmtl`` aims at. GradNorm was best with
alpha 1.5 and 0.0025 (4.6545), uncertainty weighting with the smallest rate (4.6570): it tends to equal weights as its
rate tends to 0, so that smaller ones were not tried. The others' weights have
no rates to tune, or, as those of ``owo_fmtl``, keep their defaults. Step sizes of the models are the same for all.
"""

from __future__ import annotations

from ._emtl_convex import Convex, run
from ._policies import Policy

SEEDS = (100, 101, 102)
TRIALS: dict[str, tuple[Policy, ...]] = {
    "uncertainty": tuple(Policy("uncertainty", learned_rate=r) for r in (1e-4, 5e-4, 2.5e-3, 1e-2, 2.5e-2, 1e-1)),
    "gradnorm": tuple(Policy("gradnorm", {"alpha": a, "lr": r}) for a in (0.5, 1.5, 3.0) for r in (2.5e-3, 2.5e-2)),
}


def horizon_fairness(policy: Policy, seed: int, sizes: Convex) -> float:
    """Alpha-fairness of the users' mean utilities over the horizon; higher is better."""
    return run(policy, seed, sizes)["fairness"]


def main(sizes: Convex | None = None) -> None:
    """Print the mean fairness of every setting."""
    for arm, policies in TRIALS.items():
        for policy in policies:
            found = [horizon_fairness(policy, seed, sizes or Convex()) for seed in SEEDS]
            rate = policy.options.get("lr", policy.learned_rate)
            shown = " ".join(f"{f:.4f}" for f in found)
            alpha = policy.options.get("alpha", "")
            print(f"{arm:12s} {alpha!s:4s} rate {rate:<7g} {sum(found) / len(found):.4f}  ({shown})", flush=True)


if __name__ == "__main__":
    from ...train import single_thread

    with single_thread():
        main()
