"""Several properties of molecules from one network, or from one each: for data of one's own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ...errors import DataError, ModelError, OptionError, nearest
from ...files import write_bytes
from ...tasks import task_from_json, task_to_json
from ._policy import PolicyHistory
from ._table import Array, PropertyTable
from ._training import Parts, Settings, Trained, network, train

_FORMAT = "sharewise-properties-1"
_FARTHEST = 5.0


class PropertyModel:
    """Predicts several properties from features of molecules, labels of which may be missing.

    M. Minot, G. Schneider, "AIM: Adaptive Intervention for Deep Multi-task Learning of Molecular Properties", 2025
    (arXiv 2509.25955). A shared encoder with a head for each property; properties whose labels are all 0 or 1 are
    learned as yes or no, the others by the absolute error of standardised labels. With ``balancer="aim"`` a tenth of
    the molecules is set aside for the policy and never seen by the network.

    Args:
        balancer, options: name of the balancing method and its options, see :func:`sharewise.balance.create`.
        sharing: ``shared``, or ``separate``: a network of the same size for each property, trained on its molecules.
        validation, guidance: shares of the molecules set aside for choosing the best epoch, and for the policy.
        encoder: widths of the encoder's layers, the last one what the heads see.
        head: widths of a head's hidden layers.
        dropout: in the encoder.
        epochs, batch, lr, weight_decay: of Adam; 300 to 400 epochs, 32, 1e-3 or 5e-4 in the paper.
        plateau, patience: epochs without a better validation loss before the learning rate is halved, and before
            training ends.
        cross: take AIM's look-ahead along training gradients (see :meth:`sharewise.balance.AIM.guide`).
        seed: same seed and machine, same result.

    Raises :class:`OptionError` for an unknown name or a value outside its range.
    """

    def __init__(
        self, *, sharing: str = "shared", validation: float = 0.1, guidance: float = 0.1, **settings: Any
    ) -> None:
        known = tuple(Settings.__dataclass_fields__)
        for name in settings:
            if name not in known:
                raise OptionError(f'no setting "{name}": {nearest(name, known)}')
        if sharing not in ("shared", "separate"):
            raise OptionError(f'sharing is "{sharing}", expected "shared" or "separate"')
        if not (0 < validation < 1 and 0 < guidance < 1 and validation + guidance < 1):
            raise OptionError(f"validation {validation} and guidance {guidance} must be shares that leave a rest")
        self.sharing, self.validation, self.guidance = sharing, validation, guidance
        self.settings = Settings(**settings)
        self.trained: list[Trained] = []

    def fit(self, features: npt.ArrayLike, targets: Mapping[str, npt.ArrayLike]) -> PropertyModel:
        """Train on ``features`` ``[n, d]`` and ``targets``: property -> ``[n]``, NaN where it was not measured.

        Columns are standardised by the training rows and cut at five standard deviations. Raises
        :class:`DataError` naming what is wrong. Returns itself.
        """
        table = PropertyTable.of(features, targets)
        if not table.targets:
            raise DataError("no properties given: targets maps each name to its labels")
        return self.fit_parts(self.split(table))

    def split(self, table: PropertyTable) -> Parts:
        """Molecules drawn for validation and, if the balancer learns from guidance, for that; the rest trains."""
        order = np.random.default_rng(self.settings.seed).permutation(len(table))
        first = max(1, round(self.validation * len(table)))
        second = first + max(1, round(self.guidance * len(table)))
        if self.settings.balancer != "aim" or self.sharing == "separate":
            return Parts(table.select(order[first:]), table.select(order[:first]))
        return Parts(table.select(order[second:]), table.select(order[:first]), table.select(order[first:second]))

    def fit_parts(self, parts: Parts) -> PropertyModel:
        """As :meth:`fit`, with the parts given."""
        self._loc, self._scale = parts.train.features.mean(0), parts.train.features.std(0)
        self._scale[self._scale == 0] = 1.0
        valid, held = self._scaled(parts.valid), parts.guidance
        made = Parts(self._scaled(parts.train), valid, None if held is None else self._scaled(held))
        if self.sharing == "shared":
            self.trained = [train(made, self.settings)]
            return self
        alone = replace(self.settings, balancer="equal", options={})
        self.trained = [
            train(Parts(made.train.only([name]), made.valid.only([name])), alone) for name in parts.train.names
        ]
        return self

    def predict(self, features: npt.ArrayLike) -> dict[str, npt.NDArray[np.float64]]:
        """Property -> numbers in its units, or probabilities of yes, ``[n]``."""
        if not self.trained:
            raise ModelError("predict was called before fit: fit or load a model first")
        x = PropertyTable.of(features).features
        if x.shape[1] != len(self._loc):
            raise DataError(f"features have {x.shape[1]} columns, trained on {len(self._loc)}")
        scaled = torch.from_numpy(self._cut(x))
        found: dict[str, npt.NDArray[np.float64]] = {}
        with torch.no_grad():
            for one in self.trained:
                raw = one.model(scaled)
                found |= {t.name: t.decode(raw[t.name]).double().numpy() for t in one.tasks}
        return found

    def score(self, table: PropertyTable) -> dict[str, dict[str, float]]:
        """Property -> its metrics on the labelled molecules of ``table`` (``mae``; ``auroc``, ``log_loss``)."""
        predicted = self.predict(table.features)
        scores = {}
        for task in (task for one in self.trained for task in one.tasks):
            known = ~np.isnan(table.targets[task.name])
            labels = torch.from_numpy(table.targets[task.name][known]).double()
            scores[task.name] = task.evaluate(torch.from_numpy(predicted[task.name][known]), labels)
        return scores

    @property
    def policy(self) -> PolicyHistory | None:
        """What AIM's policy did in training, epoch by epoch; ``None`` for other balancers and loaded models."""
        return self.trained[0].policy if self.trained else None

    def save(self, path: Path | str) -> None:
        """Write one safetensors file that holds weights, settings, properties and scaling."""
        from safetensors.torch import save

        if not self.trained:
            raise ModelError("save was called before fit: there is nothing to save")
        about = {
            "model": {"sharing": self.sharing, "validation": self.validation, "guidance": self.guidance},
            "settings": asdict(self.settings),
            "tasks": [[task_to_json(t) for t in one.tasks] for one in self.trained],
        }
        tensors = {f"{i}.{k}": v for i, one in enumerate(self.trained) for k, v in one.model.state_dict().items()}
        tensors |= {"loc": torch.from_numpy(self._loc), "scale": torch.from_numpy(self._scale)}
        write_bytes(path, save(tensors, {"format": _FORMAT, "about": json.dumps(about)}))

    @classmethod
    def load(cls, path: Path | str) -> PropertyModel:
        """Read what :meth:`save` wrote. Raises :class:`ModelError` if the file is something else."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(path), "pt") as file:
                meta = file.metadata() or {}
                tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise ModelError(f'"{path}" cannot be read as safetensors: {error}') from error
        if meta.get("format") != _FORMAT:
            raise ModelError(f'"{path}" was not written by PropertyModel.save')
        about = json.loads(meta["about"])
        settings = about["settings"] | {name: tuple(about["settings"][name]) for name in ("encoder", "head")}
        made = cls(**about["model"], **settings)
        made._loc, made._scale = tensors.pop("loc").numpy(), tensors.pop("scale").numpy()
        for i, saved in enumerate(about["tasks"]):
            tasks = tuple(task_from_json(t) for t in saved)
            model = network(len(made._loc), tasks, made.settings)
            own = f"{i}."
            model.load_state_dict({k.removeprefix(own): v for k, v in tensors.items() if k.startswith(own)})
            made.trained.append(Trained(model.eval(), tasks, [], None))
        return made

    def _cut(self, features: Array) -> Array:
        return ((features - self._loc) / self._scale).clip(-_FARTHEST, _FARTHEST)

    def _scaled(self, table: PropertyTable) -> PropertyTable:
        return replace(table, features=self._cut(table.features))
