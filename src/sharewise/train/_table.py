"""``fit_table``: from a file with several targets to a trained model in one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .. import data as tables  # its names that need Polars are loaded where they are used
from ..balance import Balancer, GuidedBalancer
from ..data import TableSpec
from ..errors import OptionError
from ..sharing import HardSharing, table_model
from ..tasks import Task
from . import _evaluate
from ._fit import fit, make_balancer
from ._fitted import Fitted
from ._guide import Guide

if TYPE_CHECKING:
    import polars as pl

    from ..data import Preprocessor, TableData

_GUIDANCE = 0.1


def fit_table(
    table: pl.DataFrame | Path | str,
    targets: Sequence[str],
    *,
    kinds: Mapping[str, str] | None = None,
    group: str | None = None,
    time: str | None = None,
    weight: str | None = None,
    drop: Sequence[str] = (),
    keep_leaks: bool = False,
    valid: float = 0.2,
    test: float = 0.2,
    guidance: float | None = None,
    seed: int = 0,
    model: Mapping[str, Any] | None = None,
    **options: Any,
) -> Fitted:
    """Train one shared model for several columns of a table.

    Args:
        table: a data frame or the path of a CSV, TSV, Parquet, Arrow or JSON-lines file.
        targets: columns to predict. All others are features, unless named below.
        kinds: column -> kind, where the guess is not wanted (``{"age": "regression", "zip": "category"}``).
        group: no value of this column on both sides of a split. time: train on the past, test on the future.
        weight: example weights. drop: columns to leave out.
        keep_leaks: use columns that seem to give a target away; they are left out and reported otherwise.
        valid: share of the rows held out for stopping.
        test: share of the rows held out for the metrics.
        guidance: share of the training rows set apart for a balancer that learns from them (``aim``; see
            :class:`sharewise.train.Guide`); a tenth, unless a ``Guide`` is among the callbacks.
        seed: of the split, the initial weights and the order of batches.
        model: settings of the encoder (``width``, ``depth``, ``dropout``, ``numeric_embedding``, ...).
        **options: as in :func:`sharewise.fit`.

    Returns the fitted model with its preprocessing, its test metrics and the warnings about the table.
    Raises :class:`DataError` or :class:`TaskError` naming the column at fault.
    """
    spec = TableSpec(
        targets=tuple(targets),
        kinds=dict(kinds or {}),
        group=group,
        time=time,
        weight=weight,
        drop=tuple(drop),
    )
    # A model that will be used learns from the latest rows it can: the seed moves no time split.
    data = tables.load_splits(table, spec, seed=seed, valid=valid, test=test, keep_leaks=keep_leaks, rolling=False)
    return fit_data(data, guidance=guidance, seed=seed, model=model, **options)


def fit_data(
    data: TableData,
    *,
    guidance: float | None = None,
    seed: int = 0,
    model: Mapping[str, Any] | None = None,
    **options: Any,
) -> Fitted:
    """The same for a table that was read and split already; see :func:`sharewise.data.load_splits`."""
    tasks = data.preprocessor.tasks()
    options["balancer"] = make_balancer(options.get("balancer", "equal"), tasks)
    share = guided_share(guidance, options["balancer"], options.get("callbacks", ()))
    if share is not None:
        data, held_out = tables.set_apart(data, share, seed=seed)
        options["callbacks"] = [*options.get("callbacks", ()), Guide(held_out)]
    built, settings = build_table_model(data.preprocessor, tasks, seed=seed, **dict(model or {}))
    out = options.get("out")
    fitted = fit(built, tasks, data.splits, seed=seed, **options)
    fitted.preprocessor, fitted.settings = data.preprocessor, settings
    fitted.warnings = [w.text for w in data.warnings]
    if data.splits.test is not None and len(data.splits.test):
        fitted.test = _evaluate.evaluate(fitted.model, tasks, data.splits.test)
    if out is not None:
        fitted.save(out)
    return fitted


def guided_share(given: float | None, balancer: Balancer, callbacks: Sequence[object]) -> float | None:
    """The share of the training rows to set apart for the balancer; raises :class:`OptionError` where it needs none."""
    learns = isinstance(balancer, GuidedBalancer) and balancer.learns
    guided = any(isinstance(callback, Guide) for callback in callbacks)
    if given is not None and (guided or not learns):
        why = "a Guide with examples of its own is given" if guided else f"{type(balancer).__name__} learns from none"
        raise OptionError(f"guidance={given:g} would set training rows apart for nothing: {why}; leave it out")
    return _GUIDANCE if learns and not guided and given is None else given


def build_table_model(
    preprocessor: Preprocessor, tasks: Sequence[Task], *, seed: int = 0, **settings: Any
) -> tuple[HardSharing, dict[str, Any]]:
    """A hard-sharing model for encoded rows, and the JSON-able settings that build it again.

    Weights are drawn from ``seed``; the caller's global random state is left as it was.
    """
    full = {
        "numeric": len(preprocessor.numbers),
        "missing": len(preprocessor.indicators),
        "categories": preprocessor.cardinalities,
        "bins": preprocessor.bins,
        **settings,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return table_model(tasks, **full), full
