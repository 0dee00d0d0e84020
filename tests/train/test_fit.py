"""Training: it learns, it stops, it continues bit for bit, and it refuses what it cannot do."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import sharewise as sw
from helpers.small import TASKS, SmallModel, StopAt, splits
from sharewise.errors import BalanceError, ModelError, OptionError, RunError, TaskError
from sharewise.train import Callback, EarlyStopping, Loop, mean_losses

QUICK = {"epochs": 3, "batch_size": 32, "progress": False}
BALANCERS = {
    "equal": {},
    "uncertainty": {},
    "dwa": {},
    "famo": {},
    "gls": {},
    "imtl_l": {},
    "rlw": {},
    "scale_invariant": {},
    "stch": {"warmup": 1},
    "pcgrad": {},
    "graddrop": {},
}


def weights(model: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in model.parameters()]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_it_learns_every_task() -> None:
    data, model = splits(), SmallModel(dropout=0.0)
    before = mean_losses(model, TASKS, data.test)
    fitted = sw.fit(model, TASKS, data, epochs=40, batch_size=32, learning_rate=1e-2, progress=False)
    after = mean_losses(model, TASKS, data.test)
    assert all(after[k] < 0.6 * before[k] for k in before)
    assert fitted.evaluate(data.test)["tall"]["auroc"] > 0.8
    assert fitted.steps == len(fitted.history) * 7


def balancer_for_tasks(name: str) -> sw.balance.Balancer:
    return sw.balance.create(name, tasks=[t.name for t in TASKS], **BALANCERS[name])


@pytest.mark.parametrize("name", BALANCERS)
def test_a_killed_run_continues_bit_for_bit(name: str, tmp_path: Path) -> None:
    whole = SmallModel()
    expected = sw.fit(whole, TASKS, splits(), balancer=balancer_for_tasks(name), accumulate=2, clip=1.0, **QUICK)
    for step in (1, 4, 5, 11):
        out = tmp_path / str(step)
        options = QUICK | {"out": out, "checkpoint_seconds": 0.0, "accumulate": 2, "clip": 1.0}
        with pytest.raises(RuntimeError, match="killed"):
            sw.fit(
                SmallModel(),
                TASKS,
                splits(),
                balancer=balancer_for_tasks(name),
                callbacks=[StopAt(step)],
                **options,
            )
        again = SmallModel(seed=99)
        fitted = sw.fit(again, TASKS, splits(), balancer=balancer_for_tasks(name), callbacks=[StopAt(-1)], **options)
        assert same(weights(again), weights(whole))
        assert [r.valid for r in fitted.history] == [r.valid for r in expected.history]
        assert [r.train for r in fitted.history] == [r.train for r in expected.history]


def test_a_scheduler_and_an_optimizer_of_ones_own_continue_too(tmp_path: Path) -> None:
    options = QUICK | {
        "optimizer": lambda groups: torch.optim.SGD(groups, lr=0.05, momentum=0.9),
        "scheduler": lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5),
    }
    whole = SmallModel()
    sw.fit(whole, TASKS, splits(), **options)
    options |= {"out": tmp_path, "checkpoint_seconds": 0.0}
    with pytest.raises(RuntimeError, match="killed"):
        sw.fit(SmallModel(), TASKS, splits(), callbacks=[StopAt(10)], **options)
    again = SmallModel(seed=99)
    sw.fit(again, TASKS, splits(), callbacks=[StopAt(-1)], **options)
    assert same(weights(again), weights(whole))


def test_a_finished_run_is_only_loaded(tmp_path: Path) -> None:
    first = sw.fit(SmallModel(), TASKS, splits(), out=tmp_path, **QUICK)
    again = sw.fit(SmallModel(seed=5), TASKS, splits(), out=tmp_path, callbacks=[StopAt(1)] * 0, **QUICK)
    assert same(weights(first.model), weights(again.model)) and again.steps == first.steps


def test_the_callers_random_state_is_left_alone() -> None:
    state = torch.get_rng_state()
    sw.fit(SmallModel(), TASKS, splits(), **QUICK)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_seed_decides() -> None:
    models = [SmallModel() for _ in range(3)]
    for model, seed in zip(models, (0, 0, 1), strict=True):
        sw.fit(model, TASKS, splits(), seed=seed, **QUICK)
    assert same(weights(models[0]), weights(models[1])) and not same(weights(models[0]), weights(models[2]))


def test_ctrl_c_saves_and_the_run_continues(tmp_path: Path) -> None:
    class CtrlC(Callback):
        def on_step(self, loop: Loop, balance: object) -> None:
            if loop.step == 3:
                os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)  # a shell may start the tests with it ignored
    whole = SmallModel()
    sw.fit(whole, TASKS, splits(), **QUICK)
    with pytest.raises(KeyboardInterrupt):
        sw.fit(SmallModel(), TASKS, splits(), out=tmp_path, callbacks=[CtrlC()], **QUICK)
    again = SmallModel(seed=9)
    sw.fit(again, TASKS, splits(), out=tmp_path, callbacks=[Callback()], **QUICK)
    assert same(weights(again), weights(whole))
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("balancer", ["equal", "cagrad", "db_mtl"])
def test_accumulation_of_equal_batches_is_the_larger_batch(balancer: str) -> None:
    """The loss of the large batch is the mean of the small ones', if no label is missing; one decision for all."""
    data = splits(64)
    data.train.all.observed.clear()
    large, small = SmallModel(dropout=0.0), SmallModel(dropout=0.0)
    sgd = {"optimizer": lambda groups: torch.optim.SGD(groups, lr=0.1), "epochs": 2, "progress": False}
    sgd["balancer"] = balancer
    sw.fit(large, TASKS, data, batch_size=32, **sgd)
    sw.fit(small, TASKS, data, batch_size=16, accumulate=2, **sgd)
    for a, b in zip(weights(large), weights(small), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_bf16_trains() -> None:
    data, model = splits(), SmallModel(dropout=0.0)
    before = mean_losses(model, TASKS, data.valid)
    sw.fit(model, TASKS, data, precision="bf16-mixed", balancer="pcgrad", epochs=20, batch_size=32, progress=False)
    after = mean_losses(model, TASKS, data.valid)
    assert all(after[k] < before[k] for k in before)
    assert all(p.dtype == torch.float32 for p in model.parameters())


def test_early_stopping_by_hand() -> None:
    stopping = EarlyStopping(patience=2)
    stopping.reference = {"a": 2.0, "b": 4.0}
    assert stopping.improvement({"a": 1.0, "b": 3.0}) == pytest.approx((0.5 + 0.25) / 2)
    assert stopping.update(0, {"a": 1.0, "b": 3.0})
    assert not stopping.update(1, {"a": 1.5, "b": 3.0}) and not stopping.exhausted
    assert not stopping.update(2, {"a": 1.5, "b": 3.0}) and stopping.exhausted
    assert stopping.best_epoch == 0


def test_the_best_epoch_is_kept() -> None:
    data, model = splits(), SmallModel(dropout=0.0)
    fitted = sw.fit(model, TASKS, data, epochs=30, batch_size=8, learning_rate=0.05, patience=3, progress=False)
    best = fitted.history[fitted.best_epoch]
    assert mean_losses(model, TASKS, data.valid) == best.valid
    assert best.improvement >= max(r.improvement for r in fitted.history) - 1e-4


def test_a_callback_can_stop_and_sees_losses() -> None:
    seen = []

    class Watch(Callback):
        def on_losses(self, loop: Loop, batch: sw.Batch, losses: dict[str, Tensor]) -> None:
            seen.append(set(losses))
            loop.stop = len(seen) == 2

    fitted = sw.fit(SmallModel(), TASKS, splits(), callbacks=[Watch()], **QUICK)
    assert fitted.steps == 2 and seen[0] == {"height", "weight", "tall"}


def test_logs(tmp_path: Path) -> None:
    sw.fit(SmallModel(), TASKS, splits(), out=tmp_path, logs=["csv", "tensorboard"], **QUICK)
    lines = (tmp_path / "history.csv").read_text().splitlines()
    assert lines[0].startswith("epoch,improvement,seconds,train/height") and len(lines) == 4
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_another_run_in_the_folder_is_refused(tmp_path: Path) -> None:
    sw.fit(SmallModel(), TASKS, splits(), out=tmp_path, **QUICK)
    with pytest.raises(RunError, match="another run: its seed is 0, now 1"):
        sw.fit(SmallModel(), TASKS, splits(), out=tmp_path, seed=1, **QUICK)
    with pytest.raises(RunError, match="its examples is 200, now 100"):
        sw.fit(SmallModel(), TASKS, splits(100), out=tmp_path, **QUICK)


def test_wrong_input_is_refused_before_training() -> None:
    def fit(**options: object) -> None:
        sw.fit(SmallModel(), options.pop("tasks", TASKS), splits(), **QUICK | options)  # type: ignore[arg-type]

    with pytest.raises(ModelError, match="income"):
        fit(tasks=[*TASKS, sw.regression("income")])
    with pytest.raises(TaskError, match="'height'"):
        fit(tasks=[TASKS[0], TASKS[0]])
    with pytest.raises(OptionError, match="pcgrad"):
        fit(balancer="pcgrd")
    with pytest.raises(OptionError, match="bf16-mixed"):
        fit(precision="16-mixed")
    with pytest.raises(OptionError, match="epochs"):
        fit(epochs=0)
    with pytest.raises(OptionError, match=r"out=FOLDER"):
        fit(logs=["csv"])
    with pytest.raises(OptionError, match="Uncertainty"):
        fit(balancer="uncertainty", optimizer=torch.optim.SGD(SmallModel().parameters(), lr=0.1))


def test_a_loss_that_is_not_finite_names_its_task() -> None:
    data = splits()
    data.train.all.targets["weight"][:] = float("nan")
    with pytest.raises(BalanceError, match="weight"):
        sw.fit(SmallModel(), TASKS, data, **QUICK)


def test_saved_and_loaded(tmp_path: Path) -> None:
    data = splits()
    fitted = sw.fit(SmallModel(), TASKS, data, out=tmp_path, **QUICK)
    again = sw.load(tmp_path, model=SmallModel(seed=3))
    for name, value in fitted.predict(data.test).items():
        assert torch.equal(value, again.predict(data.test)[name])
    assert again.history == fitted.history and again.best_epoch == fitted.best_epoch
    with pytest.raises(ModelError, match="model=YOUR_MODEL"):
        sw.load(tmp_path)
    with pytest.raises(ModelError, match="do not fit"):
        sw.load(tmp_path, model=nn.Linear(2, 2))
    with pytest.raises(RunError, match=r"fitted.json is missing"):
        sw.load(tmp_path / "nowhere")
