"""Each task its own examples."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sharewise.data import Batch, LoaderSource, PerTaskSource, Source, TensorSource, per_task_tables
from sharewise.data.sets import simulate_table
from sharewise.errors import DataError, OptionError


def source(task: str, n: int, offset: int = 0) -> TensorSource:
    """Examples whose input is their own number, so that they can be followed."""
    x = torch.arange(n, dtype=torch.float32)[:, None] + offset
    return TensorSource(x, {task: x[:, 0] * 2})


def ids(batches: list[Batch]) -> list[float]:
    return [v for b in batches for v in b.inputs[:, 0].tolist()]


SIZES = st.lists(st.integers(1, 60), min_size=1, max_size=4)


def made(sizes: list[int], mix: str | float = "proportional") -> PerTaskSource:
    return PerTaskSource({f"t{i}": source(f"t{i}", n, 1_000 * i) for i, n in enumerate(sizes)}, mix)


@given(SIZES, st.integers(1, 40), st.booleans(), st.sampled_from(["proportional", "equal", "sqrt", 0.3]))
@settings(max_examples=60, deadline=None)
def test_owners_and_masks(sizes: list[int], batch_size: int, shuffle: bool, mix: str | float) -> None:
    together = made(sizes, mix)
    batches = list(together.batches(batch_size, shuffle=shuffle))
    assert sum(len(b) for b in batches) == len(together) == sum(sizes)
    assert all(len(b) == batch_size for b in batches[:-1])
    for b in batches:
        assert set(b.targets) == {f"t{i}" for i in range(len(sizes))}
        owned = torch.stack([b.mask(k) for k in b.targets])
        assert (owned.sum(0) == 1).all()
        for i in range(len(sizes)):
            mine = b.mask(f"t{i}")
            assert torch.equal(b.targets[f"t{i}"][mine], b.inputs[mine, 0] * 2)
            assert ((b.inputs[mine, 0] // 1_000) == i).all()
    if not shuffle or mix == "proportional":
        assert sorted(ids(batches)) == sorted(1_000.0 * i + j for i, n in enumerate(sizes) for j in range(n))


@given(SIZES, st.integers(1, 40), st.integers(0, 8), st.sampled_from(["proportional", "equal"]), st.booleans())
@settings(max_examples=60, deadline=None)
def test_continuing_is_the_same_as_not_stopping(
    sizes: list[int], batch_size: int, start: int, mix: str, shuffle: bool
) -> None:
    options = {"seed": 3, "epoch": 2, "shuffle": shuffle}
    whole = [b.inputs for b in made(sizes, mix).batches(batch_size, **options)]  # type: ignore[arg-type]
    later = [b.inputs for b in made(sizes, mix).batches(batch_size, start=start, **options)]  # type: ignore[arg-type]
    assert len(later) == max(0, len(whole) - start)
    assert all(torch.equal(a, b) for a, b in zip(whole[start:], later, strict=True))


def test_order_is_a_function_of_seed_and_epoch() -> None:
    together = made([30, 50])
    orders = [ids(list(together.batches(8, seed=s, epoch=e, shuffle=True))) for s in (0, 1) for e in (0, 1)]
    assert len({tuple(o) for o in orders}) == 4
    assert ids(list(together.batches(8, seed=1, epoch=1, shuffle=True))) == orders[3]


def test_shares_by_mix() -> None:
    """Rows 900 and 100: proportional 900:100, sqrt 30:10 of 1000 = 750:250, equal 500:500."""
    for mix, expected in (("proportional", 100), ("sqrt", 250), ("equal", 500), (0.5, 250)):
        together = made([900, 100], mix)
        assert int((together.owners(True) == 1).sum()) == expected
        assert int((together.owners(False) == 1).sum()) == 100
    small = [v for v in ids(list(made([900, 100], "equal").batches(50, shuffle=True))) if v >= 1_000]
    for lap in range(5):
        assert sorted(small[lap * 100 : lap * 100 + 100]) == [1_000.0 + i for i in range(100)]
    assert small[:100] != small[100:200]


def test_every_batch_holds_each_task_in_its_share() -> None:
    for b in made([600, 300, 100]).batches(50, shuffle=True):
        shares = [int(b.mask(f"t{i}").sum()) for i in range(3)]
        assert all(abs(s - e) <= 1 for s, e in zip(shares, (30, 15, 5), strict=True))


def test_it_is_a_source_among_others() -> None:
    nested = PerTaskSource({"t0": made([5, 7]), "z": source("z", 9)})
    assert isinstance(nested, Source)
    batch = next(nested.batches(21))
    assert set(batch.targets) == {"t0", "t1", "z"}
    assert int(batch.mask("t1").sum()) == 7


def test_a_loader_with_its_own_batch_size_continues_too() -> None:
    def loader() -> LoaderSource:
        tensors = source("a", 40)
        return LoaderSource(lambda seed, epoch, shuffle: tensors.batches(7, seed=seed, epoch=epoch), 40)

    def together() -> PerTaskSource:
        return PerTaskSource({"a": loader(), "b": source("b", 20)})

    whole = [b.inputs for b in together().batches(8)]
    later = [b.inputs for b in together().batches(8, start=4)]
    assert all(torch.equal(a, b) for a, b in zip(whole[4:], later, strict=True))


def test_weights_and_partly_labelled_sources() -> None:
    a = TensorSource(
        torch.zeros(4, 1), {"a": torch.ones(4)}, {"a": torch.tensor([True, False, True, True])}, torch.full((4,), 2.0)
    )
    b = TensorSource(torch.ones(4, 1), {"b": torch.ones(4, 3)})
    batch = next(PerTaskSource({"a": a, "b": b}).batches(8))
    assert batch.weight is not None and batch.weight.tolist() == [2.0] * 4 + [1.0] * 4
    assert batch.mask("a").tolist() == [True, False, True, True] + [False] * 4
    assert batch.targets["b"].shape == (8, 3)


def test_refused() -> None:
    with pytest.raises(DataError, match="no sources"):
        PerTaskSource({})
    with pytest.raises(OptionError, match="mix must be one of"):
        made([3, 3], "evenly")
    with pytest.raises(OptionError, match="from 0"):
        made([3, 3], 1.5)
    with pytest.raises(DataError, match='source of task "b" has no labels of it'):
        next(PerTaskSource({"a": source("a", 3), "b": source("c", 3)}).batches(2))
    wide = TensorSource(torch.zeros(3, 2), {"b": torch.zeros(3)})
    with pytest.raises(DataError, match="inputs do not match"):
        next(PerTaskSource({"a": source("a", 3), "b": wide}).batches(6))
    named = TensorSource({"x": torch.zeros(3, 1)}, {"b": torch.zeros(3)})
    with pytest.raises(DataError, match="inputs do not match"):
        next(PerTaskSource({"a": source("a", 3), "b": named}).batches(6))


def test_one_table_a_task(tmp_path: Path) -> None:
    first = simulate_table(300, 2, seed=0).drop("y2", "x8")
    second = simulate_table(120, 2, seed=1).drop("y1", "x7")
    first.write_csv(tmp_path / "first.csv")
    second.write_parquet(tmp_path / "second.parquet")
    tables = {"y1": tmp_path / "first.csv", "y2": tmp_path / "second.parquet"}
    data = per_task_tables(tables, mix="equal", seed=1)
    assert data.rows == 420
    assert {"x7", "x8"} <= set(data.preprocessor.indicators)
    train = data.splits.train
    assert isinstance(train, PerTaskSource)
    batch = next(train.batches(40, shuffle=True))
    assert len(batch) == 40
    assert int(batch.mask("y1").sum()) <= 20 and not (batch.mask("y1") & batch.mask("y2")).any()
    with pytest.raises(DataError, match='table of task "z" has no column of that name'):
        per_task_tables({"y1": first, "z": second})
    clash = second.with_columns(x1=pl.struct("x1", "x2"))
    with pytest.raises(DataError, match="do not go together"):
        per_task_tables({"y1": first, "y2": clash})


def test_a_label_counts_only_in_the_table_of_its_task() -> None:
    both = simulate_table(200, 2, unlabelled=0.0)
    data = per_task_tables({"y1": both, "y2": both.head(60)})
    assert {t.name: t.labels for t in data.schema.targets} == {"y1": 200, "y2": 60}
    batch = next(iter(data.splits.train.batches(500)))
    assert not (batch.mask("y1") & batch.mask("y2")).any()
