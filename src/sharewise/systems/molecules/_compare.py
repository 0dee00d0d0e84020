"""Arms of both systems: ways to train a network on the same molecules, judged against separate networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ._model import PropertyModel
from ._table import PropertyTable
from ._training import Parts

METHODS: dict[str, dict[str, Any]] = {
    "stl": {"sharing": "separate", "balancer": "equal"},
    "linear": {"balancer": "equal"},
    "pcgrad": {"balancer": "pcgrad"},
    "cagrad": {"balancer": "cagrad"},
    "nashmtl": {"balancer": "nashmtl"},
    "famo": {"balancer": "famo"},
    "aim-matrix": {"balancer": "aim", "options": {"policy": "matrix"}},
    "aim-scalar": {"balancer": "aim", "options": {"policy": "scalar"}},
}
"""What is compared; all are tuned with one budget."""

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "aim-no-progress": ("aim-matrix", {"options": {"progress_weight": 0.0}}),
    "aim-no-magnitude": ("aim-matrix", {"options": {"magnitude_weight": 0.0}}),
    "aim-frozen": ("aim-matrix", {"options": {"lr": 0.0}}),
    "aim-cross": ("aim-matrix", {"cross": True}),
    "linear-primary": ("linear", {"primary": True}),
    "pcgrad-primary": ("pcgrad", {"primary": True}),
}
"""Ablations, with the settings of the method they change: AIM without a term of the policy's loss, with ``tau`` held at
0, with a look-ahead along training gradients; baselines without the molecules that AIM spends on guidance."""


TUNED: dict[str, dict[str, Any]] = {
    "stl": {"lr": 1e-2},
    "linear": {"lr": 1e-2},
    "pcgrad": {"lr": 3e-3},
    "cagrad": {"lr": 1e-2},
    "nashmtl": {"lr": 1e-2},
    "famo": {"lr": 3e-3},
    "aim-matrix": {"lr": 3e-3, "options": {"lr": 2e-2, "progress_weight": 0.08}},
    "aim-scalar": {"lr": 1e-2, "options": {"lr": 5e-3, "progress_weight": 0.08}},
}
"""Method -> what was best among its three trials with 300 simulated molecules (see ``_tuning``)."""

BEYOND: dict[str, float] = {"stl": 3e-2, "linear": 3e-2, "cagrad": 3e-2, "aim-scalar": 3e-2}
"""Method -> the learning rate above those of the three trials that was better still on the same molecules."""


@dataclass(frozen=True)
class Budget:
    """What every arm of a comparison gets; the rest is :data:`TUNED`, where ``rates`` has no other learning rate."""

    encoder: tuple[int, ...]
    head: tuple[int, ...]
    epochs: int
    batch: int
    plateau: int
    patience: int
    rates: Mapping[str, float] = field(default_factory=dict)

    def model(self, arm: str, seed: int, **changes: Any) -> PropertyModel:
        """The untrained model of an arm; ``changes`` replace settings."""
        method, varied = VARIANTS.get(arm, (arm, {}))
        rate = {"lr": self.rates[method]} if method in self.rates else {}
        layers = [METHODS[method], TUNED[method], rate, varied, changes]
        options = {k: v for layer in layers for k, v in layer.get("options", {}).items()}
        chosen = {k: v for layer in layers for k, v in layer.items() if k not in ("options", "primary")}
        if chosen["balancer"] == "aim":
            options.setdefault("look_ahead", chosen.get("lr", 1e-3))
        return PropertyModel(
            **{
                "encoder": self.encoder,
                "head": self.head,
                "epochs": self.epochs,
                "batch": self.batch,
                "plateau": self.plateau,
                "patience": self.patience,
                "seed": seed,
                **chosen,
                "options": options,
            }
        )


def parts_for(arm: str, table: PropertyTable) -> Parts:
    """The first tenth of the molecules chooses the epoch; the second guides AIM and trains all others, except
    those that are to see only what AIM's network sees."""
    tenth = len(table) // 10
    valid, held = table.select(slice(tenth)), table.select(slice(tenth, 2 * tenth))
    method, varied = VARIANTS.get(arm, (arm, {}))
    if METHODS[method]["balancer"] == "aim":
        return Parts(table.select(slice(2 * tenth, None)), valid, held)
    return Parts(table.select(slice((2 if varied.get("primary") else 1) * tenth, None)), valid)


def errors(model: PropertyModel, test: PropertyTable) -> np.ndarray:
    """Absolute error of each property in its units, or one minus the area under the ROC curve, ``[T]``; NaN where the
    test labels are all yes or all no."""
    scores = model.score(test)
    return np.array([s["mae"] if "mae" in s else 1 - s["auroc"] for s in (scores[name] for name in test.names)])


def delta_m(found: np.ndarray, alone: np.ndarray) -> float:
    """Mean change of the errors against separate networks, in percent: lower is better, below 0 sharing pays.

    Properties whose error is not defined for the separate networks are left out.
    """
    defined = ~np.isnan(alone)
    return float(100 * np.mean(found[defined] / alone[defined] - 1))
