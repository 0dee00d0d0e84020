"""A trained model with what is needed to use it: tasks, preprocessing, history."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from .. import data as tables  # its names that need Polars are loaded where they are used
from ..data import Source, TensorSource
from ..errors import DataError, ModelError, RunError
from ..files import read_json, write_bytes, write_json
from ..sharing import table_model
from ..tasks import Task, task_from_json, task_to_json
from . import _evaluate
from ._settings import EpochRecord

if TYPE_CHECKING:
    import polars as pl

    from ..balance import Balancer
    from ..data import Preprocessor

WEIGHTS, DESCRIPTION = "model.safetensors", "fitted.json"


@dataclass
class Fitted:
    """A trained model.

    Attributes:
        model: with the best epoch's weights, in evaluation mode when predicting.
        tasks: in the units they were given in.
        history: an :class:`EpochRecord` an epoch.
        best_epoch: the epoch whose weights the model has (-1: none was run).
        steps: optimizer steps taken.
        preprocessor: how a table's rows become inputs; ``None`` for models on other data.
        settings: architecture of a table model, enough to build it again.
        test: metrics on the test rows, if there were any.
        warnings: what was noticed about the table, as sentences.
        balancer: as training left it, with what it learned; ``None`` after :meth:`load`, for it is not saved.
    """

    model: nn.Module
    tasks: tuple[Task, ...]
    history: list[EpochRecord] = field(default_factory=list)
    best_epoch: int = -1
    steps: int = 0
    preprocessor: Preprocessor | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    test: dict[str, dict[str, float]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    balancer: Balancer | None = field(default=None, repr=False)

    def predict(self, data: Source | pl.DataFrame | Path | str) -> dict[str, Tensor] | pl.DataFrame:
        """Predictions in the user's units.

        A source gives ``{task: Tensor [N, ...]}`` (numbers; probabilities of class one; class probabilities). A
        table, or a path to one, gives a table with a column a target: the number or the most probable class, and
        for classes ``TARGET: p(CLASS)`` columns beside it. Targets need not be in the table.

        Raises :class:`DataError` if a feature column is missing or of another type.
        """
        if isinstance(data, Source):
            return _evaluate.predict(self.model, self.tasks, data)
        if self.preprocessor is None:
            raise DataError("this model was not trained on a table: give predict() a source, e.g. sw.TensorSource")
        frame = tables.read_table(data)
        return self._as_table(_evaluate.predict(self.model, self.tasks, self._source(frame)))

    def evaluate(self, data: Source | pl.DataFrame | Path | str) -> dict[str, dict[str, float]]:
        """Metrics over observed examples: task -> metric -> value."""
        if not isinstance(data, Source):
            if self.preprocessor is None:
                raise DataError("this model was not trained on a table: give evaluate() a source")
            data = self.preprocessor.source(tables.read_table(data))
        return _evaluate.evaluate(self.model, self.tasks, data)

    def _example(self) -> dict[str, Tensor]:
        """Inputs of two rows."""
        import torch

        assert self.preprocessor is not None
        p = self.preprocessor
        return {
            "numeric": torch.zeros(2, len(p.numbers)),
            "missing": torch.zeros(2, len(p.indicators)),
            "category": torch.zeros(2, len(p.categories), dtype=torch.int64),
        }

    def _source(self, frame: pl.DataFrame) -> TensorSource:
        """Inputs alone; a source wants some target, and the row numbers are at hand."""
        import torch

        assert self.preprocessor is not None
        return TensorSource(self.preprocessor.encode(frame), {"": torch.arange(len(frame))})

    def _as_table(self, decoded: dict[str, Tensor]) -> pl.DataFrame:
        import polars as pl

        columns: dict[str, Any] = {}
        for task in self.tasks:
            value = decoded[task.name].numpy()
            if task.kind == "regression":
                columns[task.name] = value
                continue
            chosen = value.argmax(1) if task.kind == "multiclass" else (value >= 0.5).astype(int)
            columns[task.name] = [task.classes[i] for i in chosen]
            if task.kind == "multiclass":
                columns |= {f"{task.name}: p({c})": value[:, i] for i, c in enumerate(task.classes)}
            else:
                columns[f"{task.name}: p({task.classes[1]})"] = value
        return pl.DataFrame(columns)

    def save(self, folder: Path | str) -> None:
        """Write ``model.safetensors`` and ``fitted.json`` (with the preprocessing inside) to ``folder``, atomically."""
        folder = Path(folder)
        state = {k: v.detach().cpu().clone().contiguous() for k, v in self.model.state_dict().items()}
        write_bytes(folder / WEIGHTS, to_bytes(state))
        write_json(
            folder / DESCRIPTION,
            {
                "format": 1,
                "tasks": [task_to_json(t) for t in self.tasks],
                "preprocessor": json.loads(self.preprocessor.to_json()) if self.preprocessor else None,
                "settings": self.settings,
                "history": [asdict(r) for r in self.history],
                "best_epoch": self.best_epoch,
                "steps": self.steps,
                "test": _finite(self.test),
                "warnings": self.warnings,
            },
        )

    def export(self, kind: str, path: Path | str) -> None:
        """Write the model for use without this package: ``onnx``, or ``torch`` (a ``torch.export`` program).

        Outputs are decoded (the user's units), one a task; the batch size is free. A table model's inputs are the
        encoded columns (``numeric``, ``missing``, ``category``). Needs ``pip install "sharewise[onnx]"`` for ONNX.
        """
        from ._export import export

        if self.preprocessor is None:
            raise ModelError("export() needs an example input: use sharewise.train.export(model, tasks, inputs, ...)")
        export(self.model, self.tasks, self._example(), kind, path)


def load(folder: Path | str, *, model: nn.Module | None = None, tasks: Sequence[Task] | None = None) -> Fitted:
    """Read what :meth:`Fitted.save` wrote.

    Args:
        model: of the same architecture; needed unless it was fitted by :func:`sharewise.fit_table`.
        tasks: needed if a task has a loss of its own.

    Raises :class:`RunError` if the folder holds no fitted model, :class:`ModelError` if the weights do not fit.
    """
    folder = Path(folder)
    if folder.is_file():
        raise RunError(f'"{folder}" is a file: give the folder that a model was saved in (`sharewise fit --out`)')
    try:
        about = read_json(folder / DESCRIPTION)
        state = from_bytes((folder / WEIGHTS).read_bytes())
    except FileNotFoundError as error:
        raise RunError(f'"{folder}" holds no fitted model ({Path(error.filename).name} is missing)') from None
    except Exception as error:
        raise RunError(f'"{folder}" holds a fitted model that cannot be read: {error}') from None
    found = tuple(tasks) if tasks is not None else tuple(task_from_json(t) for t in about["tasks"])
    preprocessor = tables.Preprocessor.from_json(json.dumps(about["preprocessor"])) if about["preprocessor"] else None
    if preprocessor is not None:
        model = table_model(found, **about["settings"])
    if model is None:
        raise ModelError("this model was not built by fit_table: give load(..., model=YOUR_MODEL)")
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(f"the saved weights do not fit the model: {error}") from None
    model.eval()
    return Fitted(
        model,
        found,
        history=[EpochRecord(**r) for r in about["history"]],
        best_epoch=about["best_epoch"],
        steps=about["steps"],
        preprocessor=preprocessor,
        settings=about["settings"],
        test={t: {m: float("nan") if v is None else v for m, v in d.items()} for t, d in about["test"].items()},
        warnings=about["warnings"],
    )


def _finite(metrics: dict[str, dict[str, float]]) -> dict[str, dict[str, float | None]]:
    """NaN (a metric the labels do not define) travels as null."""
    return {t: {m: v if v == v else None for m, v in d.items()} for t, d in metrics.items()}
