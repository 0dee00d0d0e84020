"""The estimator: fit crop models on seasons, predict stages or hardiness, save and load."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...errors import DataError, ModelError, OptionError, nearest
from ...files import write_bytes
from ._baselines import ConstantCalibration, DeepForecaster, StockModel, TemperatureResponse
from ._dynamic import Days, DynamicCalibration
from ._hardiness import FergusonHardiness
from ._network import Conditioning
from ._phenology import GDDPhenology
from ._process import Process
from ._seasons import Seasons
from ._training import History, train

Method = Literal["dynamic", "constant", "temperature-response", "gru", "pinn", "residual", "stock"]
Sharing = Literal["concat", "add", "mult", "multi-head", "one-hot", "separate"]
_FORMAT = "sharewise crop-hybrid 1"


@dataclass(frozen=True)
class Prediction:
    """``output [N, T]``: stage or LTE50 of every day; ``parameters [N, T, P]`` named by ``names``, or None."""

    output: NDArray[np.float64]
    parameters: NDArray[np.float64] | None
    names: tuple[str, ...]


@dataclass(frozen=True)
class Settings:
    """Everything that decides how a :class:`CropHybrid` is built and trained; see there."""

    process: Literal["phenology", "hardiness"] = "phenology"
    method: Method = "dynamic"
    sharing: Sharing = "concat"
    hidden: int = 48
    epochs: int = 60
    batch: int = 24
    lr: float = 5e-3
    lr_factor: float = 0.95
    every: int = 1
    smooth: float | None = None
    start_at_stock: bool = False
    physics_weight: float = 0.5
    clip: float | None = None
    seed: int = 0
    official_clamp: bool = False

    def __post_init__(self) -> None:
        for name, known in {
            "process": ("phenology", "hardiness"), "method": get_args(Method), "sharing": get_args(Sharing)
        }.items():  # fmt: skip
            if getattr(self, name) not in known:
                value = getattr(self, name)
                raise OptionError(f'crop-hybrid: {name} "{value}" is not known: {nearest(str(value), known)}')
        for name in ("hidden", "epochs", "batch", "every"):
            if getattr(self, name) < 1:
                raise OptionError(f"crop-hybrid: {name} must be at least 1, found {getattr(self, name)}")
        if self.method == "temperature-response" and self.process != "phenology":
            raise OptionError('crop-hybrid: method "temperature-response" needs process "phenology"')
        if not self.lr > 0 or not 0 <= self.physics_weight <= 1:
            raise OptionError(
                f"crop-hybrid: need lr > 0 and physics_weight in [0, 1], found {self.lr}, {self.physics_weight}"
            )


class CropHybrid:
    """Crop stage or cold hardiness of many cultivars by a biophysical model that a network re-calibrates daily.

    W. Solow et al., "A Hybrid Modeling Framework for Crop Prediction Tasks via Dynamic Parameter
    Calibration and Multi-Task Learning", 2026 (arXiv 2603.15411). The cultivars are the tasks.

    Args:
        process: ``"phenology"`` (growing-degree-day stages, target 0 to 4) or ``"hardiness"`` (Ferguson's
            model, target LTE50 in degrees Celsius).
        method: ``"dynamic"`` is the paper's. For comparison: ``"constant"`` (one learned parameter vector
            a cultivar), ``"temperature-response"`` (constant parameters and a learned response), ``"gru"``
            (a network alone), ``"pinn"`` (network that also sees and is drawn to the stock model, with
            weight ``physics_weight``), ``"residual"`` (network on top of the stock model), ``"stock"``.
        sharing: how the network knows the cultivar: ``"concat"``, ``"add"`` or ``"mult"`` an embedding,
            ``"one-hot"``, ``"multi-head"``; or ``"separate"``: a network for each cultivar, trained side
            by side. With ``"separate"`` a step takes ``batch / cultivars`` seasons of each cultivar, so
            that both ways take the same number of steps over the same number of seasons.
        hidden: width of the GRU, 1024 in the paper; networks of the deep methods have twice as many.
        epochs, batch, lr, lr_factor: 400, 12, 2e-4 and 0.95 in the paper.
        every: predict parameters every so many days (cheaper); 1 in the paper.
        smooth: scale of the smoothed range cast, or ``None`` for the plain one.
        start_at_stock: initial parameters near the stock values instead of mid-range.
        clip: largest gradient norm of a network; none in the paper.
        seed: same seed and machine, same result.
        official_clamp: hardiness with the bound order of the published code.

    Raises:
        OptionError: for an unknown name or a value outside its range.
    """

    def __init__(self, **settings: Any) -> None:
        known = tuple(Settings.__dataclass_fields__)
        for name in settings:
            if name not in known:
                raise OptionError(f'crop-hybrid: no setting "{name}": {nearest(name, known)}')
        self.settings = Settings(**settings)
        s = self.settings
        self.process: Process = (
            GDDPhenology() if s.process == "phenology" else FergusonHardiness(official_clamp=s.official_clamp)
        )
        self.cultivars: tuple[str, ...] = ()
        self.model: nn.Module | None = None
        self.history: History | None = None

    def fit(self, seasons: Seasons, validation: Seasons | None = None) -> CropHybrid:
        """Train; with ``validation``, every network keeps its best epoch there. Returns itself.

        Raises:
            DataError: a cultivar without any observation, a stage outside 0 to 4, or ``validation`` that
                lacks a cultivar, has one more, or other features or days.
        """
        self._check(seasons)
        self.cultivars = seasons.cultivars
        flat = seasons.features.reshape(-1, seasons.features.shape[-1])
        self._loc, spread = flat.mean(0), flat.std(0)
        self._scale = np.where(spread > 0, spread, 1.0)
        self.model = self._build(seasons.features.shape[-1])
        if self.settings.method == "stock":
            return self
        if validation is not None:
            self._check(validation)
            if validation.cultivars != self.cultivars:
                odd = sorted(set(self.cultivars) ^ set(validation.cultivars))
                raise DataError(f"crop-hybrid: training and validation must hold the same cultivars, {odd} differ")
        days, _ = self._arrange(seasons)
        s = self.settings
        self.history = train(
            self.model,
            days,
            None if validation is None else self._arrange(validation)[0],
            seeds=self._seeds(),
            epochs=s.epochs,
            batches=max(1, min(days.cultivar.shape[1], -(-len(seasons) // s.batch))),
            lr=s.lr,
            lr_factor=s.lr_factor,
            physics_weight=s.physics_weight if s.method == "pinn" else 0.0,
            clip=s.clip,
        )
        return self

    def predict(self, seasons: Seasons) -> Prediction:
        """Forecast every day of ``seasons``; their targets are not looked at.

        Raises:
            ModelError: before :meth:`fit`.
            DataError: an unknown cultivar, or another number of features than in training.
        """
        if self.model is None:
            raise ModelError("crop-hybrid: predict was called before fit; fit or load a model first")
        if seasons.features.shape[-1] != len(self._loc):
            raise DataError(
                f"crop-hybrid: seasons have {seasons.features.shape[-1]} features, trained on {len(self._loc)}"
            )
        days, place = self._arrange(seasons)
        with torch.no_grad():
            forecast = self.model(days)
        nets, rows = place.unbind(1)
        output = forecast.output[nets, :, rows].double().numpy()
        if forecast.parameters is None:
            return Prediction(output, None, ())
        return Prediction(output, forecast.parameters[nets, :, rows].double().numpy(), self.process.box.names)

    def save(self, path: Path | str) -> None:
        """Write one safetensors file that holds weights, settings, cultivars and scaling."""
        from safetensors.torch import save

        if self.model is None:
            raise ModelError("crop-hybrid: save was called before fit; there is nothing to save")
        about = {
            "settings": asdict(self.settings), "cultivars": self.cultivars,
            "loc": self._loc.tolist(), "scale": self._scale.tolist(),
        }  # fmt: skip
        tensors = {k: v.contiguous() for k, v in self.model.state_dict().items()}
        # An empty file of weights is not valid, and the stock model has none.
        tensors["format"] = torch.ones(1)
        write_bytes(path, save(tensors, {"format": _FORMAT, "about": json.dumps(about)}))

    @classmethod
    def load(cls, path: Path | str) -> CropHybrid:
        """Read what :meth:`save` wrote. Raises :class:`ModelError` if the file is something else."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(path), "pt") as file:
                meta = file.metadata() or {}
                tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise ModelError(f'crop-hybrid: "{path}" cannot be read as safetensors: {error}') from error
        if meta.get("format") != _FORMAT:
            raise ModelError(f'crop-hybrid: "{path}" was not written by CropHybrid.save')
        about = json.loads(meta["about"])
        made = cls(**about["settings"])
        made.cultivars = tuple(about["cultivars"])
        made._loc, made._scale = np.array(about["loc"]), np.array(about["scale"])
        made.model = made._build(len(made._loc))
        tensors.pop("format")
        made.model.load_state_dict(tensors)
        return made

    @property
    def _separate(self) -> bool:
        return self.settings.sharing == "separate"

    def _seeds(self) -> list[int]:
        """A seed for each net; a cultivar's net does not depend on which others are trained beside it."""
        names: Sequence[str] = self.cultivars if self._separate else [""]
        return [_mix(self.settings.seed, name) for name in names]

    def _build(self, features: int) -> nn.Module:
        s, process, seeds = self.settings, self.process, self._seeds()
        tasks = 1 if self._separate else len(self.cultivars)
        conditioning: Conditioning = "none" if s.sharing == "separate" else s.sharing
        if s.method == "stock":
            return StockModel(process)
        if s.method == "constant":
            return ConstantCalibration(process, len(seeds), tasks)
        if s.method == "temperature-response":
            return TemperatureResponse(process, seeds, tasks)
        if s.method == "dynamic":
            return DynamicCalibration(
                process, seeds, features, tasks, s.hidden, conditioning, s.every, s.smooth, s.start_at_stock
            )
        physics: Literal["none", "informed", "residual"] = "none"
        if s.method != "gru":
            physics = "informed" if s.method == "pinn" else "residual"
        return DeepForecaster(process, seeds, features, tasks, 2 * s.hidden, conditioning, physics)

    def _check(self, seasons: Seasons) -> None:
        seen = {c for c, row in zip(seasons.cultivar, seasons.observed, strict=True) if row.any()}
        blind = sorted(set(seasons.cultivar) - seen)
        if blind:
            raise DataError(f"crop-hybrid: no observation at all for {blind}; drop these cultivars")
        if self.settings.process == "phenology":
            stages = seasons.target[seasons.observed]
            if not np.isin(stages, range(5)).all():
                odd = stages[~np.isin(stages, range(5))][0]
                raise DataError(f"crop-hybrid: stages must be 0, 1, 2, 3 or 4, found {odd}")

    def _arrange(self, seasons: Seasons) -> tuple[Days, Tensor]:
        """Seasons laid out for the nets, and each season's (net, row)."""
        where = {name: i for i, name in enumerate(self.cultivars)}
        for name in seasons.cultivar:
            if name not in where:
                raise DataError(f'crop-hybrid: cultivar "{name}" was not trained on: {nearest(name, where)}')
        tasks = [where[name] for name in seasons.cultivar]
        net_of = tasks if self._separate else [0] * len(tasks)
        nets = len(self.cultivars) if self._separate else 1
        rows: list[list[int]] = [[] for _ in range(nets)]
        place = []
        for season, net in enumerate(net_of):
            place.append((net, len(rows[net])))
            rows[net].append(season)
        width = max(len(r) for r in rows)
        # Short rows repeat a season of which nothing is observed.
        index = np.array([r + [-1] * (width - len(r)) for r in rows])
        real = (index >= 0)[:, None, :]

        def lay(values: NDArray[np.float64]) -> Tensor:
            return torch.as_tensor(np.moveaxis(values[index], 2, 1), dtype=torch.get_default_dtype())

        observed = lay(seasons.observed.astype(np.float64)) * torch.as_tensor(real)
        cultivar = torch.zeros(index.shape, dtype=torch.long)
        if not self._separate:
            cultivar = torch.as_tensor(np.array(tasks))[torch.as_tensor(index)]
        days = Days(
            lay((seasons.features - self._loc) / self._scale), lay(seasons.temperature),
            lay(seasons.day_length), cultivar, lay(np.nan_to_num(seasons.target)), observed,
        )  # fmt: skip
        if self.settings.method in ("pinn", "residual"):
            with torch.no_grad():
                days = days._replace(stock=StockModel(self.process)(days).output)
        return days, torch.tensor(place)


def _mix(seed: int, name: str) -> int:
    """A seed from a seed and a name, the same on every machine."""
    import zlib

    return (int(seed) * 1_000_003 + zlib.crc32(name.encode())) % (2**63)
