"""The arms of ``model-merging-text``: those of ``model-merging`` that a transformer allows, and joint training."""

from __future__ import annotations

import torch

from ._arms import ARMS, Arm, Metrics, Scale
from ._text import TextSizes
from ._training import train_jointly
from ._tuned import report

DEFAULT = Scale(TextSizes(), budget=8, samples=64, reach=(0.25, 8.0), published=True)
SMOKE = Scale(TextSizes(trained=1, tokens=12, counts=(8, 4, 8)), budget=2, samples=4, reach=(0.25, 8.0), published=True)
PAPER = Scale(TextSizes(trained=6, counts=(1000, 200, 400)), budget=48)
"""All layers, and the budget of the other beds; hours of one core a seed."""


def _joint(scale: Scale, seed: int) -> Metrics:
    """One encoder trained on all tasks together: the reference that needs all tasks' examples in one place."""
    bed = scale.bed.of(seed)
    state = train_jointly(bed.model, bed.base, bed.tasks, scale.bed.tuning, torch.Generator().manual_seed(seed))
    return report(bed, bed.accuracies(bed.for_all(state), "test"))


def _experts(scale: Scale, seed: int) -> Metrics:
    """The experts, and how far their task vectors are at odds: what methods that settle conflicts have to settle."""
    bed = scale.bed.of(seed)
    vectors = torch.stack(
        [torch.cat([(e[n] - b).flatten() for n, b in bed.base.items()]) for e in bed.experts.values()]
    )
    units = vectors / vectors.norm(dim=1, keepdim=True)
    cosines = (units @ units.T)[tuple(torch.triu_indices(len(units), len(units), 1))]
    opposed = (vectors.amax(0) > 0) & (vectors.amin(0) < 0)
    found = {"cosine": float(cosines.mean()), "highest_cosine": float(cosines.max())}
    return report(bed, bed.best) | found | {"sign_conflict": float(opposed.double().mean())}


_SHARED = (
    "base", "average", "karcher", "model_stock", "task_arithmetic", "ties", "dare_linear", "dare_ties",
    "tsv", "iso_c", "emr", "regmean", "regmean_plus_plus", "tsv_not_orthogonal", "emr_not_rescaled",
)  # fmt: skip

TEXT_ARMS: dict[str, Arm] = {**{name: ARMS[name] for name in _SHARED}, "experts": _experts, "joint": _joint}
