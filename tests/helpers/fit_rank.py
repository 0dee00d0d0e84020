"""One rank of a data-parallel fit; in a module of its own, so that a fresh process can import it."""

from __future__ import annotations

import os
from pathlib import Path

import torch

import sharewise as sw
from helpers.small import TASKS, SmallModel, splits


def data() -> sw.Splits:
    made = splits(64)
    made.train.all.observed.clear()  # type: ignore[attr-defined]  # means of means need equal counts
    return made


def unlabelled() -> sw.Splits:
    """No label of the third task to learn from."""
    made = splits(64)
    made.train.all.observed["tall"][:] = False  # type: ignore[attr-defined]
    return made


def sgd(groups: list) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=0.1)


BALANCERS = ("equal", "uncertainty", "pcgrad")
WITHOUT = ("gls", "pcgrad")  # the first refuses a loss of zero


def rank(index: int, port: int, out: str) -> None:
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import LightningEnvironment

    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    os.environ |= {"NODE_RANK": "0", "LOCAL_RANK": str(index)}
    torch.set_num_threads(1)
    fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp", plugins=[LightningEnvironment()])
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
    torch.distributed.destroy_process_group()
