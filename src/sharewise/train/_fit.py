"""``fit``: a model, its tasks and their data in, a trained model out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..balance import Balancer, Recorder, create
from ..data import Splits
from ..errors import OptionError, RunError
from ..schedule import Schedule
from ..sharing import check_model
from ..tasks import Task, check_tasks
from ._callbacks import Callback
from ._fabric import make_fabric
from ._fitted import Fitted
from ._guide import check_guidance
from ._logs import make_logs
from ._loop import Loop
from ._optimizer import OptimizerMaker, make_optimizer
from ._progress import ProgressBar
from ._schedule import make_schedule
from ._settings import Settings
from ._shared import Given, name_shared
from ._stopping import EarlyStopping


def fit(
    model: nn.Module,
    tasks: Sequence[Task],
    data: Splits,
    *,
    balancer: Balancer | str = "equal",
    shared: Given | None = None,
    schedule: Schedule | str = "all",
    optimizer: OptimizerMaker | torch.optim.Optimizer | None = None,
    learning_rate: float = 1e-3,
    weight_decay: float = 1e-2,
    scheduler: Callable[[torch.optim.Optimizer], Any] | None = None,
    epochs: int = 100,
    batch_size: int = 256,
    patience: int | None = 10,
    accumulate: int = 1,
    clip: float | None = None,
    precision: str = "32-true",
    fabric: Any | None = None,
    mode: str = "auto",
    seed: int = 0,
    out: Path | str | None = None,
    checkpoint_seconds: float = 30.0,
    logs: Sequence[str] = (),
    callbacks: Sequence[Callback | Recorder] = (),
    progress: bool = True,
) -> Fitted:
    """Train ``model`` on ``data`` with mini-batches, stop early, and keep the best weights.

    Args:
        model: ``forward(inputs) -> {task: raw prediction}``; see :class:`sharewise.HardSharing` or bring your own.
        tasks: what is learned; each must be among the model's outputs.
        data: training and validation sources.
        balancer: how the losses become one update: a name (:func:`sharewise.balance.available`) or an object.
        shared: what is balanced, as in :func:`sharewise.backward`: parameters, a module, or a mapping from group names
            to either, so that each group is decided on by itself, with a state of its own. ``"layers"`` makes a group
            of each layer of what is shared; a function is given the model and returns one of the former. Parameters
            that are not named get the sum of the gradients, as heads do. Default: the model's ``shared_parameters()``
            if it has them, else what two or more tasks reach, decided on at once.
        schedule: which tasks train in a step: a name (:func:`sharewise.schedule.available`) or an object for these
            tasks. The others have no loss in the step, and their heads no gradient, so that no optimizer moves them. Of
            a :class:`sharewise.PerTaskSource` only the step's tasks are read, each from where it stopped.
        optimizer: ``make(parameter groups) -> Optimizer``, or an optimizer that already holds the model's and the
            balancer's parameters. One of :mod:`sharewise.optim` gets what it asks for: the tasks' gradient rows, and a
            first backward pass of the mean loss where it takes two (both with the same dropout; the history has the
            losses of the second). Default: AdamW with ``learning_rate`` and ``weight_decay`` (none on the balancer's
            own parameters).
        scheduler: ``make(optimizer) -> learning-rate scheduler``, stepped once an epoch.
        epochs: most epochs. batch_size: examples a batch (and a rank).
        patience: epochs without a better mean relative improvement of the tasks before stopping; ``None``: never.
        accumulate: batches a step. Their gradients are averaged before the balancer decides, once; methods on losses
            weigh each batch by itself.
        clip: largest norm of the whole gradient, applied after balancing.
        precision: ``32-true`` or ``bf16-mixed`` (autocast).
        fabric: a launched ``lightning_fabric.Fabric`` for other devices or several processes; ranks share each epoch.
        mode: how per-task gradients are found; see :func:`sharewise.backward`.
        seed: orders the batches and seeds dropout; the caller's global random state is left as it was.
        out: folder for checkpoints, logs and the result. If it holds a checkpoint of the same run, training continues
            there; on the CPU the outcome is the same bit for bit. A finished run is only loaded.
        checkpoint_seconds: least time between checkpoints (0: after every step).
        logs: any of ``csv``, ``tensorboard``; written to ``out``.
        callbacks: see :class:`sharewise.train.Callback`; a :class:`sharewise.balance.Recorder` is one, and so is the
            :class:`sharewise.train.Guide` that ``aim`` learns from.
        progress: show a bar if standard error is a terminal.

    Raises:
        TaskError, ModelError, OptionError: before any training, naming what is wrong.
        ScheduleError: a task is starved, or a loss the schedule goes by is not finite; names the task.
        BalanceError: a loss or gradient became NaN or infinite; names the task.
        RunError: ``out`` holds another run.
        KeyboardInterrupt: after Ctrl-C, once the state is saved; call again to continue.

    Cost: a forward, the balancer's backward passes (one for methods on losses, one a task otherwise) and a step; one
    more forward where the balancer looks at the step's last batch again (``famo``). Each time that the schedule asks
    for gradients (``son_goku``): a forward pass, and a backward pass a task.
    """
    tasks = check_tasks(list(tasks))
    counts = {"epochs": epochs, "batch_size": batch_size, "accumulate": accumulate}
    _check_counts(**counts, **({} if patience is None else {"patience": patience}))
    numbers = {"learning_rate": learning_rate, "weight_decay": weight_decay, "checkpoint_seconds": checkpoint_seconds}
    _check_numbers(**numbers, **({} if clip is None else {"clip": clip}))
    folder = _check_folder(out)
    fabric = make_fabric(fabric, precision)
    model.to(fabric.device)
    check_model(model, tasks, next(iter(data.valid.batches(2))).to(fabric.device))
    balancer = make_balancer(balancer, tasks).to(fabric.device)
    built = make_optimizer(model, balancer, optimizer, learning_rate, weight_decay)
    bar = ProgressBar()
    loop = Loop(
        model=model,
        tasks=tasks,
        data=data,
        balancer=balancer,
        schedule=make_schedule(schedule, tasks, data.train),
        optimizer=built,
        scheduler=scheduler(built) if scheduler else None,
        fabric=fabric,
        settings=Settings(epochs, batch_size, accumulate, clip, seed, mode, checkpoint_seconds),
        stopping=EarlyStopping(patience),
        callbacks=[*callbacks, *make_logs(tuple(logs), folder), *([bar] if progress else [])],
        out=folder,
        shared=name_shared(shared, model, tasks, data.valid, balancer),
    )
    check_guidance(loop)
    try:
        loop.run()
    finally:
        bar.close()
    best, history = loop.stopping.best_epoch, loop.history
    fitted = Fitted(model, tasks, history=history, best_epoch=best, steps=loop.step, balancer=balancer)
    if folder is not None and fabric.global_rank == 0:
        fitted.save(folder)
    return fitted


def make_balancer(given: Balancer | str, tasks: Sequence[Task]) -> Balancer:
    """The balancer, or the one of that name for these tasks."""
    return create(given, tasks=[t.name for t in tasks]) if isinstance(given, str) else given


def _check_folder(out: Path | str | None) -> Path | None:
    """The folder as a path; raises :class:`RunError` where there can be none."""
    if out is None:
        return None
    folder = Path(out)
    for place in (folder, *folder.parents):
        if place.exists() and not place.is_dir():
            raise RunError(f'out is "{out}", but "{place}" is a file: give a folder, which is made if it is not there')
    return folder


def _check_numbers(**numbers: float) -> None:
    for name, value in numbers.items():
        if not (math.isfinite(value) and value >= 0):
            raise OptionError(f"{name} must be a finite number, not below 0, got {value!r}")


def _check_counts(**counts: int) -> None:
    for name, value in counts.items():
        if not isinstance(value, int) or value < 1:
            raise OptionError(f"{name} must be a whole number of at least 1, got {value!r}")
