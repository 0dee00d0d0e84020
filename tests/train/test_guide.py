"""Guidance in training: what AIM learns from, that the model learns nothing from it, resumed, refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sharewise as sw
from helpers.small import TASKS, SmallModel, StopAt, source, splits
from sharewise.balance import AIM
from sharewise.data.sets import simulate_table
from sharewise.errors import DataError, OptionError
from sharewise.train import Callback, Guide, Loop

NAMES = [t.name for t in TASKS]
QUICK = {"epochs": 2, "batch_size": 64, "progress": False}


class Normed(SmallModel):
    """The small model with batch normalisation behind its dropout."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(dropout=0.5, seed=seed)
        self.trunk.append(nn.BatchNorm1d(16))


def aim(**options: Any) -> AIM:
    return AIM(tasks=NAMES, lr=0.01, **options)


def state(module: nn.Module) -> list[Tensor]:
    return list(module.state_dict().values())


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(state(a), state(b), strict=True))


@pytest.mark.parametrize("cross", [False, True])
def test_the_thresholds_are_those_of_a_loop_of_ones_own(cross: bool) -> None:
    """Step, then ``guide`` on the next held-out batch, with the step's last batch for the products where wanted."""
    data, held = splits(), source(40, 9)
    mine, plain = SmallModel(dropout=0.0), SmallModel(dropout=0.0)
    learned, expected = aim(), aim()
    sgd: dict[str, Any] = {"optimizer": lambda groups: torch.optim.SGD(groups, lr=0.1), "patience": None}
    guide = Guide(held, batch_size=16, cross=cross)
    sw.fit(mine, TASKS, data, balancer=learned, callbacks=[guide], **sgd, **QUICK)

    def losses(batch: sw.Batch) -> dict[str, Tensor]:
        raw = plain(batch.inputs)
        return {t.name: t.masked_loss(raw[t.name], batch.targets[t.name], batch.observed.get(t.name)) for t in TASKS}

    def cycle() -> Any:
        for epoch in range(9):
            yield from held.batches(16, seed=0, epoch=epoch, shuffle=True)

    optimizer, guidance = torch.optim.SGD(plain.parameters(), lr=0.1), cycle()
    for epoch in range(2):
        for batch in data.train.batches(64, seed=0, epoch=epoch, shuffle=True):
            sw.backward(losses(batch), expected, shared=plain.trunk)
            optimizer.step()
            optimizer.zero_grad()
            trained = losses(batch) if cross else None
            parts = expected.guide(losses(next(guidance)), trained=trained, shared=plain.trunk)
        expected.end_epoch()
    assert torch.equal(learned.task_state.read("pairs", NAMES), expected.task_state.read("pairs", NAMES))
    assert float(learned.thresholds(NAMES).nan_to_num().abs().max()) > 0.01
    assert len(guide.history) == 2
    assert guide.history[1].keys() == parts.keys() and all(math.isfinite(v) for v in guide.history[1].values())


def test_the_model_learns_nothing_from_guidance() -> None:
    """With thresholds that cannot move, training is that of a frozen policy without guidance: weights, running
    statistics and dropout masks."""

    class Still(AIM):
        def descend(self, found: object) -> dict[str, Tensor]:
            return {}

    guided, alone = Normed(), Normed()
    sw.fit(guided, TASKS, splits(), balancer=Still(tasks=NAMES), callbacks=[Guide(source(40, 9))], **QUICK)
    sw.fit(alone, TASKS, splits(), balancer=AIM(tasks=NAMES, lr=0), **QUICK)
    assert same(guided, alone)


KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {}),
    "scalar and cross": ({"policy": "scalar"}, {}),
    "layers": ({}, {"shared": "layers"}),
    "schedule": ({}, {"accumulate": 2}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_run_continues_bit_for_bit(kind: str, tmp_path: Path) -> None:
    options, more = KINDS[kind]

    def run(model: nn.Module, stop: int, **kept: Any) -> tuple[AIM, Guide]:
        balancer, guide = aim(**options), Guide(source(40, 9), batch_size=16, cross="cross" in kind)
        turns = sw.schedule.create("random", tasks=NAMES, count=2) if kind == "schedule" else "all"
        callbacks = [guide, StopAt(stop)]
        sw.fit(model, TASKS, splits(), balancer=balancer, callbacks=callbacks, schedule=turns, **more, **kept, **QUICK)
        return balancer, guide

    whole, again = Normed(), Normed(seed=99)
    expected, seen = run(whole, -1)
    for step in (1, 3):
        kept = {"out": tmp_path / str(step), "checkpoint_seconds": 0.0}
        with pytest.raises(RuntimeError, match="killed"):
            run(Normed(), step, **kept)
        found, guide = run(again, -1, **kept)
        assert same(whole, again)
        assert guide.history == seen.history
        assert same(expected, found) and found.group_names == expected.group_names


def test_each_layer_learns_thresholds_of_its_own() -> None:
    balancer = aim()
    guide = Guide(source(40, 9), batch_size=16)
    sw.fit(SmallModel(), TASKS, splits(), balancer=balancer, shared="layers", callbacks=[guide], **QUICK)
    first, second = (balancer.group(name).thresholds(NAMES).nan_to_num() for name in ("trunk.0", "trunk.3"))
    assert float(first.abs().max()) > 0 and float(second.abs().max()) > 0 and not torch.equal(first, second)
    assert balancer.task_state.names == []  # the whole decides nothing


def test_guide_with_groups_is_guide_of_each_group() -> None:
    model, batch = SmallModel(dropout=0.0), next(source(40, 9).batches(40))
    raw = model(batch.inputs)
    losses = {t.name: t.masked_loss(raw[t.name], batch.targets[t.name], batch.observed.get(t.name)) for t in TASKS}
    groups = {"first": model.trunk[0], "second": model.trunk[3]}
    together, alone = aim(), {name: aim() for name in groups}
    total = together.guide(losses, shared=groups)
    parts = {name: alone[name].guide(losses, shared=groups[name]) for name in groups}
    for name in groups:
        found, want = together.group(name).thresholds(NAMES), alone[name].thresholds(NAMES)
        torch.testing.assert_close(found, want, equal_nan=True)
    torch.testing.assert_close(total["progress"], parts["first"]["progress"] + parts["second"]["progress"])


def test_a_table_keeps_a_tenth_for_guidance() -> None:
    table = simulate_table(400, targets=3, seed=0)
    seen = []

    class Watch(Callback):
        def on_step(self, loop: Loop, balance: object) -> None:
            seen.append((len(loop.data.train), len(next(c for c in loop.callbacks if isinstance(c, Guide)).source)))

    balancer = sw.balance.create("aim", tasks=["y1", "y2", "y3"])
    options = {"epochs": 1, "progress": False, "callbacks": [Watch()]}
    sw.fit_table(table, ["y1", "y2", "y3"], balancer=balancer, **options)
    assert seen[0] == (216, 24)  # of the 240 training rows
    assert float(balancer.thresholds(["y1", "y2", "y3"]).nan_to_num().abs().max()) > 0
    seen.clear()
    sw.fit_table(table, ["y1", "y2", "y3"], balancer="aim", guidance=0.25, **options)
    assert seen[0] == (180, 60)
    with pytest.raises(OptionError, match=r"guidance=0\.2 would set training rows apart for nothing: PCGrad learns"):
        sw.fit_table(table, ["y1", "y2"], balancer="pcgrad", guidance=0.2)
    with pytest.raises(OptionError, match="a Guide with examples of its own is given"):
        sw.fit_table(table, ["y1", "y2"], balancer="aim", guidance=0.2, callbacks=[Guide(source(40, 9))])


WRONG: dict[str, tuple[str, list[Any], type[Exception], str]] = {
    "no guidance": ("aim", [], OptionError, r"AIM learns from guidance batches.*callbacks=\[.*Guide.*lr=0"),
    "no need of it": ("equal", [Guide(source(40, 9))], OptionError, "Equal learns nothing from guidance batches"),
    "two": ("aim", [Guide(source(4, 9)), Guide(source(4, 8))], OptionError, "two Guides"),
    "none left": ("aim", [Guide(sw.TensorSource(torch.zeros(0, 5), {"height": torch.zeros(0)}))], DataError, "0 guid"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_guidance_is_refused_before_training(case: str, tmp_path: Path) -> None:
    balancer, callbacks, kind, message = WRONG[case]
    with pytest.raises(kind, match=message):
        sw.fit(SmallModel(), TASKS, splits(), balancer=balancer, callbacks=callbacks, out=tmp_path / "out", **QUICK)
    assert not (tmp_path / "out").exists()
    with pytest.raises(OptionError, match="batch_size must be a whole number"):
        Guide(source(4, 9), batch_size=0)
