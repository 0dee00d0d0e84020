"""One rank of a data-parallel fit; in a module of its own, so that a fresh process can import it."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import sharewise as sw
from helpers.schedules import build
from helpers.small import TASKS, SmallModel, source, splits
from sharewise.train import Callback, Guide, Loop
from sharewise.train._state import save_state


def data() -> sw.Splits:
    made = splits(64)
    made.train.all.observed.clear()  # type: ignore[attr-defined]  # means of means need equal counts
    return made


def unlabelled() -> sw.Splits:
    """No label of the third task to learn from."""
    made = splits(64)
    made.train.all.observed["tall"][:] = False  # type: ignore[attr-defined]
    return made


def by_task() -> sw.Splits:
    """Each task examples of its own."""
    whole, names = source(96, 1), [t.name for t in TASKS]
    parts = {
        name: sw.TensorSource(whole.all.inputs[i::3], {name: whole.all.targets[name][i::3]})
        for i, name in enumerate(names)
    }
    return sw.Splits(sw.PerTaskSource(parts), source(80, 2))


class Turns(Callback):
    """The tasks of every step."""

    def __init__(self) -> None:
        self.seen: list[list[str]] = []

    def on_step(self, loop: Loop, balance: sw.balance.Balance) -> None:
        self.seen.append(list(balance.names))


def scheduled(
    name: str, given: sw.Splits, batch_size: int, fabric: object = None
) -> tuple[list[list[str]], dict[str, Any]]:
    """The tasks of every step under a schedule, and the weights and its state afterwards."""
    turns, model = Turns(), SmallModel(dropout=0.0)
    schedule = build(name, [t.name for t in TASKS], **({"refresh": 2} if name == "son_goku" else {}))
    options = {"epochs": 3, "batch_size": batch_size, "optimizer": sgd, "progress": False, "fabric": fabric}
    sw.fit(model, TASKS, given, balancer="pcgrad", schedule=schedule, callbacks=[turns], **options)
    return turns.seen, {"schedule": schedule.state_dict(), "weights": [p.detach() for p in model.parameters()]}


def guided(batch_size: int, fabric: object = None) -> tuple[Tensor, list[Tensor]]:
    """AIM's thresholds, layer by layer, and the weights after training with guidance."""
    model, given = SmallModel(dropout=0.0), data()
    held = source(32, 9)
    held.all.observed.clear()
    names = [t.name for t in TASKS]
    balancer = sw.balance.create("aim", tasks=names, lr=0.01)
    options = {"epochs": 2, "batch_size": batch_size, "optimizer": sgd, "progress": False, "fabric": fabric}
    sw.fit(model, TASKS, given, balancer=balancer, shared="layers", callbacks=[Guide(held)], **options)
    found = [balancer.group(name).thresholds(names) for name in balancer.group_names]
    return torch.stack(found).nan_to_num(), [p.detach() for p in model.parameters()]


def sgd(groups: list) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=0.1)


BALANCERS = ("equal", "uncertainty", "pcgrad")
WITHOUT = ("gls", "pcgrad")  # the first refuses a loss of zero
SCHEDULES = ("round_robin", "random", "temperature", "ucb", "son_goku")


def rank(index: int, port: int, out: str) -> None:
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import LightningEnvironment
    from lightning_fabric.strategies import DDPStrategy

    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    os.environ |= {"NODE_RANK": "0", "LOCAL_RANK": str(index)}
    torch.set_num_threads(1)
    impatient = DDPStrategy(timeout=timedelta(seconds=60))  # ranks that go apart wait for each other for ever
    fabric = Fabric(accelerator="cpu", devices=2, strategy=impatient, plugins=[LightningEnvironment()])
    fabric.launch()
    options = {"epochs": 2, "batch_size": 16, "optimizer": sgd, "progress": False}
    for balancer in BALANCERS:
        model = SmallModel(dropout=0.0)
        sw.fit(model, TASKS, data(), balancer=balancer, fabric=fabric, **options)
        torch.save([p.detach() for p in model.parameters()], Path(out) / f"{balancer}-{index}.pt")
    for balancer in WITHOUT:
        model = SmallModel(dropout=0.0)
        sw.fit(model, TASKS, unlabelled(), balancer=balancer, fabric=fabric, **options)
        torch.save([p.detach() for p in model.parameters()], Path(out) / f"{balancer}-without-{index}.pt")
    chosen = {}
    for name in SCHEDULES:
        for kind, given in (("aligned", data()), ("partly", splits(64)), ("by task", by_task())):
            chosen[f"{name} {kind}"], after = scheduled(name, given, 16, fabric)
            save_state(Path(out) / f"{name} {kind}-{index}.safetensors", after)
    Path(out, f"chosen-{index}.json").write_text(json.dumps(chosen))
    torch.save(guided(16, fabric), Path(out) / f"guided-{index}.pt")
    torch.distributed.destroy_process_group()
