"""Every method: what its paper promises, on sampled and on extreme tensors, and values by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from sharewise.merge import Statistics, available, merge_states, method, methods

OPTIONS: dict[str, dict[str, Any]] = {
    "linear": {"weight": 1.0},
    "slerp": {"t": 0.5},
    "task_arithmetic": {"weight": 0.5},
    "ties": {"weight": 0.5, "density": 0.6},
    "breadcrumbs": {"weight": 0.5, "density": 0.6, "gamma": 0.1},
    "breadcrumbs_ties": {"weight": 0.5, "density": 0.6, "gamma": 0.1},
    "dare_linear": {"weight": 0.5, "density": 0.6},
    "dare_ties": {"weight": 0.5, "density": 0.6},
    "della": {"weight": 0.5, "density": 0.6},
    "della_linear": {"weight": 0.5, "density": 0.6},
    "sce": {"select_topk": 0.6},
    "multislerp": {"weight": 0.5},
    "karcher": {},
    "nuslerp": {"weight": 1.0},
    "model_stock": {},
    "nearswap": {"t": 0.05},
    "passthrough": {},
    "consensus": {},
    "tall": {"task": "m0"},
    "emr": {"task": "m0"},
    "lines": {},
    "pcb": {"ratio": 0.3},
    "tsv": {},
    "iso_c": {},
    "iso_cts": {},
    "knots": {"density": 0.6},
    "wudi": {"steps": 20},
    "bmm": {"anchor": "m0"},
    "fisher": {},
    "regmean": {},
}
"""Parameters that give a merge of equals."""


def states(n: int, *, scale: float = 0.1, seed: int = 0, dtype: torch.dtype = torch.float32) -> tuple[dict, dict]:
    """A base and ``n`` fine-tunes: a matrix, a vector, a number, an embedding, a filter."""
    draw = torch.Generator().manual_seed(seed)
    shapes = {
        "l.0.w": (6, 4),
        "l.1.w": (6, 4),
        "l.0.b": (6,),
        "embed.weight": (9, 4),
        "scale": (),
        "conv": (2, 3, 2, 2),
    }
    base = {k: torch.randn(s, generator=draw).to(dtype) for k, s in shapes.items()}
    models = {
        f"m{i}": {k: (v + scale * torch.randn(v.shape, generator=draw)).to(dtype) for k, v in base.items()}
        for i in range(n)
    }
    return base, models


def models_of(name: str) -> int:
    how = method(name)
    return int(min(max(how.least, 2), how.most))


def run(name: str, models: dict, base: dict | None, **options: Any) -> dict[str, Tensor]:
    how = method(name)
    needs = base if how.base in ("required", "optional") else None
    if how.statistics:
        options["statistics"] = {m: statistics(how.statistics, state, i) for i, (m, state) in enumerate(models.items())}
    return merge_states(name, models, needs, **(OPTIONS[name] | options))


def statistics(kind: str, state: dict[str, Tensor], seed: int) -> Statistics:
    """What collecting gives for such tensors: an input of every layer is always 0."""
    draw = torch.Generator().manual_seed(seed)
    found = {}
    for name, tensor in state.items():
        if kind == "fisher":
            found[name] = torch.rand(tensor.shape, generator=draw).double().square()
        elif name in ("l.0.w", "l.1.w", "conv"):
            x = torch.randn(5, tensor[0].numel(), generator=draw).double()
            x[:, 0] = 0
            found[name] = x.T @ x / 5
    return Statistics(kind, found)


def test_every_method_is_tried() -> None:
    own = {getattr(methods, name)().name for name in methods.__all__}
    assert {*OPTIONS, "m2a"} == own <= set(available())  # m2a needs a decoder: test_m2a.py


@pytest.mark.parametrize("name", sorted(OPTIONS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_shapes_kinds_and_finite(name: str, dtype: torch.dtype) -> None:
    base, models = states(models_of(name), dtype=dtype)
    merged = run(name, models, base)
    assert merged.keys() == base.keys()
    for key, value in merged.items():
        assert value.shape == base[key].shape and value.dtype == dtype and value.isfinite().all()


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_extremes_stay_finite(name: str) -> None:
    """Models equal to the base, zero everywhere, or 10^6 times larger than each other."""
    base, models = states(models_of(name))
    zero = {k: torch.zeros_like(v) for k, v in base.items()}
    for odd in (base, zero, {k: 1e6 * v for k, v in base.items()}):
        first = next(iter(models))
        for value in run(name, models | {first: odd}, base).values():
            assert value.isfinite().all()
    same = run(name, dict.fromkeys(models, zero), zero)
    assert all((v == 0).all() for v in same.values())


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_repeatable_bit_for_bit(name: str) -> None:
    base, models = states(models_of(name))
    first, second = (run(name, models, base, threads=t) for t in (1, 3))
    assert all(torch.equal(first[k], second[k]) for k in first)


def test_linear_by_hand() -> None:
    """(1 * 1 + 3 * 5) / 4 = 4; without normalizing 16."""
    models = {"a": {"w": torch.tensor([1.0])}, "b": {"w": torch.tensor([5.0])}}
    assert merge_states("linear", models, weight={"a": 1.0, "b": 3.0})["w"] == 4.0
    assert merge_states("linear", models, weight={"a": 1.0, "b": 3.0}, normalize=False)["w"] == 16.0


def test_task_arithmetic_by_hand() -> None:
    """10 + 2 (0.5 * (12 - 10) + (-1) * (7 - 10)) = 18; the weights' sum -0.5 divides if asked: 10 + 8 / -0.5 = -6."""
    models = {"a": {"w": torch.tensor([12.0])}, "b": {"w": torch.tensor([7.0])}}
    base, weights = {"w": torch.tensor([10.0])}, {"a": 0.5, "b": -1.0}
    assert merge_states("task_arithmetic", models, base, weight=weights, **{"lambda": 2.0})["w"] == 18.0
    assert merge_states("task_arithmetic", models, base, weight=weights, normalize=True, **{"lambda": 2.0})["w"] == -6.0


def test_one_expert_with_full_weight_is_that_expert() -> None:
    base, models = states(1)
    for name in ("linear", "task_arithmetic"):
        merged = run(name, models, base, weight=1.0)
        for key, value in merged.items():
            assert torch.allclose(value, models["m0"][key], atol=1e-6)


def test_slerp_by_hand() -> None:
    """(1, 0) to (0, 1) at t = 1/3: an angle of 30 degrees; half way from (2, 0) to (0, 4) is (2, 4) / sqrt 2."""
    x, y = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    merged = merge_states("slerp", {"a": {"w": x}, "b": {"w": y}}, t=1 / 3)["w"]
    assert torch.allclose(merged, torch.tensor([math.cos(math.pi / 6), math.sin(math.pi / 6)]))
    merged = merge_states("slerp", {"a": {"w": 2 * x}, "b": {"w": 4 * y}}, t=0.5)["w"]
    assert torch.allclose(merged, torch.tensor([2.0, 4.0]) / math.sqrt(2))


def test_slerp_keeps_the_norm_and_starts_at_the_base() -> None:
    draw = torch.Generator().manual_seed(1)
    a, b = torch.randn(2, 500, generator=draw)
    b *= a.norm() / b.norm()
    for t in (0.0, 0.25, 0.5, 1.0):
        merged = merge_states("slerp", {"a": {"w": a}, "b": {"w": b}}, t=t)["w"]
        assert torch.allclose(merged.norm(), a.norm(), rtol=1e-5)
    models = {"a": {"w": a}, "b": {"w": b}}
    assert torch.allclose(merge_states("slerp", {"b": models["b"]}, models["a"], t=0.0)["w"], a)
    opposite = merge_states("slerp", {"a": {"w": a}, "b": {"w": -a}}, t=0.25)["w"]
    assert torch.allclose(opposite, a / 2, atol=1e-6)  # antipodal: a straight line
