"""Any schedule with any balancer and any optimizer: it trains, and a killed run continues bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch

import sharewise as sw
from helpers.schedules import build
from helpers.small import TASKS, SmallModel, StopAt, splits
from sharewise.optim import SAGE, MAdam

NAMES = [t.name for t in TASKS]
SCHEDULES = ("all", "round_robin", "square_root", "ucb", "plateau_switch", "son_goku")
BALANCERS = ("equal", "uncertainty", "famo", "pcgrad", "moco", "gcond")
OPTIMIZERS: dict[str, Callable[[Iterable[Any]], torch.optim.Optimizer]] = {
    "sgd": lambda groups: torch.optim.SGD(groups, lr=0.05, momentum=0.9),
    "adamw": lambda groups: torch.optim.AdamW(groups, lr=1e-2),
    "madam": lambda groups: MAdam(torch.optim.AdamW(groups, lr=1e-2), NAMES, ramp_steps=4),
    "sage": lambda groups: SAGE(torch.optim.AdamW(groups, lr=1e-2)),
}


def train(schedule: str, balancer: str, optimizer: str, stop: int = -1, out: Path | None = None) -> SmallModel:
    model = SmallModel()
    sw.fit(
        model,
        TASKS,
        splits(96),
        schedule=build(schedule, NAMES, **({"refresh": 2} if schedule == "son_goku" else {})),
        balancer=sw.balance.create(balancer, tasks=NAMES),
        optimizer=OPTIMIZERS[optimizer],
        epochs=2,
        batch_size=32,
        callbacks=[StopAt(stop)],
        progress=False,
        out=out,
        checkpoint_seconds=0.0,
    )
    return model


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("balancer", BALANCERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_any_combination_trains_and_continues(schedule: str, balancer: str, optimizer: str, tmp_path: Path) -> None:
    whole = train(schedule, balancer, optimizer)
    pairs = zip(whole.trunk.parameters(), SmallModel().trunk.parameters(), strict=True)
    assert not any(torch.equal(a, b) for a, b in pairs)
    with pytest.raises(RuntimeError, match="killed"):
        train(schedule, balancer, optimizer, stop=4, out=tmp_path)
    again = train(schedule, balancer, optimizer, out=tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))
