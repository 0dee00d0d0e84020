"""What a study found, as data: the only thing the page, the verdict and ``--json`` are made from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict

from ..errors import RunError
from ..files import write_text

Answer = Literal[
    "share",
    "share: as good and cheaper",
    "share in these groups",
    "do not share",
    "too little data to say",
]
"""The five verdicts, in words."""

Outcome = Literal["better", "worse", "as good", "unclear"]
"""What a comparison shows on one task."""

Number = Annotated[float, BeforeValidator(lambda value: float("nan") if value is None else value)]
"""A number that may be NaN: JSON has no word for it, so it travels as ``null`` and comes back as NaN."""


class Record(BaseModel):
    """Base of all records: unknown fields are an error, NaN travels as ``null``."""

    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="null")


class TaskSummary(Record):
    """One target as the study saw it."""

    name: str
    kind: str
    metric: str
    higher_is_better: bool
    labels: int
    """Rows with a label, over all splits."""
    missing: float
    """Share of rows without a label."""
    classes: list[str] = []
    baseline: float | None = None
    """Main metric on test of always predicting the training mean or the class shares, mean over seeds."""


class ColumnSummary(Record):
    """One feature column."""

    name: str
    kind: str
    missing: float
    distinct: int | None = None


class DataWarning(Record):
    """Something about the table that a reader should know before believing the verdict."""

    kind: Literal["leak", "tiny task", "drift", "other"]
    column: str
    text: str


class DataSummary(Record):
    """The table."""

    name: str
    source: str
    rows: int
    splits: dict[str, int]
    """Rows of train, valid and test in the first seed's split."""
    columns: list[ColumnSummary]
    warnings: list[DataWarning]
    split_by: str = "random rows"
    """``random rows``, ``group: COLUMN`` or ``time: COLUMN``."""


class Cost(Record):
    """What an arm costs, summed over the models it needs."""

    fit_seconds: Number
    """Training the chosen models once, without the tuning trials that were not chosen."""
    tuning_seconds: Number
    """All trials together."""
    predict_seconds: Number
    """Predicting every target for the test rows once."""
    peak_mb: Number
    """Most resident memory of the training process above what it held before, in MB."""
    parameters: int
    """Learned numbers over all models (for trees: split and leaf values)."""
    models: int


class Run(Record):
    """One arm under one seed."""

    arm: str
    seed: int
    metrics: dict[str, dict[str, float | None]]
    """Task -> metric -> value on test."""
    valid: dict[str, Number]
    """Task -> main metric on validation: all that choices are made from."""
    cost: Cost
    settings: dict[str, dict[str, float | int | str]]
    """Model name (a task, a group or ``all``) -> chosen settings."""
    curves: dict[str, list[Number]] = {}
    """Task -> validation loss after each epoch of the chosen model."""
    weights: dict[str, list[Number]] = {}
    """Task -> mean weight in each epoch (shared arms)."""
    projected: dict[str, dict[str, Number]] = {}
    """Task -> other task -> share of the recorded training steps in which the first's gradient lost its part along the
    other's (arms whose balancer projects)."""
    trained: dict[str, list[Number]] = {}
    """Task -> share of each epoch's steps in which it trained (arms with a schedule)."""


class Arm(Record):
    """One way to train all targets."""

    name: str
    title: str
    kind: Literal["separate", "shared", "groups", "trees"]
    text: str
    groups: list[list[str]] = []


class Comparison(Record):
    """An arm against another on one task; effects are relative, in per cent, positive = the arm is better."""

    arm: str
    versus: str
    task: str
    effect: Number
    low: Number
    high: Number
    p: Number
    """Two-sided, unadjusted."""
    p_holm: Number
    """Adjusted over the tasks of this pair of arms (Holm)."""
    p_margin: Number
    """One-sided, against "worse by the margin or more" (non-inferiority)."""
    outcome: Outcome


class DeltaM(Record):
    """Mean relative change over tasks against the separate models, in per cent, under both conventions."""

    arm: str
    versus: str
    higher_is_better: Number
    """Maninis et al. 2019, Vandenhende et al. 2021: positive = the arm is better."""
    lower_is_better: Number
    """Navon et al. 2022, Liu et al. 2021, 2023: negative = the arm is better."""
    low: Number
    high: Number
    """95 % interval of ``higher_is_better``."""


class Affinity(Record):
    """What a step on one task does to another's loss in a shared model, with intervals over seeds.

    ``mean[i][j]`` is the mean relative fall of task j's loss (per cent) after a step on task i alone (TAG
    lookahead; Fifty et al. 2021); positive = i helps j.
    """

    tasks: list[str]
    mean: list[list[Number]]
    low: list[list[Number]]
    high: list[list[Number]]
    groups: list[list[str]] = []


class Conflict(Record):
    """Cosines between the tasks' gradients of the shared parameters over training, mean over seeds."""

    pairs: list[tuple[str, str]]
    epochs: list[int]
    """Counted from 1."""
    cosine: list[list[Number]]
    """``cosine[pair][epoch]``."""
    conflict_rate: list[Number]
    """Share of probed steps with a negative cosine, per pair."""


class Verdict(Record):
    """The answer, in words, with its evidence."""

    answer: Answer
    arm: str | None
    """The recommended arm; ``None`` where nothing is recommended over another."""
    judged: str | None = None
    """The arm that shares whose comparisons decided: best on validation, so not chosen by its test results."""
    sentence: str
    evidence: list[str]
    margin: float
    """Non-inferiority margin, relative, in per cent."""
    cheaper: dict[str, Number] = {}
    """``fit``, ``store``, ``serve`` -> how many times cheaper the recommended arm is than separate models."""


class Recipe(Record):
    """How to repeat the study."""

    command: str
    seeds: list[int]
    trials: int
    versions: dict[str, str]
    seconds: float


class StudyResult(Record):
    """Everything a study found."""

    format: Literal[1] = 1
    title: str
    data: DataSummary
    tasks: list[TaskSummary]
    arms: list[Arm]
    runs: list[Run]
    comparisons: list[Comparison]
    delta_m: list[DeltaM]
    verdict: Verdict
    affinity: Affinity | None = None
    conflict: Conflict | None = None
    recipe: Recipe

    def save(self, path: Path | str) -> None:
        """Write as JSON, atomically."""
        write_text(path, self.model_dump_json(indent=1) + "\n")

    @classmethod
    def load(cls, path: Path | str) -> StudyResult:
        """Read what :meth:`save` wrote; raises :class:`RunError` where it is not a study's result."""
        try:
            return cls.model_validate_json(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RunError(f'no results at "{path}": run `sharewise study` first') from None
        except ValueError as error:
            raise RunError(f'"{path}" is not the result of a study: {str(error).splitlines()[0]}') from None
