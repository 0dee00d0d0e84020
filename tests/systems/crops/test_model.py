"""The estimator on seasons of one's own: fit, predict, save, load, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from sharewise.errors import DataError, ModelError, OptionError
from sharewise.systems.crops import CropHybrid, Seasons
from sharewise.systems.crops._model import Method, Sharing

SMALL: dict[str, Any] = {"hidden": 16, "epochs": 2, "batch": 4}


def seasons(names: str = "aabbc", days: int = 40, stage: float = 1.0) -> Seasons:
    random = np.random.default_rng(0)
    n = len(names)
    target = np.full((n, days), np.nan)
    target[:, ::7] = 0
    target[:, 21::7] = stage
    return Seasons(
        tuple(names),
        random.normal(size=(n, days, 3)),
        random.normal(12, 4, (n, days)),
        np.full((n, days), 14.0),
        target,
    )


@pytest.mark.parametrize("method", get_args(Method))
@pytest.mark.parametrize("process", ["phenology", "hardiness"])
def test_every_method_fits_predicts_and_comes_back(tmp_path: Path, method: Any, process: Any) -> None:
    if (method, process) == ("temperature-response", "hardiness"):
        with pytest.raises(OptionError, match='"temperature-response" needs process "phenology"'):
            CropHybrid(method=method, process=process)
        return
    data = seasons(stage=1.0 if process == "phenology" else -12.0)
    model = CropHybrid(method=method, process=process, **SMALL).fit(data)
    found = model.predict(data)
    assert found.output.shape == (5, 40) and np.isfinite(found.output).all()
    if method in ("gru", "pinn", "residual"):
        assert found.parameters is None
    else:
        assert found.parameters is not None and found.parameters.shape == (5, 40, len(found.names))
    model.save(tmp_path / "model.safetensors")
    again = CropHybrid.load(tmp_path / "model.safetensors")
    assert again.settings == model.settings and again.cultivars == ("a", "b", "c")
    assert np.array_equal(again.predict(data).output, found.output)


@pytest.mark.parametrize("sharing", get_args(Sharing))
def test_every_sharing_trains_and_repeats(sharing: Any) -> None:
    data = seasons()
    one, two = (CropHybrid(sharing=sharing, seed=3, **SMALL).fit(data) for _ in range(2))
    assert one.model is not None and two.model is not None
    for p, q in zip(one.model.parameters(), two.model.parameters(), strict=True):
        assert torch.equal(p, q)
    other = CropHybrid(sharing=sharing, seed=4, **SMALL).fit(data)
    assert not np.array_equal(other.predict(data).output, one.predict(data).output) or not np.array_equal(
        other.predict(data).parameters, one.predict(data).parameters
    )


def test_separate_nets_do_not_see_each_other() -> None:
    data = seasons("abbcc")  # the row of "a" is padded
    changed = Seasons(
        data.cultivar, data.features, data.temperature, data.day_length,
        np.where(np.array([n == "c" for n in data.cultivar])[:, None], data.target * 3, data.target),
    )  # fmt: skip
    for sharing, same in (("separate", True), ("concat", False)):
        one, two = (CropHybrid(sharing=sharing, **SMALL).fit(d).predict(data).parameters for d in (data, changed))
        assert one is not None and two is not None
        assert np.array_equal(one[:3], two[:3]) == same
        assert not np.array_equal(one[3:], two[3:])


def test_predictions_do_not_look_at_targets() -> None:
    data = seasons()
    blank = Seasons(data.cultivar, data.features, data.temperature, data.day_length, np.full((5, 40), np.nan))
    model = CropHybrid(**SMALL).fit(data)
    assert np.array_equal(model.predict(data).output, model.predict(blank).output)


def test_order_of_seasons_is_kept() -> None:
    data = seasons()
    rows = [4, 1, 0, 3, 2]
    for sharing in ("concat", "separate"):
        model = CropHybrid(sharing=sharing, **SMALL).fit(data)
        found = model.predict(data).parameters
        assert found is not None and np.abs(found[0] / found[1] - 1).max() > 1e-3, "seasons must differ to tell"
        # Not bit for bit: matrix products may sum in another order.
        np.testing.assert_allclose(model.predict(data.select(rows)).parameters, found[rows], rtol=1e-4)


def test_validation_keeps_the_best_epoch() -> None:
    model = CropHybrid(**{**SMALL, "epochs": 5}).fit(seasons(), seasons("abc"))
    assert model.history is not None and model.history.kept[0] == model.history.validation[:, 0].argmin()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "gruu"}, 'method "gruu" is not known: did you mean "gru"'),
        ({"process": "yield"}, 'process "yield" is not known'),
        ({"hiden": 4}, 'no setting "hiden": did you mean "hidden"'),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"lr": 0.0}, "need lr > 0"),
        ({"physics_weight": 2.0}, "physics_weight in"),
    ],
)
def test_bad_settings_are_named(settings: dict, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        CropHybrid(**settings)


def test_bad_seasons_are_named(tmp_path: Path) -> None:
    data = seasons()
    with pytest.raises(ModelError, match="predict was called before fit"):
        CropHybrid().predict(data)
    with pytest.raises(ModelError, match="save was called before fit"):
        CropHybrid().save(tmp_path / "x")
    with pytest.raises(DataError, match=r"stages must be 0, 1, 2, 3 or 4, found 1\.5"):
        CropHybrid(**SMALL).fit(seasons(stage=1.5))
    target = data.target.copy()
    target[4] = np.nan
    blind = Seasons(data.cultivar, data.features, data.temperature, data.day_length, target)
    with pytest.raises(DataError, match=r"no observation at all for \['c'\]"):
        CropHybrid(**SMALL).fit(blind)
    with pytest.raises(DataError, match=r"same cultivars, \['c'\] differ"):
        CropHybrid(**SMALL).fit(data, seasons("aab"))
    model = CropHybrid(**SMALL).fit(data)
    with pytest.raises(DataError, match='cultivar "d" was not trained on'):
        model.predict(seasons("d"))
    with pytest.raises(DataError, match="seasons have 2 features, trained on 3"):
        model.predict(Seasons(data.cultivar, data.features[:, :, :2], data.temperature, data.day_length, data.target))


def test_only_its_own_files_are_loaded(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"x": torch.ones(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match=r"was not written by CropHybrid\.save"):
        CropHybrid.load(tmp_path / "other.safetensors")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(ModelError, match="cannot be read as safetensors"):
        CropHybrid.load(tmp_path / "text")
    with pytest.raises(ModelError, match="cannot be read as safetensors"):
        CropHybrid.load(tmp_path / "none")
