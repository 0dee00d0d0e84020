"""What each paper promises, and values by hand, beyond the battery of test_methods."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sharewise.errors import MergeError
from sharewise.merge import merge_states
from sharewise.merge._reading import Job, Memory, Part, Reading
from sharewise.merge._registry import method
from sharewise.merge._select import select
from sharewise.merge._sources import StateSource
from sharewise.merge.methods._sce import variance
from sharewise.merge.methods._spectral import orthogonal


def merged(name: str, *rows: Any, base: Any = None, **options: Any) -> Tensor:
    """One tensor ``w`` through a method; the base is zero unless given."""
    tensors = [torch.as_tensor(r, dtype=torch.float32) for r in rows]
    origin = None
    if method(name).base in ("required", "optional"):
        origin = {"w": torch.zeros_like(tensors[0]) if base is None else torch.as_tensor(base)}
    return merge_states(name, {f"m{i}": {"w": t} for i, t in enumerate(tensors)}, origin, **options)["w"]


def sampled(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def equal(found: Tensor, expected: Any) -> bool:
    return torch.allclose(found, torch.as_tensor(expected, dtype=found.dtype), atol=1e-6)


def test_ties_by_hand() -> None:
    """Half of four kept: (4, -3, ., .), (., 3.5, ., 2), (-5, ., 2, .). Sums -1, 0.5, 2, 2: signs -, +, +, +."""
    rows = ([4.0, -3, 1, 0.5], [1.0, 3.5, -1, 2], [-5.0, 0.5, 2, -1])
    assert equal(merged("ties", *rows, weight=1.0, density=0.5), [-5.0, 3.5, 2, 2])
    scaled = merged("ties", *rows, weight=1.0, density=0.5, **{"lambda": 2.0, "normalize": False})
    assert equal(scaled, [-10.0, 7, 4, 4])
    agreeing = merged("ties", [1.0], [3.0], [-2.0], weight=1.0)
    assert equal(agreeing, [2.0])  # the mean of those that agree


def test_ties_keeps_exactly_the_density_where_entries_tie() -> None:
    assert equal(merged("ties", torch.ones(8), weight=1.0, density=0.5), [1.0, 1, 1, 1, 0, 0, 0, 0])
    assert equal(merged("ties", [3.0, -1, 1, 1], weight=1.0, density=0.5), [3.0, -1, 0, 0])


@pytest.mark.parametrize("kind", ["normal", "ties", "zeros", "periodic", "one"])
def test_selection_equals_a_sort(kind: str) -> None:
    """In blocks of any size, on tensors made to mislead the sample."""
    x = sampled(1, 200_001)
    if kind == "ties":
        x = x.mul(3).round()
    elif kind == "zeros":
        x = torch.where(x > 1.5, x, torch.zeros_like(x))
    elif kind == "periodic":
        x[:, ::3] *= 1e-3  # the sample sees every third entry only
    elif kind == "one":
        x = torch.ones_like(x)
    source = StateSource("a", {"w": x[0]})
    job = Job("w", source.tensors["w"], (Part(source, "w"),), None, method("ties"))
    reading = Reading(job, Memory(), 7001)
    for k in (1, 20_000, 100_000, 200_000):
        (cut,) = select(reading, [(0, k)])
        found = torch.cat([cut.keep(b.rows[0].clone(), b.start) for b in reading.blocks()])
        order = x[0].abs().sort(descending=True, stable=True).indices[:k]
        expected = torch.zeros_like(x[0])
        expected[order] = x[0][order]
        assert torch.equal(found, expected)


def test_dare_is_unbiased_and_keeps_its_share() -> None:
    rows = torch.ones(200_000)
    found = merged("dare_linear", rows, weight=1.0, density=0.2)
    assert set(found.unique().tolist()) == {0.0, 5.0}
    assert abs(float(found.mean()) - 1) < 0.02  # standard error 0.0045
    assert not torch.equal(found, merged("dare_linear", rows, weight=1.0, density=0.2, seed=1))


def test_della_keeps_larger_entries_more_often() -> None:
    rows = torch.arange(1.0, 101).repeat(2000, 1)
    found = merged("della_linear", rows, weight=1.0, density=0.5, epsilon=0.2, rescale=False)
    share = (found != 0).float().mean(0)
    assert abs(float(share[:10].mean()) - 0.318) < 0.02 and abs(float(share[-10:].mean()) - 0.682) < 0.02
    unbiased = merged("della_linear", rows, weight=1.0, density=0.5, epsilon=0.2).mean(0)
    assert torch.allclose(unbiased, rows[0], rtol=0.15)
    with pytest.raises(MergeError, match="must lie in"):
        merged("della", rows, weight=1.0, density=0.9, epsilon=0.2)


def test_breadcrumbs_drops_both_ends() -> None:
    """Of ten: the largest one and the smallest five are dropped."""
    rows = torch.tensor([1.0, -2, 3, -4, 5, -6, 7, -8, 9, -10])
    found = merged("breadcrumbs", rows, weight=1.0, density=0.4, gamma=0.1)
    assert equal(found, [0.0, 0, 0, 0, 0, -6, 7, -8, 9, 0])


def test_sce_by_hand() -> None:
    """Mean squares 5 and 2.5, so weights 2/3 and 1/3: first entry 1 * 2/3 + 2 * 1/3; the negative one is erased."""
    found = merged("sce", [1.0, 3.0], [2.0, -1.0])
    assert equal(found, [(1.0 * 10 + 2.0 * 5) / 15, 3.0])


def test_geometric_means() -> None:
    x, y = [1.0, 0.0], [0.0, 1.0]
    half = [0.5**0.5, 0.5**0.5]
    for name, options in (("karcher", {}), ("multislerp", {"weight": 1.0}), ("nuslerp", {"weight": 1.0})):
        assert equal(merged(name, x, y, **options), half), name
    a, b = sampled(2, 4, 30)
    slerp = merged("slerp", a, b, t=0.5)
    assert torch.allclose(merged("nuslerp", a, b, weight=1.0), slerp, atol=1e-5)
    scale = (a.norm() + b.norm()) / 2
    assert torch.allclose(merged("karcher", a, b).norm(), scale, rtol=1e-4)
    rows = merged("nuslerp", a, b, weight=1.0, nuslerp_flatten=False)
    assert torch.allclose(rows[1], merged("slerp", a[1], b[1], t=0.5), atol=1e-4)
    columns = merged("nuslerp", a, b, weight=1.0, nuslerp_flatten=False, nuslerp_row_wise=True)
    assert torch.allclose(columns[:, 2], merged("slerp", a[:, 2], b[:, 2], t=0.5), atol=1e-4)


def test_model_stock_by_hand() -> None:
    """Cosine 0 gives the base; equal models give themselves; cosine 1/2 gives 2/3 of the mean."""
    assert equal(merged("model_stock", [1.0, 0.0], [0.0, 1.0]), [0.0, 0.0])
    assert equal(merged("model_stock", [1.0, 2.0], [1.0, 2.0]), [1.0, 2.0])
    found = merged("model_stock", [1.0, 0.0], [0.5, 3**0.5 / 2])
    assert equal(found, [0.5, 3**0.5 / 6])
    by_row = merged("model_stock", [[1.0, 0.0], [1, 2]], [[0.0, 1.0], [1, 2]], filter_wise=True)
    assert equal(by_row, [[0.0, 0.0], [1.0, 2.0]])


def test_nearswap_and_passthrough_by_hand() -> None:
    assert equal(merged("nearswap", [1.0, 2.0, -5.0], base=[1.05, 1.0, 0.0], t=0.1), [1.0, 1.1, -0.1])
    assert equal(merged("passthrough", [1.0, 2.0], scale=3.0), [3.0, 6.0])


def test_masks_by_hand() -> None:
    """Sum (3, 0.5, 2): entry 1 fits both, 2 is fought over, 3 is the first model's alone."""
    rows = ([1.0, 2.0, 2.0], [2.0, -1.5, 0.0])
    assert equal(merged("consensus", *rows, mask_lambda=0.5), [3.0, 0.5, 0.0])
    assert equal(merged("tall", *rows, mask_lambda=0.5, task="m0"), [3.0, 0.5, 2.0])
    with pytest.raises(MergeError, match='"m7" is none of the models'):
        merged("tall", *rows, task="m7")


def test_emr_restores_the_norm_of_each_task() -> None:
    a, b = sampled(2, 40)
    for task, row in (("m0", a), ("m1", b)):
        found = merged("emr", a, b, task=task)
        assert torch.allclose(found.abs().sum(), row.abs().sum(), rtol=1e-5)
        assert bool((found * row >= 0).all())
    assert torch.allclose(merged("emr", a, a, task="m0"), a, atol=1e-5)


@pytest.mark.parametrize("models", [1, 2, 3, 7])
def test_variance_over_models(models: int) -> None:
    """As torch's; exactly 0 where all agree, though a third of 0.1 three times is not 0.1."""
    rows = torch.randn(models, 500, generator=torch.Generator().manual_seed(0))
    rows[:, :100] = rows[0, :100].clone()
    assert torch.allclose(variance(rows)[0], rows.var(0, correction=0), rtol=1e-5, atol=0)
    assert not variance(rows)[0, :100].any()


def test_lines_scales_by_depth() -> None:
    states = {"m": {f"l.{i}.w": torch.ones(2) for i in range(3)} | {"head": torch.ones(2)}}
    base = {k: torch.zeros(2) for k in states["m"]}
    found = merge_states("lines", states, base, alpha=0.4, beta=0.6)
    assert [float(found[k][0]) for k in ("l.0.w", "l.1.w", "l.2.w", "head")] == pytest.approx([0.4, 0.7, 1.0, 0.4])
    found = merge_states("lines", {"a": states["m"], "b": states["m"]}, base, beta=0.0)
    assert float(found["head"][0]) == pytest.approx(1.0)  # alpha 1/2 of a sum of two


@pytest.mark.parametrize("name", ["tsv", "knots", "wudi"])
def test_one_expert_alone_comes_back(name: str) -> None:
    row = sampled(6, 4)
    assert torch.allclose(merged(name, row, base=torch.zeros(6, 4)), row, atol=1e-4)


def test_iso_has_a_flat_spectrum_and_vectors_are_averaged() -> None:
    a, b = sampled(2, 6, 4)
    for name, options in (("iso_c", {}), ("iso_cts", {"common": 0.5})):
        sizes = torch.linalg.svdvals(merged(name, a, b, **options))
        assert torch.allclose(sizes, sizes.mean(), rtol=1e-4)
    assert torch.allclose(torch.linalg.svdvals(merged("iso_c", a, b)).mean(), torch.linalg.svdvals(a + b).mean())
    assert equal(merged("iso_c", [1.0, 3.0], [3.0, 5.0]), [2.0, 4.0])


def test_orthogonalization_is_the_nearest() -> None:
    found = orthogonal(sampled(7, 4))
    assert torch.allclose(found.T @ found, torch.eye(4), atol=1e-5)


def test_tsv_of_disjoint_subspaces_is_the_sum() -> None:
    """Two rank-one task vectors that share no direction do not interfere."""
    a, b = torch.zeros(4, 4), torch.zeros(4, 4)
    a[0, 1], b[2, 3] = 3.0, 5.0
    assert equal(merged("tsv", a, b), a + b)


def test_wudi_lowers_what_it_minimizes() -> None:
    a, b = sampled(2, 8, 8)
    loss = [
        sum(float(((m - t) @ t.T).square().sum() / t.square().sum()) for t in (a, b))
        for m in (a + b, merged("wudi", a, b, steps=200, learning_rate=1e-2))
    ]
    assert loss[1] < 0.5 * loss[0]


def test_pcb_prefers_what_agrees() -> None:
    """Entries at which the models pull against each other score below those where they agree."""
    a, b = torch.tensor([5.0, 5.0, 0.1, 0.1]), torch.tensor([5.0, -5.0, 0.1, -0.1])
    found = merged("pcb", a, b, ratio=0.25)
    assert float(found[0]) == pytest.approx(5.0) and found[1] == found[3] == 0
