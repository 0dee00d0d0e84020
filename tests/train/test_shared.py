"""What is balanced in training, and in which groups: by layer, by name, resumed, recorded, refused."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import torch
from torch import Tensor, nn

import sharewise as sw
from helpers.small import TASKS, SmallModel, splits
from sharewise.balance import Recorder, create, layers, measure
from sharewise.errors import ModelError, OptionError, RunError
from sharewise.optim import MAdam
from sharewise.train import Callback, Loop

QUICK = {"epochs": 2, "batch_size": 64, "progress": False}
NAMES = [t.name for t in TASKS]
LAYERS = ["trunk.0", "trunk.3"]
METHODS = {
    "pcgrad": {},
    "graddrop": {},
    "gradnorm": {},
    "cagrad": {},
    "moco": {},
    "db_mtl": {},
    "gcond": {"accumulate": 2},
}


class Unnamed(nn.Module):
    """The small model without saying what is shared."""

    def __init__(self) -> None:
        super().__init__()
        model = SmallModel()
        self.trunk, self.heads = model.trunk, model.heads

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        z = self.trunk(inputs)
        return {name: head(z).squeeze(1) for name, head in self.heads.items()}


def weights(model: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in model.parameters()]


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(weights(a), weights(b), strict=True))


class Groups(Callback):
    """The groups of every step."""

    def __init__(self, stop: int = -1) -> None:
        self.seen: list[list[str]] = []
        self.stop = stop

    def on_step(self, loop: Loop, balance: sw.balance.Balance) -> None:
        self.seen.append(list(balance.groups))
        if loop.step == self.stop:
            raise RuntimeError("killed")


@pytest.mark.parametrize("kind", [SmallModel, Unnamed])
def test_layers_are_those_of_what_is_shared(kind: type[nn.Module]) -> None:
    watch = Groups()
    sw.fit(kind(), TASKS, splits(), balancer="pcgrad", shared="layers", callbacks=[watch], **QUICK)
    assert watch.seen == [LAYERS] * 8


@pytest.mark.parametrize("method", ["pcgrad", "graddrop", "gradnorm"])
def test_the_steps_are_those_of_a_loop_that_groups(method: str) -> None:
    """``fit`` does what ``backward`` does with the same groups, and something else than without."""
    data = splits()
    sgd = {"optimizer": lambda groups: torch.optim.SGD(groups, lr=0.1), "epochs": 1, "batch_size": 64}
    mine, plain, other = SmallModel(dropout=0.0), SmallModel(dropout=0.0), SmallModel(dropout=0.0)
    sw.fit(mine, TASKS, data, balancer=method, shared="layers", progress=False, patience=None, **sgd)
    sw.fit(other, TASKS, data, balancer=method, progress=False, patience=None, **sgd)
    balancer, optimizer = create(method, tasks=[t.name for t in TASKS]), torch.optim.SGD(plain.parameters(), lr=0.1)
    groups = {name: own for name, own in layers(plain).items() if name in LAYERS}
    for batch in data.train.batches(64, seed=0, epoch=0, shuffle=True):
        raw = plain(batch.inputs)
        losses = {t.name: t.masked_loss(raw[t.name], batch.targets[t.name], batch.observed.get(t.name)) for t in TASKS}
        sw.backward(losses, balancer, shared=groups)
        optimizer.step()
        optimizer.zero_grad()
    assert same(mine, plain)
    assert not same(mine, other)


@pytest.mark.parametrize(
    "shared",
    [
        lambda model: {"all": model.trunk},
        lambda model: model.trunk,
        lambda model: model.trunk.parameters(),
    ],
)
def test_one_group_of_all_decides_as_none(shared: object) -> None:
    mine, plain = SmallModel(), SmallModel()
    sw.fit(mine, TASKS, splits(), balancer="cagrad", shared=shared, **QUICK)
    sw.fit(plain, TASKS, splits(), balancer="cagrad", **QUICK)
    assert same(mine, plain)


def test_what_is_not_named_gets_the_sum() -> None:
    """Of a trunk whose second layer alone is named, the first is trained by the plain sum: one step from the start."""
    options = {"epochs": 1, "batch_size": 200, "progress": False, "patience": None}
    options["optimizer"] = lambda groups: torch.optim.SGD(groups, lr=0.1)
    named, summed, whole = (SmallModel(dropout=0.0) for _ in range(3))
    sw.fit(named, TASKS, splits(), balancer="cagrad", shared=named.trunk[3], **options)
    sw.fit(summed, TASKS, splits(), balancer="equal", **options)
    sw.fit(whole, TASKS, splits(), balancer="cagrad", **options)
    torch.testing.assert_close(named.trunk[0].weight, summed.trunk[0].weight, rtol=1e-5, atol=1e-7)
    assert not torch.allclose(whole.trunk[0].weight, summed.trunk[0].weight, rtol=1e-3)
    assert not torch.allclose(named.trunk[3].weight, summed.trunk[3].weight, rtol=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_a_killed_run_continues_bit_for_bit(method: str, tmp_path: Path) -> None:
    def run(model: SmallModel, step: int = -1, **options: object) -> None:
        balancer = create(method, tasks=[t.name for t in TASKS], **METHODS[method])
        sw.fit(model, TASKS, splits(), balancer=balancer, shared="layers", callbacks=[Groups(step)], **QUICK, **options)

    whole, again = SmallModel(), SmallModel(seed=99)
    run(whole)
    kept = {"out": tmp_path, "checkpoint_seconds": 0.0}
    with pytest.raises(RuntimeError, match="killed"):
        run(SmallModel(), 5, **kept)
    run(again, **kept)
    assert same(whole, again)


def test_other_groups_are_another_run(tmp_path: Path) -> None:
    sw.fit(SmallModel(), TASKS, splits(), balancer="pcgrad", shared="layers", out=tmp_path, **QUICK)
    with pytest.raises(RunError, match=r"its shared is \{'trunk\.0'.*now None"):
        sw.fit(SmallModel(), TASKS, splits(), balancer="pcgrad", out=tmp_path, **QUICK)


def test_a_recorder_tells_the_groups_apart() -> None:
    recorder = Recorder()
    sw.fit(SmallModel(), TASKS, splits(), balancer="pcgrad", shared="layers", callbacks=[recorder], **QUICK)
    record = recorder.read().filter(pl.col("other").is_null())
    assert record["group"].unique().sort(nulls_last=True).to_list() == [*LAYERS, None]
    assert record.filter(pl.col("group").is_null())["weight"].null_count() == 8 * 3  # decided by none
    assert record.filter(pl.col("group") == "trunk.3")["weight"].null_count() == 0


def test_with_a_schedule_and_with_an_optimizer_that_wants_rows() -> None:
    for options in ({"schedule": "round_robin"}, {"optimizer": lambda groups: MAdam(torch.optim.Adam(groups), NAMES)}):
        watch = Groups()
        sw.fit(SmallModel(), TASKS, splits(), balancer="pcgrad", shared="layers", callbacks=[watch], **options, **QUICK)
        assert watch.seen == [LAYERS] * 8


def test_measure_tells_the_groups_apart() -> None:
    model, batch = SmallModel(dropout=0.0), next(splits().train.batches(32))
    raw = model(batch.inputs)
    losses = {t.name: t.masked_loss(raw[t.name], batch.targets[t.name], None) for t in TASKS}
    groups = {"first": model.trunk[0], "second": model.trunk[3]}
    found = measure(losses, shared=groups)
    for name, module in groups.items():
        torch.testing.assert_close(found.groups[name].gram, measure(losses, shared=module).gram)
    torch.testing.assert_close(found.gram, sum(g.gram for g in found.groups.values()))
    assert measure(losses, shared=model.trunk).groups == {}


def frozen() -> SmallModel:
    model = SmallModel()
    model.trunk[0].requires_grad_(False)
    return model


WRONG = {
    "unknown word": ("layer", "pcgrad", OptionError, 'shared "layer" is not known: give "layers"'),
    "on losses": ("layers", "equal", OptionError, "Equal weighs the losses.*leave them out, or take .* pcgrad"),
    "another model": (
        {"a": SmallModel().trunk},
        "pcgrad",
        ModelError,
        r'group "a", holds a parameter of shape \[16, 5\] that the model to train does not have',
    ),
    "in two groups": (lambda m: {"a": m.trunk, "b": m.trunk[0]}, "pcgrad", ModelError, 'in two groups, "a" and "b"'),
    "an empty group": (lambda m: {"a": m.trunk, "b": []}, "pcgrad", ModelError, 'group "b" has no parameter'),
    "no group": ({}, "pcgrad", ModelError, "shared has no parameter"),
    "frozen": (lambda m: {"a": m.trunk[0]}, "pcgrad", ModelError, "shared has no parameter .* thaw"),
    "no parameters": (["trunk"], "pcgrad", ModelError, "shared must hold parameters, got str"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_groups_are_refused_before_training(case: str, tmp_path: Path) -> None:
    shared, balancer, kind, message = WRONG[case]
    with pytest.raises(kind, match=message):
        sw.fit(frozen(), TASKS, splits(), balancer=balancer, shared=shared, out=tmp_path / "out", **QUICK)
    assert not (tmp_path / "out").exists()
