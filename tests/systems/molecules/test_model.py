"""PropertyModel on data of one's own: missing labels, both kinds of property, saving, wrong input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sharewise.errors import DataError, ModelError, OptionError
from sharewise.systems.molecules import PropertyModel, PropertyTable
from sharewise.systems.molecules._training import Rows, Settings, layers, tasks_of, train

SMALL = {"encoder": (16, 8), "head": (8,), "epochs": 3, "batch": 20}


def made(count: int = 120, seed: int = 0) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 5))
    size, soluble = 100 + 20 * x[:, 0] + rng.normal(size=count), (x[:, 1] > 0).astype(float)
    size[rng.random(count) < 0.5] = np.nan
    soluble[rng.random(count) < 0.3] = np.nan
    return x, {"size": size, "soluble": soluble, "charge": x[:, 0] - x[:, 2]}


def test_predictions_are_in_the_users_units() -> None:
    x, y = made(600)
    model = PropertyModel(encoder=(32, 8), head=(8,), epochs=30, batch=20, lr=1e-2).fit(x, y)
    found = model.predict(x)
    assert list(found) == ["size", "soluble", "charge"]
    known = ~np.isnan(y["size"])
    assert np.abs(found["size"] - y["size"])[known].mean() < 8
    assert found["soluble"].min() >= 0 and found["soluble"].max() <= 1
    known = ~np.isnan(y["soluble"])
    assert ((found["soluble"] > 0.5) == y["soluble"])[known].mean() > 0.9


@pytest.mark.parametrize("options", [{"sharing": "shared"}, {"sharing": "separate"}, {"balancer": "pcgrad"}])
def test_the_same_seed_gives_the_same_model_and_files_keep_it(options: dict, tmp_path: Path) -> None:
    x, y = made()
    model = PropertyModel(**SMALL, **options, seed=4).fit(x, y)
    again = PropertyModel(**SMALL, **options, seed=4).fit(x, y)
    other = PropertyModel(**SMALL, **options, seed=5).fit(x, y)
    model.save(tmp_path / "model.safetensors")
    loaded = PropertyModel.load(tmp_path / "model.safetensors")
    for name, values in model.predict(x).items():
        assert np.array_equal(values, again.predict(x)[name])
        assert np.array_equal(values, loaded.predict(x)[name])
        assert not np.array_equal(values, other.predict(x)[name])


def test_guidance_is_kept_from_the_network_and_only_for_aim() -> None:
    x, y = made()
    table = PropertyTable.of(x, y)
    aim, plain = PropertyModel(**SMALL).split(table), PropertyModel(**SMALL, balancer="equal").split(table)
    assert plain.guidance is None and len(plain.train) == 108 and len(plain.valid) == 12
    assert aim.guidance is not None and (len(aim.train), len(aim.guidance), len(aim.valid)) == (96, 12, 12)
    assert np.array_equal(aim.valid.features, plain.valid.features)
    seen = {row.tobytes() for row in aim.train.features}
    assert not seen & {row.tobytes() for row in aim.guidance.features}


def test_the_network_does_not_learn_from_guidance_labels() -> None:
    x, y = made()
    model = PropertyModel(**SMALL, options={"lr": 0.0})  # the policy stands still, so guidance can do nothing
    parts = model.split(PropertyTable.of(x, y))
    assert parts.guidance is not None
    before = model.fit_parts(parts).predict(x)
    for labels in parts.guidance.targets.values():
        labels += 3.0
    after = PropertyModel(**SMALL, options={"lr": 0.0}).fit_parts(parts).predict(x)
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_the_policy_is_a_table_of_heat_maps() -> None:
    x, y = made()
    model = PropertyModel(**SMALL, options={"lr": 0.05}).fit(x, y)
    assert model.policy is not None
    frame = model.policy.frame()
    assert frame.shape == (3 * 6, 6)
    assert frame.columns == ["epoch", "task", "other", "tau", "removed", "cosine"]
    assert frame["tau"].abs().max() > 0 and frame["removed"].is_between(0, 1).all()
    assert frame.filter(task="size", other="charge")["epoch"].to_list() == [1, 2, 3]
    last = model.policy.thresholds[-1]
    assert frame.filter(epoch=3, task="size", other="charge")["tau"][0] == last[0, 2]
    assert PropertyModel(**SMALL, balancer="equal").fit(x, y).policy is None


def test_a_property_alone_is_the_separate_network() -> None:
    x, y = made()
    separate = PropertyModel(**SMALL, sharing="separate").fit(x, y)
    alone = PropertyModel(**SMALL, sharing="separate").fit(x, {"charge": y["charge"]})
    assert np.array_equal(separate.predict(x)["charge"], alone.predict(x)["charge"])


def test_the_best_weights_on_validation_are_kept_and_training_stops() -> None:
    x, y = made()
    model = PropertyModel(**SMALL | {"epochs": 60}, balancer="equal", patience=3, lr=0.03)
    parts = model.split(PropertyTable.of(x, y))
    trained = train(parts, model.settings)
    assert len(trained.history) < 60 and len(trained.history) - 1 - int(np.argmin(trained.history)) == 3
    again = Rows(parts.valid, trained.tasks).mean_loss(trained.model)
    assert again == pytest.approx(min(trained.history), abs=1e-6)


def test_labels_are_standardised_by_training_rows() -> None:
    table = PropertyTable.of(np.zeros((4, 1)), {"a": [1.0, 3.0, np.nan, 5.0], "b": [0, 1, np.nan, 1]})
    a, b = tasks_of(table)
    assert (a.kind, a.loc, a.scale) == ("regression", 3.0, pytest.approx(np.sqrt(8 / 3)))
    assert b.kind == "binary"
    # Rows whose labels happen to be 0 and 1 do not make yes-or-no of a number.
    number = PropertyTable.of(np.zeros((4, 1)), {"a": [0.0, 1.0, 1.0, 7.0]}).select([0, 1, 2])
    assert tasks_of(number)[0].kind == "regression"


def test_losses_by_hand_with_missing_labels() -> None:
    units = PropertyTable.of(np.zeros((2, 2)), {name: [-1.0, 1.0] for name in "abc"})  # mean 0, spread 1
    labels = {"a": [1.0, 2.0, np.nan], "b": [np.nan, np.nan, 4.0], "c": [1.0, 2.0, 3.0]}
    table = PropertyTable(np.zeros((3, 2), np.float32), {n: np.float32(y) for n, y in labels.items()}, frozenset())
    rows = Rows(table, tasks_of(units))

    class Zero(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {name: x.sum(1) for name in "abc"}

    found = rows.losses(Zero(), torch.tensor([0, 1]))
    assert {name: float(loss) for name, loss in found.items()} == {"a": 1.5, "c": 1.5}


def test_the_last_layer_is_not_rectified() -> None:
    kinds = [type(layer).__name__ for layer in layers(3, (4, 2), 0.5)]
    assert kinds == ["Linear", "ReLU", "Dropout", "Linear"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"balancr": "aim"}, 'no setting "balancr"; did you mean "balancer"|no setting "balancr"'),
        ({"sharing": "none"}, 'sharing is "none"'),
        ({"guidance": 1.0}, "leave a rest"),
        ({"epochs": 0}, "epochs is 0"),
        ({"encoder": ()}, "encoder is"),
        ({"lr": 0.0}, "lr > 0"),
    ],
)
def test_wrong_settings(change: dict, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        PropertyModel(**change)


def test_wrong_data(tmp_path: Path) -> None:
    x, y = made()
    model = PropertyModel(**SMALL)
    with pytest.raises(ModelError, match="before fit"):
        model.predict(x)
    with pytest.raises(DataError, match=r'property "size" has shape \[3\] for 120'):
        model.fit(x, y | {"size": y["size"][:3]})
    with pytest.raises(DataError, match='property "soluble" has fewer than two'):
        model.fit(x, y | {"soluble": np.ones(120)})
    with pytest.raises(DataError, match='property "size" holds infinity'):
        model.fit(x, y | {"size": np.full(120, np.inf)})
    with pytest.raises(DataError, match="features hold NaN"):
        model.fit(x * np.nan, y)
    with pytest.raises(DataError, match="no properties given"):
        model.fit(x, {})
    rare = np.full(120, np.nan)
    rare[np.random.default_rng(0).permutation(120)[:2]] = [0.5, 2.0]  # both are drawn for validation
    with pytest.raises(DataError, match='property "rare" has no label among the molecules to learn from'):
        model.fit(x, y | {"rare": rare})
    with pytest.raises(DataError, match="features have 4 columns, trained on 5"):
        model.fit(x, y).predict(x[:, :4])
    (tmp_path / "other").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="cannot be read"):
        PropertyModel.load(tmp_path / "other")


def test_settings_that_are_only_a_balancer_of_another_name() -> None:
    with pytest.raises(OptionError, match='balancer "ami" is not known'):
        train(PropertyModel(**SMALL).split(PropertyTable.of(*made())), Settings(balancer="ami"))


def _table():
    return PropertyTable.of(*made())
