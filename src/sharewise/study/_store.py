"""A study's folder: the plan, a file a trial, the result. Everything appears whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load as from_bytes
from safetensors.numpy import save as to_bytes

from ..errors import RunError
from ..files import read_json, write_bytes, write_text
from ._plan import Plan
from .results import Number, Record

PLAN, RESULTS, PAGE, PICTURE = "study.json", "results.json", "report.html", "verdict.svg"


class Trial(Record):
    """One training of one model: what was set, what came out, what it cost."""

    settings: dict[str, float | int | str]
    objective: float
    """Mean relative improvement of the main metric over the constant prediction, on validation."""
    valid: dict[str, dict[str, float | None]]
    test: dict[str, dict[str, float | None]]
    baseline: dict[str, float]
    """Main metric on test of the constant prediction learned on the training rows."""
    fit_seconds: float
    predict_seconds: float
    peak_mb: float
    parameters: int
    curves: dict[str, list[float]] = {}
    weights: dict[str, list[Number]] = {}
    projected: dict[str, dict[str, float]] = {}
    trained: dict[str, list[float]] = {}
    probe: dict[str, Any] = {}
    """``epochs``, ``cosine``, ``affinity`` of a :class:`~sharewise.audit.SharingProbe`."""


class Store:
    """Reads and writes the folder of one study."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    def open(self, plan: Plan) -> None:
        """Make the folder, or make sure that it holds this very study; raises :class:`RunError` otherwise."""
        path = self.folder / PLAN
        if path.exists():
            try:
                former = Plan.model_validate(read_json(path))
            except ValueError:
                raise RunError(f'"{path}" is not the plan of a study: choose another folder') from None
            if former != plan:
                changed = [k for k in Plan.model_fields if getattr(former, k) != getattr(plan, k)]
                raise RunError(
                    f'"{self.folder}" holds another study ({", ".join(changed)} differ): choose another folder with '
                    "--out, or delete that one"
                )
        elif self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
            raise RunError(f'"{self.folder}" is not empty and holds no study: choose another folder with --out')
        else:
            write_text(path, plan.model_dump_json(indent=1) + "\n")

    def trial_path(self, seed: int, model: str, number: int) -> Path:
        """Where a trial's record is; its test values lie beside it with the ending ``.safetensors``."""
        return self.folder / "models" / f"seed-{seed}" / model / f"trial-{number}.json"

    def save_trial(self, seed: int, model: str, number: int, trial: Trial, values: dict[str, np.ndarray]) -> None:
        """Values first, the record last: a trial whose record is there is complete."""
        path = self.trial_path(seed, model, number)
        write_bytes(path.with_suffix(".safetensors"), to_bytes(values))
        write_text(path, trial.model_dump_json() + "\n")

    def trials(self, seed: int, model: str) -> list[Trial]:
        """The finished trials of a model, in order."""
        found: list[Trial] = []
        while (path := self.trial_path(seed, model, len(found))).exists():
            try:
                found.append(Trial.model_validate_json(path.read_text(encoding="utf-8")))
            except ValueError:
                raise RunError(f'"{path}" cannot be read: delete it, and the study makes it anew') from None
        return found

    def values(self, seed: int, model: str, number: int) -> dict[str, np.ndarray]:
        """``rows/I`` and ``values/I``: table rows and per-example metric of task number I on test."""
        return from_bytes(self.trial_path(seed, model, number).with_suffix(".safetensors").read_bytes())


def chosen(trials: list[Trial]) -> int:
    """Number of the best trial on validation."""
    return max(range(len(trials)), key=lambda i: trials[i].objective)
