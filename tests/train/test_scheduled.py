"""Training by a schedule: who has a loss, whose head stands still, what is read, and the same after a kill."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import sharewise as sw
from helpers.schedules import build, options
from helpers.small import TASKS, SmallModel, source, splits
from sharewise.data import PerTaskSource
from sharewise.errors import DataError, OptionError, ScheduleError
from sharewise.schedule import Curriculum, FixedSwitch, Gradients, RoundRobin, Schedule, Signal, available
from sharewise.train import Callback, Loop
from sharewise.train._schedule import label_counts

NAMES = [t.name for t in TASKS]
QUICK = {"epochs": 2, "batch_size": 32, "progress": False}


class Diary(Callback):
    """Who had a loss in each step; with ``stop``, the step after which the run is killed."""

    def __init__(self, stop: int = -1) -> None:
        self.stop, self.steps = stop, []

    def on_losses(self, loop: Loop, batch: sw.Batch, losses: dict[str, Tensor]) -> None:
        self.steps.append(list(losses))

    def on_step(self, loop: Loop, balance: object) -> None:
        if loop.step == self.stop:
            raise RuntimeError("killed")

    def state_dict(self) -> dict:
        return {"steps": self.steps}

    def load_state_dict(self, state: dict) -> None:
        self.steps = state["steps"]


def own_sources() -> sw.Splits:
    """Each task its own rows: 120, 60 and 20."""
    parts = {}
    for name, rows, seed in zip(NAMES, (120, 60, 20), (1, 2, 3), strict=True):
        whole = source(rows, seed).all
        parts[name] = sw.TensorSource(whole.inputs, {name: whole.targets[name]})
    return sw.Splits(PerTaskSource(parts), source(60, 4))


def test_only_the_tasks_of_a_step_have_a_loss() -> None:
    diary = Diary()
    sw.fit(SmallModel(), TASKS, splits(), schedule="round_robin", callbacks=[diary], **QUICK)
    assert diary.steps == [[NAMES[i % 3]] for i in range(14)]


@pytest.mark.parametrize("balancer", ["equal", "pcgrad", "uncertainty"])
def test_the_head_of_an_absent_task_stands_still(balancer: str) -> None:
    """With AdamW, whose momentum and decay would move a head whose gradient is zero instead of none."""

    class Watch(Callback):
        def on_fit_start(self, loop: Loop) -> None:
            self.before = self.heads(loop)

        def heads(self, loop: Loop) -> dict[str, Tensor]:
            return {
                n: torch.cat([p.detach().flatten().clone() for p in loop.model.heads[n].parameters()]) for n in NAMES
            }

        def on_step(self, loop: Loop, balance: object) -> None:
            after = self.heads(loop)
            moved = [n for n in NAMES if not torch.equal(after[n], self.before[n])]
            assert moved == loop.schedule.tasks(loop.step - 1)
            self.before = after

    sw.fit(
        SmallModel(),
        TASKS,
        splits(),
        schedule=RoundRobin(NAMES, count=2),
        balancer=balancer,
        weight_decay=0.5,
        callbacks=[Watch()],
        **QUICK,
    )


def test_all_is_what_it_was() -> None:
    plain, scheduled = SmallModel(), SmallModel()
    sw.fit(plain, TASKS, splits(), **QUICK)
    sw.fit(scheduled, TASKS, splits(), schedule=RoundRobin(NAMES, count=3), **QUICK)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), scheduled.parameters(), strict=True))


@pytest.mark.parametrize("name", available())
@pytest.mark.parametrize("data", [splits, own_sources], ids=["aligned", "per task"])
def test_a_killed_run_continues_bit_for_bit(name: str, data: object, tmp_path: Path) -> None:
    def run(model: nn.Module, stop: int = -1, **more: object) -> list:
        diary = Diary(stop)
        schedule = build(name, NAMES, **({"refresh": 3} if name == "son_goku" else {}))
        sw.fit(model, TASKS, data(), schedule=schedule, balancer="pcgrad", callbacks=[diary], **QUICK | more)
        return diary.steps

    whole = SmallModel()
    expected = run(whole)
    assert len(expected) == 14
    again = SmallModel(seed=99)
    keep = {"out": tmp_path, "checkpoint_seconds": 0.0}
    with pytest.raises(RuntimeError, match="killed"):
        run(SmallModel(), stop=9, **keep)
    assert run(again, **keep) == expected
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))


def test_sources_of_absent_tasks_are_not_read_and_the_others_are_read_whole() -> None:
    """Of 120 rows of height, each 32-row step takes the next ones: all once before any comes twice."""

    class Rows(Callback):
        def __init__(self) -> None:
            self.seen: Counter = Counter()

        def on_losses(self, loop: Loop, batch: sw.Batch, losses: dict[str, Tensor]) -> None:
            assert list(losses) == ["height"] and bool(batch.mask("height").all())
            self.seen.update(map(float, batch.inputs[:, 0]))

    rows = Rows()
    schedule = Curriculum(NAMES, stages=[(14, ["height"]), (None, NAMES)])
    sw.fit(SmallModel(), TASKS, own_sources(), schedule=schedule, callbacks=[rows], **QUICK)
    counts = Counter(rows.seen.values())
    assert sum(rows.seen.values()) == 14 * 32 and set(counts) == {3, 4} and counts[4] == 14 * 32 - 3 * 120


def test_the_reader_shares_a_batch_by_the_mix() -> None:
    whole = own_sources().train
    batch = whole.reader(30, seed=3).take(["height", "weight"])
    assert [int(batch.mask(n).sum()) for n in NAMES] == [20, 10, 0]
    whole.exponent = 0.0
    batch = whole.reader(30, seed=3).take(["height", "tall"])
    assert [int(batch.mask(n).sum()) for n in NAMES] == [15, 0, 15]
    with pytest.raises(DataError, match='task "hight" has no source of its own; did you mean "height"'):
        whole.reader(30).take(["hight"])


def test_sizes_are_counted_where_they_are_needed() -> None:
    observed = int(splits().train.all.observed["tall"].sum())
    assert label_counts(NAMES, splits().train) == {"height": 200, "weight": 200, "tall": observed}
    assert label_counts(NAMES, own_sources().train) == {"height": 120, "weight": 60, "tall": 20}
    diary = Diary()
    sw.fit(SmallModel(), TASKS, own_sources(), schedule="proportional", callbacks=[diary], **QUICK | {"epochs": 20})
    seen = Counter(step[0] for step in diary.steps)
    assert seen["height"] > seen["weight"] > seen["tall"] > 0


def test_a_step_waits_for_a_batch_with_labels_of_its_tasks() -> None:
    """``tall`` is labelled on the last rows alone: its steps pass over batches, and none is lost for the others."""
    data = splits(64)
    data.train.all.observed["tall"] = torch.zeros(64, dtype=torch.bool)
    diary = Diary()
    sw.fit(SmallModel(), TASKS, data, schedule="round_robin", callbacks=[diary], **QUICK | {"batch_size": 16})
    assert diary.steps == [["height"], ["weight"]]


def test_the_schedule_is_told_losses_and_parameters() -> None:
    class Told(Schedule):
        uses = frozenset({"losses", "parameters"})
        told: list[Signal]

        def _choose(self, step: int) -> list[str]:
            return [self.names[step % 2]]

        def _learn(self, step: int, signal: Signal) -> None:
            assert list(signal.losses) == self.tasks(step) and len(list(signal.parameters)) > 0
            self.told.append(signal)

    schedule = Told(NAMES)
    schedule.told = []
    sw.fit(SmallModel(), TASKS, splits(), schedule=schedule, **QUICK | {"accumulate": 2})
    assert len(schedule.told) == 8


class Asks(Schedule):
    """Asks for gradients at every second step, and keeps what it got."""

    def __init__(self, names: list[str], form: str) -> None:
        super().__init__(names)
        self.uses, self.got = frozenset({form}), {}

    def probes(self, step: int) -> list[str]:
        return list(self.names) if step % 2 == 0 and step not in self.got else []

    def _choose(self, step: int) -> list[str]:
        return [self.names[step % 3]]

    def _learn(self, step: int, signal: Signal) -> None:
        if signal.gradients is not None:
            found = signal.gradients
            rows = None if found.rows is None else torch.stack(list(found.rows))
            self.got[step] = Gradients(found.names, found.gram, rows)


@pytest.mark.parametrize("form", ["gram", "rows"])
def test_a_probe_shows_the_gradients_and_leaves_no_trace(form: str) -> None:
    silent, asked = SmallModel(), SmallModel()
    sw.fit(silent, TASKS, splits(), schedule="round_robin", **QUICK)
    schedule = Asks(NAMES, form)
    sw.fit(asked, TASKS, splits(), schedule=schedule, **QUICK)
    assert all(torch.equal(a, b) for a, b in zip(silent.parameters(), asked.parameters(), strict=True))
    assert sorted(schedule.got) == list(range(0, 14, 2))
    assert all(found.names == tuple(NAMES) for found in schedule.got.values())


def test_a_batch_without_labels_of_its_task_shows_no_gradient() -> None:
    data, schedule = own_sources(), Asks(NAMES, "rows")
    few = data.train.sources["weight"].all
    few.observed["weight"] = torch.arange(60) < 8
    sw.fit(SmallModel(), TASKS, data, schedule=schedule, **QUICK | {"batch_size": 4})
    shown = {found.names for found in schedule.got.values()}
    assert shown == {("height", "weight", "tall"), ("height", "tall")}
    assert all(len(found.rows) == len(found.names) for found in schedule.got.values())


def test_both_forms_agree() -> None:
    by_gram, by_rows = Asks(NAMES, "gram"), Asks(NAMES, "rows")
    for schedule in (by_gram, by_rows):
        sw.fit(SmallModel(dropout=0.0), TASKS, splits(), schedule=schedule, **QUICK)
    for step, found in by_gram.got.items():
        rows = by_rows.got[step].rows
        torch.testing.assert_close(found.gram, (rows @ rows.T).double(), rtol=1e-4, atol=1e-7)


class NoNames(nn.Module):
    """A model that does not say what it shares."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = SmallModel()

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return self.inner(x)


def test_what_is_shared_is_found_once_from_all_tasks() -> None:
    """A step of one task cannot tell: its head would count as shared."""
    told, found = SmallModel(), NoNames()
    for model in (told, found):
        sw.fit(model, TASKS, splits(), schedule="round_robin", balancer="moco", **QUICK)
    assert all(torch.equal(a, b) for a, b in zip(told.parameters(), found.parameters(), strict=True))


def test_a_schedule_of_other_tasks_is_refused() -> None:
    with pytest.raises(OptionError, match='is for task "hight", which is not trained; did you mean "height"'):
        sw.fit(SmallModel(), TASKS, splits(), schedule=RoundRobin([*NAMES, "hight"]), **QUICK)
    with pytest.raises(OptionError, match='does not know task "tall", so it would never train'):
        sw.fit(SmallModel(), TASKS, splits(), schedule=RoundRobin(NAMES[:2]), **QUICK)
    with pytest.raises(OptionError, match='schedule "robin" is not known'):
        sw.fit(SmallModel(), TASKS, splits(), schedule="robin", **QUICK)


def test_a_starved_task_ends_training() -> None:
    with pytest.raises(ScheduleError, match='leaves task "weight" out of 3 steps'):
        sw.fit(SmallModel(), TASKS, splits(), schedule=build("random", NAMES, max_absence=2, seed=1), **QUICK)


def test_another_schedule_is_another_run(tmp_path: Path) -> None:
    sw.fit(SmallModel(), TASKS, splits(), schedule="round_robin", out=tmp_path, **QUICK)
    with pytest.raises(sw.errors.RunError, match="its schedule is 'RoundRobin', now 'FixedSwitch'"):
        sw.fit(SmallModel(), TASKS, splits(), schedule=FixedSwitch(NAMES, 2), out=tmp_path, **QUICK)
    assert options("fixed_switch", NAMES)
