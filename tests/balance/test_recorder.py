"""The recorder: what is in the table, when the device is asked, and a file that a kill leaves no mark on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import sharewise as sw
from helpers.architectures import Tasks
from helpers.shared_net import batch, net
from helpers.small import TASKS, SmallModel, StopAt, splits
from sharewise.balance import Balance, Recorder, create
from sharewise.errors import OptionError, RunError


def steps(recorder: Recorder, count: int, method: str = "pcgrad", absent: int = -1) -> list[tuple[Balance, dict]]:
    """Steps of a small net; in step ``absent`` its second task has no labels."""
    balancer, taken = create(method), []
    for step in range(count):
        model = net(3, seed=step)
        losses = model.losses(batch())
        if step == absent:
            del losses["task 1"]
        balance = sw.backward(losses, balancer, shared=model.trunk)
        recorder.record(balance, losses, epoch=step // 2)
        taken.append((balance, {name: float(loss.detach()) for name, loss in losses.items()}))
    return taken


def test_every_value_of_a_step_by_name() -> None:
    recorder = Recorder()
    taken = steps(recorder, 5, absent=2)
    frame = recorder.read()
    assert frame.columns == ["step", "epoch", "group", "task", "other", "weight", "loss", "norm", "cosine", "projected"]
    assert len(frame) == 4 * (3 + 6) + (2 + 2)
    for number, (balance, losses) in enumerate(taken, 1):
        here = frame.filter(pl.col("step") == number)
        assert here["epoch"].unique().to_list() == [(number - 1) // 2]
        alone = here.filter(pl.col("other").is_null())
        assert alone["task"].to_list() == list(balance.names)
        assert alone["weight"].to_list() == balance.weight_vector.tolist()
        assert alone["loss"].to_list() == list(losses.values())
        assert alone["norm"].to_list() == [float(v) for v in balance.norms.values()]
        for i, task in enumerate(balance.names):
            for j, other in enumerate(balance.names):
                pair = here.filter((pl.col("task") == task) & (pl.col("other") == other))
                assert len(pair) == (i != j)
                if i != j:
                    assert pair["cosine"].item() == pytest.approx(float(balance.cosines[i, j]), abs=1e-6)
                    assert pair["projected"].item() is bool(balance.notes["projected"][i, j])
    assert 0 < frame["projected"].sum() < frame["projected"].count()


def grouped(recorder: Recorder, count: int = 4) -> list[Balance]:
    """Steps decided on group by group; in one step a task is absent, in another the groups come in another order."""
    model, balancer, taken = Tasks("linear and layer norm"), create("pcgrad"), []
    groups = {"first": model.trunk[0], "rest": model.trunk[2:]}
    for step in range(count):
        losses = model.losses(model.x + step)
        if step == 1:
            del losses["1"]
        taken.append(sw.backward(losses, balancer, shared=dict(reversed(groups.items())) if step == 2 else groups))
        recorder.record(taken[-1], losses)
    return taken


def test_each_group_has_its_rows_after_those_of_the_whole() -> None:
    recorder = Recorder()
    taken = grouped(recorder)
    frame = recorder.read()
    assert frame.equals(frame.sort("step", "group", nulls_last=False, maintain_order=True))
    assert frame["group"].unique(maintain_order=True).to_list() == [None, "first", "rest"]
    for number, balance in enumerate(taken, 1):
        for name, part in {None: balance, **balance.groups}.items():
            here = frame.filter(pl.col("step") == number, pl.col("group").eq_missing(name))
            alone, pairs = here.filter(pl.col("other").is_null()), here.filter(pl.col("other").is_not_null())
            m = len(balance.names)
            assert (len(alone), len(pairs)) == (m, m * (m - 1))
            assert here[:m].equals(alone)
            assert alone["task"].to_list() == list(balance.names)
            assert alone["norm"].to_list() == [float(v) for v in part.norms.values()]
            if name is None:
                assert alone["weight"].null_count() == m and pairs["projected"].null_count() == len(pairs)
                assert alone["loss"].null_count() == 0
            else:
                assert alone["weight"].to_list() == part.weight_vector.tolist()
                off = ~torch.eye(m, dtype=torch.bool)
                assert pairs["projected"].to_list() == part.notes["projected"][off].tolist()


@pytest.mark.parametrize("to_file", [True, False])
def test_groups_are_flushed_and_resumed_as_they_came(to_file: bool, tmp_path: Path) -> None:
    def at(name: str) -> Path | None:
        return tmp_path / f"{name}.arrow" if to_file else None

    one, many, first = Recorder(at("one"), flush=1), Recorder(at("many")), Recorder(at("halved"))
    for recorder in (one, many, first):
        grouped(recorder)
        recorder.close()
    second = Recorder(at("halved"))
    second.load_state_dict(first.state_dict())
    for recorder in (many, second):
        grouped(recorder)
    grouped(one)
    assert one.read().equals(many.read())
    assert second.read().equals(many.read())


@pytest.mark.parametrize("method", ["moco", "excess_mtl"])
def test_weights_of_methods_on_gradients(method: str) -> None:
    recorder = Recorder()
    for balance, losses in steps(recorder, 3, method):
        weights = balance.notes["weights"].tolist()
        assert [float(w) for w in balance.weights.values()] == weights
        assert float(balance.loss) == pytest.approx(sum(w * v for w, v in zip(weights, losses.values(), strict=True)))
    assert recorder.read()["weight"].drop_nulls().to_list()[-3:] == weights


def test_who_was_projected_by_hand() -> None:
    # The second row opposes the first; the third is orthogonal to the second and agrees with the first.
    balancer = create("pcgrad")
    balancer.aggregate(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]))
    assert balancer.notes["projected"].tolist() == [[False, True, False], [True, False, False], [False] * 3]
    balancer.aggregate(torch.tensor([[1.0, 0.0], [0.0, 0.0]]))  # and it is about the last decision alone
    assert balancer.notes["projected"].tolist() == [[False, False], [False, False]]


def test_what_a_method_does_not_tell_is_null() -> None:
    recorder = Recorder()
    steps(recorder, 2, "equal")
    frame = recorder.read()
    assert len(frame) == 6 and frame["weight"].to_list() == [1.0] * 6
    assert all(frame[column].null_count() == 6 for column in ("group", "other", "norm", "cosine", "projected"))


def test_a_skipped_step_has_no_rows() -> None:
    recorder = Recorder()
    recorder.record(Balance((), torch.zeros(()), skipped=("a",)), {})
    assert len(recorder.read()) == 0 and recorder.step == 1


def test_every_so_many_steps() -> None:
    recorder = Recorder(every=3)
    steps(recorder, 8)
    assert recorder.read()["step"].unique().to_list() == [1, 4, 7]


class Fetches(TorchDispatchMode):
    """Counts copies to the host and numbers read from tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func.overloadpacket in (torch.ops.aten._local_scalar_dense, torch.ops.aten._to_copy)
        return func(*args, **(kwargs or {}))


@contextmanager
def counted() -> Iterator[Fetches]:
    with Fetches() as seen:
        yield seen


def test_nothing_is_fetched_before_a_flush(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "steps.arrow", flush=4)
    balance = sw.backward(losses := net(3).losses(batch()), create("pcgrad"))
    with counted() as seen:
        for _ in range(3):
            recorder.record(balance, losses)
        assert seen.count == 0 and not recorder.path.exists()
        recorder.record(balance, losses)
    assert recorder.path.exists() and pl.read_ipc(recorder.path.read_bytes())["step"].max() == 4


@pytest.mark.parametrize("flush", [1, 3, 1000])
def test_when_it_flushes_does_not_matter(flush: int, tmp_path: Path) -> None:
    paths = tmp_path / "a.arrow", tmp_path / "b.arrow"
    for path, size in zip(paths, (flush, 7), strict=True):
        recorder = Recorder(path, flush=size)
        steps(recorder, 9, absent=4)
        recorder.close()
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert Recorder(paths[0]).read().equals(recorder.read())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.arrow", "b.arrow"]


def test_odd_names(tmp_path: Path) -> None:
    names = ("a.b", "", "<script>", "é\u2028\n")
    recorder = Recorder(tmp_path / "x.arrow")
    recorder.record(Balance(names, torch.zeros(()), torch.ones(4)))
    recorder.close()
    assert Recorder(recorder.path).read()["task"].to_list() == list(names)


@pytest.mark.parametrize("to_file", [True, False])
@pytest.mark.parametrize("stop", [1, 5, 8, 12])
def test_a_resumed_run_leaves_the_file_of_an_uninterrupted_one(stop: int, to_file: bool, tmp_path: Path) -> None:
    def fit(name: str, stop: int) -> Recorder:
        recorder = Recorder(tmp_path / f"{name}.arrow" if to_file else None, flush=3)
        options = {"out": tmp_path / name, "checkpoint_seconds": 0.0, "epochs": 3, "batch_size": 50}
        watching = [recorder, StopAt(stop)]
        sw.fit(SmallModel(), TASKS, splits(), balancer="pcgrad", callbacks=watching, progress=False, **options)
        return recorder

    whole = fit("whole", -1)
    with pytest.raises(RuntimeError, match="killed"):
        fit("killed", stop)
    again = fit("killed", -1)
    assert again.read().equals(whole.read())
    assert whole.read()["step"].max() == 12 and whole.read()["epoch"].unique().to_list() == [0, 1, 2]
    assert whole.read().filter(pl.col("other").is_null())["loss"].null_count() == 0
    if to_file:
        assert (tmp_path / "whole.arrow").read_bytes() == (tmp_path / "killed.arrow").read_bytes()


def test_rows_written_after_the_state_are_dropped(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "x.arrow", flush=1)
    steps(recorder, 2)
    state = recorder.state_dict()
    before = recorder.read()
    steps(recorder, 3)
    recorder.close()
    again = Recorder(tmp_path / "x.arrow")
    again.load_state_dict(state)
    assert again.read().equals(before) and again.step == 2


def test_a_recording_that_does_not_fit_its_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "x.arrow"
    recorder = Recorder(path)
    steps(recorder, 2)
    state = recorder.state_dict()
    short = Recorder(path)
    steps(short, 1)
    short.close()
    with pytest.raises(RunError, match=r'"[^"]*x\.arrow" has 9 rows, the checkpoint was written after 18'):
        Recorder(path).load_state_dict(state)
    path.write_bytes(b"no arrow at all")
    with pytest.raises(RunError, match="not a recording"):
        Recorder(path).load_state_dict(state)
    path.unlink()
    with pytest.raises(RunError, match=r'x\.arrow" is missing'):
        Recorder(path).load_state_dict(state)


@pytest.mark.parametrize("options", [{"every": 0}, {"flush": 0}, {"every": 1.5}])
def test_wrong_options(options: dict) -> None:
    with pytest.raises(OptionError, match="must be a whole number of at least 1"):
        Recorder(**options)


def test_no_extra_backward_pass() -> None:
    """The graph is gone after ``backward``; a recorder that wanted more of it would fail."""
    losses: dict[str, Tensor] = net(3).losses(batch())
    balance = sw.backward(losses, create("pcgrad"))
    recorder = Recorder()
    recorder.record(balance, losses)
    with pytest.raises(RuntimeError, match="second time"):
        losses["task 0"].backward()
    assert recorder.read()["norm"].drop_nulls().len() == 3
