"""The tabular encoder: any mix of columns, rebuilt from JSON, rows independent of each other."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor

import sharewise as sw
from sharewise.errors import OptionError
from sharewise.sharing import TabularEncoder, table_model

EMBEDDINGS = ("piecewise", "periodic", "linear", "none")
BINS = [[-1.0, 0.0, 1.0], [-2.0, 2.0], [0.0, 0.1, 0.2, 3.0]]


def inputs(
    rows: int = 6, numeric: int = 3, missing: int = 2, categories: tuple[int, ...] = (4, 7)
) -> dict[str, Tensor]:
    return {
        "numeric": torch.randn(rows, numeric),
        "missing": torch.randint(0, 2, (rows, missing)).float(),
        "category": torch.stack([torch.randint(0, c, (rows,)) for c in categories], 1)
        if categories
        else torch.zeros(rows, 0, dtype=torch.int64),
    }


@pytest.mark.parametrize("embedding", EMBEDDINGS)
@pytest.mark.parametrize(
    ("numeric", "missing", "categories"), [(3, 2, (4, 7)), (3, 0, ()), (0, 2, ()), (0, 0, (4,)), (0, 1, (2,))]
)
def test_any_mix_of_columns(embedding: str, numeric: int, missing: int, categories: tuple[int, ...]) -> None:
    encoder = TabularEncoder(
        numeric, missing, categories, width=10, numeric_embedding=embedding, bins=BINS[:numeric], embedding=4
    )
    out = encoder(inputs(6, numeric, missing, categories))
    assert out.shape == (6, 10)
    out.sum().backward()
    assert all(p.grad is not None for p in encoder.parameters())


@pytest.mark.parametrize("embedding", EMBEDDINGS)
def test_every_column_matters(embedding: str) -> None:
    encoder = TabularEncoder(3, 2, (4, 7), numeric_embedding=embedding, bins=BINS).eval()
    x = inputs(1)
    base = encoder(x)
    for group, column in (("numeric", 0), ("numeric", 2), ("missing", 1), ("category", 0), ("category", 1)):
        other = {k: v.clone() for k, v in x.items()}
        values = other[group][:, column]
        values.copy_({"numeric": values + 0.7, "missing": 1 - values, "category": (values + 1) % 4}[group])
        assert not torch.equal(encoder(other), base), (group, column)


def test_categories_have_their_own_vectors() -> None:
    encoder = TabularEncoder(0, 0, (3, 5), embedding=2)
    joined = []
    encoder.join.register_forward_pre_hook(lambda module, args: joined.append(args[0]))
    encoder(inputs(2, 0, 0, ()) | {"category": torch.tensor([[2, 0], [0, 4]])})
    vectors = encoder.codes.weight
    assert len(vectors) == 8
    assert torch.equal(joined[0][0], torch.cat([vectors[2], vectors[3]]))
    assert torch.equal(joined[0][1], torch.cat([vectors[0], vectors[7]]))


def test_rows_do_not_influence_each_other() -> None:
    encoder = TabularEncoder(3, 2, (4, 7), bins=BINS).eval()
    x = inputs(8)
    alone = encoder({k: v[3:4] for k, v in x.items()})
    assert torch.allclose(encoder(x)[3:4], alone, atol=1e-6)


@pytest.mark.parametrize("embedding", EMBEDDINGS)
def test_rebuilt_from_json_it_predicts_the_same(embedding: str) -> None:
    first = TabularEncoder(
        3, 2, (4, 7), width=12, depth=1, dropout=0.3, numeric_embedding=embedding, bins=BINS, embedding=5, frequencies=2
    )
    config = json.loads(json.dumps(first.config(), allow_nan=False))
    second = TabularEncoder.from_config(config)
    second.load_state_dict(first.state_dict())
    x = inputs()
    assert torch.equal(first.eval()(x), second.eval()(x))
    assert second.config() == first.config()


def test_changing_the_config_returned_changes_nothing() -> None:
    encoder = TabularEncoder(3, 0, (), bins=BINS)
    encoder.config()["bins"][0].append(9.0)
    assert encoder.config()["bins"] == BINS


def test_table_model_has_a_head_a_task() -> None:
    tasks = [sw.regression("a.b"), sw.binary("c"), sw.multiclass("d", 3)]
    model = table_model(tasks, numeric=3, missing=2, categories=[4, 7], bins=BINS, width=16, depth=1)
    out = model(inputs())
    assert {k: tuple(v.shape) for k, v in out.items()} == {"a.b": (6,), "c": (6,), "d": (6, 3)}
    again = table_model(tasks, **json.loads(json.dumps(model.config)))
    again.load_state_dict(model.state_dict())


def test_dropout_only_while_training() -> None:
    encoder = TabularEncoder(3, 0, (), bins=BINS, dropout=0.5)
    x = inputs(categories=())
    assert not torch.equal(encoder(x), encoder(x))
    encoder.eval()
    assert torch.equal(encoder(x), encoder(x))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 0}, "width must be at least 1"),
        ({"depth": -1}, "depth must be at least 0"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\)"),
        ({"embedding": 0}, "embedding must be at least 1"),
        ({"numeric_embedding": "picewise"}, 'did you mean "piecewise"'),
        ({"bins": None}, "needs the bin edges of all 3 numeric columns, got none"),
        ({"bins": BINS[:2]}, "got 2"),
        ({"categories": (3, 0)}, "at least one code"),
        ({"numeric": 0, "missing": 0, "categories": ()}, "no input columns"),
    ],
)
def test_settings_outside_their_range(change: dict[str, Any], message: str) -> None:
    settings = {"numeric": 3, "missing": 2, "categories": (4,), "bins": BINS, **change}
    with pytest.raises(OptionError, match=message):
        TabularEncoder(**settings)


@pytest.mark.parametrize("embedding", EMBEDDINGS)
def test_it_learns_a_step_function(embedding: str) -> None:
    torch.manual_seed(0)
    x = torch.rand(400, 1) * 2 - 1
    y = (x[:, 0] > 0.3).float()
    edges = [torch.linspace(-1, 1, 11).tolist()]
    model = table_model(
        [sw.binary("y")], numeric=1, missing=0, categories=[], bins=edges, width=16, numeric_embedding=embedding
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    empty = {"missing": torch.zeros(400, 0), "category": torch.zeros(400, 0, dtype=torch.int64)}
    for _ in range(120):
        optimizer.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model({"numeric": x, **empty})["y"], y)
        loss.backward()
        optimizer.step()
    model.eval()
    right = ((model({"numeric": x, **empty})["y"] > 0) == (y > 0.5)).float().mean()
    assert right > 0.97
