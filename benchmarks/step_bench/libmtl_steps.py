"""A full training step with LibMTL's weightings, from a checkout of its repository.

Only ``LibMTL.weighting`` is imported, through a package that stands in for its ``__init__``: that one asks for
torchvision and torch_geometric, and its trainer for a GPU. Options are its command line's defaults (FairGrad: alpha 2).
"""

from __future__ import annotations

import importlib
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from backward_modes import Problem

from .worker import Make, Step

CLASSES = {
    "aligned_mtl": "Aligned_MTL", "cagrad": "CAGrad", "db_mtl": "DB_MTL", "dwa": "DWA", "equal": "EW",
    "excess_mtl": "ExcessMTL", "fairgrad": "FairGrad", "famo": "FAMO", "gls": "GLS", "graddrop": "GradDrop",
    "gradnorm": "GradNorm", "gradvac": "GradVac", "imtl_g": "IMTL", "mgda": "MGDA", "moco": "MoCo", "modo": "MoDo",
    "nashmtl": "Nash_MTL", "pcgrad": "PCGrad", "rlw": "RLW", "sdmgrad": "SDMGrad", "stch": "STCH",
    "uncertainty": "UW", "upgrad": "UPGrad",
}  # fmt: skip
ON_REPRESENTATIONS = {"graddrop"}
"""Methods it has for gradients of the representation only."""
OPTIONS: dict[str, Any] = {
    "T": 2.0, "alpha": 1.5, "calpha": 0.5, "rescale": 1, "mgda_gn": "none", "leak": 0.0,
    "GradVac_beta": 0.5, "GradVac_group_type": 0, "update_weights_every": 1, "optim_niter": 20, "max_norm": 1.0,
    "MoCo_beta": 0.5, "MoCo_beta_sigma": 0.5, "MoCo_gamma": 0.1, "MoCo_gamma_sigma": 0.5, "MoCo_rho": 0,
    "DB_beta": 0.9, "DB_beta_sigma": 0, "STCH_mu": 1.0, "STCH_warmup_epoch": 4, "robust_step_size": 1e-2,
    "FairGrad_alpha": 2.0, "FAMO_w_lr": 0.025, "FAMO_w_gamma": 1e-3, "MoDo_gamma": 1e-3, "MoDo_rho": 0.1,
    "SDMGrad_lamda": 0.3, "SDMGrad_niter": 20, "UPGrad_norm_eps": 1e-4, "UPGrad_reg_eps": 1e-4,
}  # fmt: skip
EPOCH = 5  # past every warm-up


def load(tree: Path) -> types.ModuleType:
    """``LibMTL.weighting`` of the checkout in ``tree``."""
    if not (tree / "LibMTL" / "weighting").is_dir():
        raise SystemExit(f'--libmtl: "{tree}" is no checkout of LibMTL (it has no LibMTL/weighting)')
    package = types.ModuleType("LibMTL")
    package.__path__ = [str(tree / "LibMTL")]
    sys.modules["LibMTL"] = package
    return importlib.import_module("LibMTL.weighting")


def libmtl_side(name: str, weightings: types.ModuleType) -> Make:
    """A step of the method as the library's trainer takes it, without the optimizer."""

    def make(problem: Problem) -> Step:
        model = _model(getattr(weightings, CLASSES[name]), problem, name in ON_REPRESENTATIONS)
        samples = 3 if name in ("modo", "sdmgrad") else 1

        def step() -> None:
            drawn = [model.losses() for _ in range(samples)]
            losses = torch.stack(drawn) if samples > 1 else drawn[0]
            model.zero_grad(set_to_none=False)
            model.backward(losses, **OPTIONS)
            if name == "famo":
                with torch.no_grad():
                    model.update_w(model.losses())

        return step

    return make


def _model(weighting: type, problem: Problem, on_representations: bool) -> Any:
    class Model(weighting):  # type: ignore[misc]
        """What the library's trainer makes of a weighting and an architecture."""

        def __init__(self) -> None:
            super().__init__()
            self.task_name = [str(i) for i in range(len(problem.heads))]
            self.task_num, self.device, self.rep_grad = len(self.task_name), torch.device("cpu"), on_representations
            self.encoder = problem.trunk
            self.decoders = nn.ModuleDict(dict(zip(self.task_name, problem.heads, strict=True)))
            self.epoch, self.train_loss_buffer = EPOCH, np.ones((self.task_num, EPOCH + 1))
            self.nadir_vector = torch.ones(self.task_num)  # STCH's, which it gathers in the warm-up

        def get_share_params(self) -> Any:
            return self.encoder.parameters()

        def zero_grad_share_params(self) -> None:
            self.encoder.zero_grad(set_to_none=False)

        def losses(self) -> Tensor:
            z = self.encoder(problem.x)
            if not self.rep_grad:
                return torch.stack(list(problem.losses(z).values()))
            self.rep = z
            self.rep_tasks = {t: z.detach().clone().requires_grad_() for t in self.task_name}
            pairs = zip(self.task_name, problem.y, strict=True)
            return torch.stack([(self.decoders[t](self.rep_tasks[t])[:, 0] - y).square().mean() for t, y in pairs])

    model = Model()
    ready = model.nadir_vector
    model.init_param()
    model.nadir_vector = ready
    return model
