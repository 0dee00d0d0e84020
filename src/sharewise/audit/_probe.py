"""What tasks do to each other while a shared model trains: gradient cosines and lookahead affinity.

References:
    [TAG] Fifty, Amid, Zhao, Yu, Anil, Finn. Efficiently identifying task groupings for multi-task learning.
        NeurIPS 2021, section 3: inter-task affinity.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..data import Batch
from ..tasks import Task
from ..train import Callback, Loop
from ..train._evaluate import evaluating, observed_count


def task_losses(model: nn.Module, tasks: Sequence[Task], batch: Batch, raw: dict[str, Tensor]) -> dict[str, Tensor]:
    """Loss of every task with a label in the batch, from the model's outputs."""
    return {
        t.name: t.masked_loss(raw[t.name], batch.targets[t.name], batch.observed.get(t.name), batch.weight)
        for t in tasks
        if observed_count(batch, t.name)
    }


def shared_gradients(losses: dict[str, Tensor], shared: dict[str, nn.Parameter]) -> dict[str, dict[str, Tensor]]:
    """Task -> parameter name -> gradient of the task's loss; one backward a task, the graph is kept."""
    rows = {}
    for name, loss in losses.items():
        grads = torch.autograd.grad(loss, list(shared.values()), retain_graph=True, allow_unused=True)
        rows[name] = {
            key: torch.zeros_like(p) if g is None else g for (key, p), g in zip(shared.items(), grads, strict=True)
        }
    return rows


def cosines(rows: dict[str, dict[str, Tensor]]) -> Tensor:
    """Cosines between the tasks' gradients, ``[m, m]`` float64; 0 where a gradient is 0."""
    flat = torch.stack([torch.cat([g.flatten().double() for g in row.values()]) for row in rows.values()])
    norms = flat.norm(dim=1)
    unit = flat / norms.clamp_min(torch.finfo(torch.float64).tiny)[:, None]
    return (unit @ unit.T).clamp(-1, 1)


def lookahead(
    model: nn.Module,
    tasks: Sequence[Task],
    batch: Batch,
    losses: dict[str, Tensor],
    steps: dict[str, dict[str, Tensor]],
) -> Tensor:
    """Inter-task affinity Z ``[m, m]`` over the tasks of ``losses`` ([TAG], equation 1).

    ``Z[i, j] = 1 - L_j(shared - step_i) / L_j(shared)`` on the same batch, heads as they are: the share of task
    j's loss that a step on task i alone takes away. ``steps[i]`` is task i's displacement of the shared
    parameters. Cost: a forward pass a task. For a loss of 0 the entry is 0.
    """
    parameters = dict(model.named_parameters())
    names = list(losses)
    z = torch.zeros(len(names), len(names), dtype=torch.float64)
    with torch.no_grad():
        for i, name in enumerate(names):
            moved = {key: parameters[key] - step for key, step in steps[name].items()}
            after = task_losses(model, tasks, batch, functional_call(model, moved, (batch.inputs,)))
            for j, other in enumerate(names):
                before = float(losses[other])
                z[i, j] = (before - float(after[other])) / abs(before) if before else 0.0
    return z


def displacement(optimizer: torch.optim.Optimizer, parameter: nn.Parameter, gradient: Tensor) -> Tensor:
    """The step the optimizer would take on this gradient alone, momentum aside.

    The learning rate times the gradient, divided by the root of Adam's second moment (this gradient included) where
    there is one: with plain gradients, as in [TAG], the step would have little to do with what training does.
    """
    group = next(g for g in optimizer.param_groups if any(p is parameter for p in g["params"]))
    state: dict[str, Any] = optimizer.state.get(parameter, {})
    if "exp_avg_sq" not in state:
        return group["lr"] * gradient
    beta = group["betas"][1]
    second = beta * state["exp_avg_sq"] + (1 - beta) * gradient.square()
    correction = 1 - beta ** (float(state["step"]) + 1)
    return group["lr"] * gradient / ((second / correction).sqrt() + group["eps"])


class SharingProbe(Callback):
    """Measures, a few times an epoch, gradient cosines and lookahead affinity on the training batch at hand.

    Works in evaluation mode on a graph of its own, so training goes on exactly as without it. Cost a probe: a
    backward and two forward passes a task.

    Args:
        per_epoch: probes an epoch, evenly spread.

    Attributes:
        epochs: epoch of every probe. cosine, affinity: ``[m, m]`` of every probe, NaN where a task was absent.
    """

    def __init__(self, per_epoch: int = 1) -> None:
        self.per_epoch = per_epoch
        self.epochs: list[int] = []
        self.cosine: list[Tensor] = []
        self.affinity: list[Tensor] = []

    def on_losses(self, loop: Loop, batch: Batch, losses: dict[str, Tensor]) -> None:
        """Probe if it is time; the first steps of a run, when Adam knows nothing yet, are left out."""
        every = max(1, loop.steps_per_epoch // self.per_epoch)
        if loop.step < every // 2 or (loop.step - every // 2) % every:
            return
        self.measure(loop.model, loop.tasks, batch, loop.optimizer, loop.epoch)

    def measure(
        self,
        model: nn.Module,
        tasks: Sequence[Task],
        batch: Batch,
        optimizer: torch.optim.Optimizer,
        epoch: int,
    ) -> None:
        """One probe."""
        shared = shared_by_name(model)
        with evaluating(model), torch.enable_grad():
            found = task_losses(model, tasks, batch, model(batch.inputs))
            rows = shared_gradients(found, shared)
            steps = {
                task: {key: displacement(optimizer, shared[key], g) for key, g in row.items()}
                for task, row in rows.items()
            }
            z = lookahead(model, tasks, batch, found, steps)
        where = torch.tensor([i for i, t in enumerate(tasks) if t.name in found])
        for values, into in ((cosines(rows), self.cosine), (z, self.affinity)):
            whole = torch.full((len(tasks), len(tasks)), float("nan"), dtype=torch.float64)
            whole[where[:, None], where[None, :]] = values.cpu()
            into.append(whole)
        self.epochs.append(epoch)

    def state_dict(self) -> dict:
        """All probes so far."""
        return {"epochs": self.epochs, "cosine": self.cosine, "affinity": self.affinity}

    def load_state_dict(self, state: dict) -> None:
        """Take back what :meth:`state_dict` gave."""
        self.epochs, self.cosine, self.affinity = state["epochs"], state["cosine"], state["affinity"]


def shared_by_name(model: nn.Module) -> dict[str, nn.Parameter]:
    """The model's shared parameters by their names; all parameters if it does not say which are shared."""
    named = dict(model.named_parameters())
    known = getattr(model, "shared_parameters", None)
    wanted = {id(p) for p in (named.values() if known is None else known())}
    return {k: p for k, p in named.items() if id(p) in wanted and p.requires_grad}
