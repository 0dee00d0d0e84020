"""Promises of the methods with data, over sampled inputs."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sharewise.merge import Units, match_weights, merge_states
from sharewise.merge.matching._zipit import paired
from sharewise.merge.methods._regmean import regression_mean
from sharewise.merge.mixing._masked import pack, unpack


@st.composite
def problems(draw: st.DrawFn) -> tuple[Tensor, list[Tensor], list[float]]:
    """Matrices ``[n, out, in]``, inputs of each with scales from 1e-3 to 1e3 and perhaps too few rows, and weights."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    n, out, width = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.integers(1, 6))
    rows = draw(st.integers(1, 12))
    scale = 10.0 ** draw(st.integers(-3, 3))
    matrices = torch.randn(n, out, width, generator=generator).double()
    xs = [scale * torch.randn(rows, width, generator=generator).double() for _ in range(n)]
    weights = [draw(st.sampled_from([0.1, 1.0, 5.0])) for _ in range(n)]
    return matrices, xs, weights


def loss(found: Tensor, matrices: Tensor, xs: list[Tensor], weights: list[float]) -> float:
    return sum(w * float((x @ (found - m).T).square().sum()) for m, x, w in zip(matrices, xs, weights, strict=True))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(problems())
def test_nothing_fits_the_models_outputs_better_than_regmean(problem: tuple[Tensor, list[Tensor], list[float]]) -> None:
    matrices, xs, weights = problem
    found = regression_mean(matrices, [x.T @ x for x in xs], weights, 1.0)
    best = loss(found, matrices, xs, weights)
    size = sum(float(x.square().sum()) for x in xs)
    for other in (*matrices, matrices.mean(0), found + 1e-3 * torch.ones_like(found)):
        assert best <= loss(other, matrices, xs, weights) + 1e-9 * size


@settings(max_examples=40, deadline=None, derandomize=True)
@given(problems(), st.floats(0.0, 1.0))
def test_regmean_does_not_see_order_or_units(problem: tuple[Tensor, list[Tensor], list[float]], share: float) -> None:
    matrices, xs, weights = problem
    grams = [x.T @ x for x in xs]
    found = regression_mean(matrices, grams, weights, share)
    backward = regression_mean(matrices.flip(0), grams[::-1], weights[::-1], share)
    scaled = regression_mean(matrices, [1e4 * g for g in grams], [3 * w for w in weights], share)
    assert torch.allclose(found, backward, atol=1e-6) and torch.allclose(found, scaled, atol=1e-6)
    same = regression_mean(matrices[:1].expand_as(matrices), grams, weights, share)
    assert torch.allclose(same, matrices[0], atol=1e-9)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.integers(1, 5), st.sampled_from([0.0, 1e-6, 1.0]))
def test_fisher_lies_between_the_models(seed: int, n: int, floor: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    models = {f"m{i}": {"w": torch.randn(30, generator=generator)} for i in range(n)}
    fishers = {m: {"w": torch.randn(30, generator=generator).relu().pow(4).double()} for m in models}
    merged = merge_states("fisher", models, statistics=fishers, floor=floor)["w"]
    rows = torch.stack([s["w"] for s in models.values()])
    assert ((merged >= rows.amin(0) - 1e-5) & (merged <= rows.amax(0) + 1e-5)).all()
    surest = {m: {"w": f["w"] + (1e9 if m == "m0" else 0.0)} for m, f in fishers.items()}
    assert torch.allclose(merge_states("fisher", models, statistics=surest)["w"], models["m0"]["w"], atol=1e-4)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.integers(1, 4))
def test_matching_never_lowers_what_it_maximizes(seed: int, layers: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(2, 8, (layers + 2,), generator=generator).tolist()
    one, two = (
        {f"{i}.weight": torch.randn(sizes[i + 1], sizes[i], generator=generator) for i in range(layers + 1)}
        for _ in range(2)
    )
    units = Units(one)
    for i in range(layers):
        units.group(f"g{i}", writers=[str(i)], readers=[str(i + 1)])
    found = units.permute(two, match_weights(units, one, two, seed=seed))
    before, after = (sum(float((one[k] * s[k]).sum()) for k in one) for s in (two, found))
    assert after >= before - 1e-4


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(1, 9), st.floats(0.0, 1.0), st.integers(0, 10_000))
def test_pairs_take_every_unit_once(n: int, within: float, seed: int) -> None:
    x = torch.randn(2 * n, 2 * n, generator=torch.Generator().manual_seed(seed))
    pairs = paired(x + x.T, within)
    assert pairs.shape == (n, 2) and sorted(pairs.flatten().tolist()) == list(range(2 * n))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(1, 3), st.integers(0, 40), st.integers(0, 10_000))
def test_bits_come_back(rows: int, entries: int, seed: int) -> None:
    bits = torch.rand(rows, entries, generator=torch.Generator().manual_seed(seed)) > 0.5
    assert all(torch.equal(unpack(p, entries), b) for p, b in zip(pack(bits), bits, strict=True))
