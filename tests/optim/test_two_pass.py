"""SAM, group by group too, and our reading of SAGE."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import sharewise as sw
from helpers.shared_net import batch, net
from sharewise.balance import Accumulation, Constant, create
from sharewise.errors import BalanceError, ModelError, OptionError
from sharewise.optim import (
    SAGE,
    SAM,
    GroupSAM,
    MAdam,
    alignment,
    disagreement,
    hessian,
    polar,
    top_curvature,
    two_pass_step,
)

NAMES = ["task 0", "task 1", "task 2"]
MEAN = dict.fromkeys(NAMES, 1 / 3)


def sgd(parameters) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=1.0)


def copies(module: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in module.parameters()]


def test_sam_by_hand() -> None:
    # f = x^2 + 4 y^2 at (3, 1): g = (6, 8), |g| = 10, rho = 1: the point (3.6, 1.8) has gradient (7.2, 14.4).
    p = nn.Parameter(torch.tensor([3.0, 1.0], dtype=torch.float64))
    optimizer = SAM(sgd([p]), rho=1.0)

    def f() -> Tensor:
        return p[0] ** 2 + 4 * p[1] ** 2

    f().backward()
    with optimizer.perturbed():
        assert p.tolist() == pytest.approx([3.6, 1.8]) and p.grad is None
        f().backward()
    assert p.tolist() == [3.0, 1.0]
    optimizer.step()
    assert p.tolist() == pytest.approx([3 - 7.2, 1 - 14.4])
    # adaptive: w g = (18, 8), |w g| = sqrt(388): steps w^2 g / |w g| = (54, 8) / 19.698
    q = nn.Parameter(torch.tensor([3.0, 1.0], dtype=torch.float64))
    adaptive = SAM(sgd([q]), rho=1.0, adaptive=True)
    (q[0] ** 2 + 4 * q[1] ** 2).backward()
    with adaptive.perturbed():
        assert q.tolist() == pytest.approx([3 + 54 / 388**0.5, 1 + 8 / 388**0.5])


def test_groups_are_perturbed_each_by_itself() -> None:
    # f = x y + y^2 at (2, 1): g = (1, 4). x moved by 1 alone: gradient of x there is y = 1; y moved by 1: gradient of y
    # there is x + 2 y = 6. A joint move would give y = 1 + 4 / sqrt(17) for x.
    x, y = (nn.Parameter(torch.tensor([v], dtype=torch.float64)) for v in (2.0, 1.0))
    optimizer = GroupSAM(sgd([x, y]), {"x": [x], "y": [y]}, rho={"x": 1.0, "y": 1.0})

    def f() -> Tensor:
        return (x * y + y**2).sum()

    f().backward()
    for group, where in (("x", (3.0, 1.0)), ("y", (2.0, 2.0))):
        with optimizer.perturbed_group(group):
            assert (x.item(), y.item()) == where
            f().backward()
    optimizer.step()
    assert (x.item(), y.item()) == (1.0, -5.0)
    f().backward()
    with optimizer.perturbed_group("x"):
        f().backward()
    with pytest.raises(BalanceError, match='group "y" has no gradient'):
        optimizer.step()
    with pytest.raises(OptionError, match='no group is called "z"'), optimizer.perturbed_group("z"):
        pass
    with pytest.raises(ModelError, match="one group at most"):
        GroupSAM(sgd([x, y]), {"x": [x], "y": [x, y]})
    with pytest.raises(OptionError, match='rho names group "z"'):
        GroupSAM(sgd([x, y]), {"x": [x]}, rho={"z": 1.0})
    with pytest.raises(OptionError, match='no radius for group "y"'):
        GroupSAM(sgd([x, y]), {"x": [x], "y": [y]}, rho={"x": 1.0})


class Counting(nn.Module):
    """Counts forward passes; batch normalisation and dropout inside."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 5))
        self.heads = nn.ModuleDict({n: nn.Linear(5, 1) for n in NAMES})
        self.forwards = 0

    def losses(self, x: Tensor) -> dict[str, Tensor]:
        self.forwards += 1
        z = self.trunk(x)
        return {n: (self.heads[n](z)[:, 0] - i * x[:, i]).square().mean() for i, n in enumerate(NAMES)}


@pytest.mark.parametrize("method", ["equal", "pcgrad"])
@pytest.mark.parametrize(
    ("make", "forwards", "backwards"),
    [
        (lambda p: SAM(sgd(p), rho=0.0), 1, {"equal": 1, "pcgrad": 3}),
        (lambda p: SAM(sgd(p)), 2, {"equal": 2, "pcgrad": 4}),
        (lambda p: SAGE(sgd(p), sigma=0.0), 2, {"equal": 2, "pcgrad": 4}),
        (lambda p: SAGE(sgd(p)), 2, {"equal": 5, "pcgrad": 4}),
        (lambda p: SAGE(sgd(p), rho=0.0), 1, {"equal": 4, "pcgrad": 3}),
    ],
    ids=["none", "sam", "polar", "sage", "noise"],
)
def test_passes_are_counted(method: str, make, forwards: int, backwards: dict[str, int]) -> None:
    torch.manual_seed(0)
    model = Counting()
    passes = [0]
    model.trunk[0].register_full_backward_hook(lambda *_: passes.__setitem__(0, passes[0] + 1))
    x = batch().float().requires_grad_()
    two_pass_step(model, lambda: model.losses(x), make(model.parameters()), create(method), shared=model.trunk)
    assert (model.forwards, passes[0]) == (forwards, backwards[method])


@pytest.mark.parametrize("method", ["equal", "pcgrad"])
def test_nothing_switched_on_is_the_optimizer_itself_bit_for_bit(method: str) -> None:
    torch.manual_seed(0)
    model = Counting()
    twin = copy.deepcopy(model)
    x = batch().float()
    plain = torch.optim.Adam(twin.parameters(), lr=1e-2)
    optimizer = SAGE(torch.optim.Adam(model.parameters(), lr=1e-2), rho=0.0, sigma=0.0)
    for step in range(5):
        torch.manual_seed(step)
        plain.zero_grad()
        sw.backward(twin.losses(x), create(method), shared=twin.trunk)
        plain.step()
        torch.manual_seed(step)
        two_pass_step(model, lambda: model.losses(x), optimizer, create(method), shared=model.trunk)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), twin.state_dict().values(), strict=True))


@pytest.mark.parametrize("make", [SAM, SAGE])
def test_parameters_and_running_statistics_are_put_back(make) -> None:
    torch.manual_seed(0)
    model = Counting()
    x = batch().float()
    optimizer = make(sgd(model.parameters()), rho=0.5)
    sum(model.losses(x).values()).backward()
    before, buffers = copies(model), [b.clone() for b in model.buffers()]
    with optimizer.perturbed(model):
        assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
        model.losses(x)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(buffers, model.buffers(), strict=True))
    sum(model.losses(x).values()).backward()
    before = copies(model)
    with pytest.raises(KeyError), optimizer.perturbed(model):
        raise KeyError
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_both_passes_have_the_same_dropout() -> None:
    torch.manual_seed(0)
    model = Counting()
    x = batch().float()
    optimizer = SAM(torch.optim.SGD(model.parameters(), lr=0.0), rho=1e-20)  # moves nothing that float32 can hold
    torch.manual_seed(7)
    step = two_pass_step(model, lambda: model.losses(x), optimizer, create("equal"), shared=model.trunk)
    assert all(torch.equal(step.before[n], step.after[n]) for n in NAMES)


def test_a_step_of_sam_is_the_gradient_above() -> None:
    model, x = net(), batch()
    twin = copy.deepcopy(model)
    optimizer = SAM(sgd(model.parameters()), rho=0.1)
    two_pass_step(model, lambda: model.losses(x), optimizer, create("pcgrad"), shared=model.shared_parameters())
    torch.stack(list(twin.losses(x).values())).mean().backward()
    start, gradients = copies(twin), [p.grad for p in twin.parameters()]
    norm = torch.cat([g.flatten() for g in gradients]).norm()
    with torch.no_grad():
        for p, g in zip(twin.parameters(), gradients, strict=True):
            p += 0.1 * g / norm
    twin.zero_grad()
    sw.backward(twin.losses(x), create("pcgrad"), shared=twin.shared_parameters())
    for p, q, at in zip(model.parameters(), twin.parameters(), start, strict=True):
        torch.testing.assert_close(p.detach(), at - q.grad)


@pytest.mark.parametrize("shape", [(32, 128), (128, 32), (5, 5)])
def test_polar_factors(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    g = torch.randn(shape, generator=generator)
    u, _, v = torch.linalg.svd(g, full_matrices=False)
    torch.testing.assert_close(polar(g, method="svd"), u @ v, atol=1e-5, rtol=0)
    if shape != (5, 5):
        assert ((torch.linalg.svdvals(polar(g)) - 1).abs() < 0.35).all()
        torch.testing.assert_close(polar(g, method="cubic", steps=15), u @ v, atol=1e-4, rtol=0)
    q, _ = torch.linalg.qr(torch.randn(shape[0], shape[0], generator=generator))
    torch.testing.assert_close(polar(q @ g), q @ polar(g), atol=1e-4, rtol=0)
    torch.testing.assert_close(polar(g.T), polar(g).T, atol=1e-5, rtol=0)
    torch.testing.assert_close(polar(q, method="svd"), q, atol=1e-5, rtol=0)
    assert polar(torch.zeros(3, 4)).eq(0).all() and polar(torch.zeros(3, 4), method="svd").eq(0).all()
    assert polar(g.bfloat16()).dtype == torch.bfloat16


def test_a_cut_off_leaves_small_directions_out() -> None:
    s = torch.diag(torch.tensor([1.0, 0.5, 1e-4]))
    assert torch.linalg.svdvals(polar(s, method="svd", cutoff=1e-3)).tolist() == pytest.approx([1, 1, 0])
    assert torch.linalg.svdvals(polar(s, method="svd")).tolist() == pytest.approx([1, 1, 1])
    with pytest.raises(OptionError, match="cut-off needs"):
        polar(s, cutoff=1e-3)
    with pytest.raises(OptionError, match="is not known"):
        polar(s, method="newton")  # type: ignore[arg-type]


@pytest.mark.parametrize("scale", ["global", "layer"])
def test_the_ascent_of_sage(scale: str) -> None:
    model, x = net(), batch()
    optimizer = SAGE(sgd(model.parameters()), rho=0.3, scale=scale, method="svd", vectors="none")
    torch.stack(list(model.losses(x).values())).mean().backward()
    before, gradients = copies(model), [p.grad for p in model.parameters()]
    whole = torch.cat([g.flatten() for g in gradients])
    with optimizer.perturbed():
        steps = [p.detach() - a for p, a in zip(model.parameters(), before, strict=True)]
    ranks = sum(min(g.shape) for g in gradients if g.dim() > 1)
    for step, g in zip(steps, gradients, strict=True):
        if g.dim() > 1:
            wanted = 0.3 * polar(g, method="svd") / (ranks**0.5 if scale == "global" else 1)
            torch.testing.assert_close(step, wanted)
        else:
            assert step.eq(0).all()
    assert optimizer.last["rank"].item() == pytest.approx(ranks)
    if scale == "global":
        assert optimizer.last["ascent"].item() == pytest.approx(0.3)
    as_sam = SAGE(sgd(model.parameters()), rho=0.3, ascent="gradient")
    for p, g in zip(model.parameters(), gradients, strict=True):
        p.grad = g
    with as_sam.perturbed():
        moved = torch.cat([(p.detach() - a).flatten() for p, a in zip(model.parameters(), before, strict=True)])
    torch.testing.assert_close(moved, 0.3 * whole / whole.norm())


@pytest.mark.parametrize("per_layer", [False, True])
def test_the_noise_is_as_long_as_the_disagreement_says(per_layer: bool) -> None:
    torch.manual_seed(0)
    p = nn.Parameter(torch.zeros(60, 50, dtype=torch.float64))
    rows = torch.randn(3, 60, 50, dtype=torch.float64)
    optimizer = SAGE(sgd([p]), rho=0.0, sigma=0.2, per_layer=per_layer)
    s = ((rows - rows.mean(0)) ** 2).sum((1, 2)).mean().sqrt()
    lengths = []
    for _ in range(30):
        p.data.zero_()
        two_pass_step(
            nn.Module(), lambda: {n: (p * r).sum() for n, r in zip(NAMES, rows, strict=True)}, optimizer,
            Constant(weights=MEAN), shared=[p],
        )  # fmt: skip
        lengths.append((p.detach() + rows.mean(0)).norm().item())
    assert sum(lengths) / 30 == pytest.approx(0.2 * s.item(), rel=0.03)
    assert optimizer.last["disagreement"].item() == pytest.approx(s.item())
    assert optimizer.last["noise"].item() == pytest.approx(lengths[-1])
    doubled = SAGE(sgd([p]), rho=0.0, sigma=0.2)  # a balancer that adds: three times the mean, and the noise with it
    two_pass_step(
        nn.Module(), lambda: {n: (p * r).sum() for n, r in zip(NAMES, rows, strict=True)}, doubled,
        create("equal"), shared=[p],
    )  # fmt: skip
    assert doubled.last["noise"].item() == pytest.approx(3 * 0.2 * s.item(), rel=0.1)


def test_equal_distributions_get_no_noise_and_other_noises_do() -> None:
    model, x = net(), batch()

    def same() -> dict[str, Tensor]:
        loss = model.losses(x)["task 1"]
        return {"a": loss, "b": loss * 1.0, "c": loss * 1.0}

    shared = model.shared_parameters()
    twin = copy.deepcopy(model)
    two_pass_step(model, same, SAGE(sgd(model.parameters()), rho=0.0), create("pcgrad"), shared=shared)
    sw.backward({n: twin.losses(x)["task 1"] for n in "abc"}, create("pcgrad"), shared=twin.shared_parameters())
    for p, q in zip(shared, twin.shared_parameters(), strict=True):
        torch.testing.assert_close(p.detach(), q.detach() - q.grad)
    for noise, length in (("constant", 0.5), ("gradient", None)):
        optimizer = SAGE(sgd(shared), rho=0.0, sigma=0.5, noise=noise)
        before = [p.grad.clone() for p in shared]
        optimizer.step()
        wanted = length or 0.5 * torch.cat([g.flatten() for g in before]).norm().item()
        assert optimizer.last["noise"].item() == pytest.approx(wanted, rel=0.4)


def test_noise_on_shared_parameters_alone() -> None:
    model, x = net(), batch()
    twin = copy.deepcopy(model)
    for m, optimizer in ((model, SAGE(sgd(model.parameters()), rho=0.0, noise_on="shared")), (twin, None)):
        if optimizer:
            two_pass_step(m, lambda: model.losses(x), optimizer, create("pcgrad"), shared=m.shared_parameters())
        else:
            sw.backward(m.losses(x), create("pcgrad"), shared=m.shared_parameters())
            sgd(m.parameters()).step()
    assert all(torch.equal(a, b) for a, b in zip(model.heads.parameters(), twin.heads.parameters(), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(model.trunk.parameters(), twin.trunk.parameters(), strict=True))


def test_the_estimate_between_batches_has_no_batch_noise() -> None:
    # true gradients +-1 in the first entry (disagreement 1), batch noise of size 1 in each of 200 entries
    generator = torch.Generator().manual_seed(0)
    plain, between = [], []
    p = nn.Parameter(torch.zeros(200, dtype=torch.float64))
    for _ in range(200):
        step = Accumulation(create("pcgrad"), batches=2, shared=[p], rows=True, mode="loop")
        for _ in range(2):
            rows = torch.randn(2, 200, generator=generator, dtype=torch.float64)
            rows[0, 0] += 1
            rows[1, 0] -= 1
            step.add({n: (p * r).sum() for n, r in zip("ab", rows, strict=True)})
        found = step.resolve().rows
        plain.append(disagreement(found.gram()).item())
        between.append(disagreement(found.between()).item())
    assert sum(between) / 200 == pytest.approx(1.0, abs=0.8)
    assert sum(plain) / 200 == pytest.approx(1 + 200 / 4, rel=0.05)  # 1/2 a row, half of that around the mean
    optimizer = SAGE(sgd([p]), rho=0.0, estimate="between")
    mean = Constant(weights={"a": 0.5, "b": 0.5})
    step = Accumulation(mean, batches=2, shared=[p], rows=optimizer.rows(["a", "b"]))
    for _ in range(2):
        step.add({"a": p[0], "b": -p[0]})
    optimizer.step(step.resolve())
    assert optimizer.last["disagreement"].item() == pytest.approx(1.0)


def test_disagreement_by_hand() -> None:
    rows = torch.tensor([[1.0, 2.0], [3.0, 2.0]], dtype=torch.float64)  # mean (2, 2), each at distance 1
    assert disagreement(rows @ rows.T).item() == pytest.approx(1.0)
    assert disagreement(torch.ones(3, 3, dtype=torch.float64)).item() == 0


def test_diagnostics_on_a_quadratic() -> None:
    # mean of (x - a_i)^T H (x - a_i) / 2 with H = diag(1, 10), a = (+-1, 0), x = 0: gradients -+(1, 0)
    p = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    h = torch.tensor([1.0, 10.0], dtype=torch.float64)
    losses = {
        n: (h * (p - torch.tensor([a, 0.0], dtype=torch.float64)) ** 2).sum() / 2 for n, a in (("a", 1.0), ("b", -1.0))
    }
    mean = torch.stack(list(losses.values())).mean()
    assert top_curvature(mean, [p]).item() == pytest.approx(10.0)
    torch.testing.assert_close(hessian(mean, [p]), torch.diag(h))
    assert alignment(losses, [p]).item() == pytest.approx(1.0)
    assert alignment(losses, [p], damping=1.0).item() == pytest.approx(0.5)
    with pytest.raises(ModelError, match="up to 4096"):
        hessian(p.sum(), [nn.Parameter(torch.zeros(5000))])
    model = net()
    whole = hessian(model.losses(batch())["task 0"], list(model.trunk.parameters()))
    torch.testing.assert_close(whole, whole.T)
    top = torch.linalg.eigvalsh(whole).abs().max()
    found = top_curvature(model.losses(batch())["task 0"], list(model.trunk.parameters()), iterations=300)
    assert found.abs().item() == pytest.approx(top.item(), rel=0.02)


@pytest.mark.parametrize("outer", ["sage", "sage around madam"])
def test_state_continues_bit_for_bit(outer: str, tmp_path) -> None:
    from sharewise.train._state import load_state, save_state

    def new():
        model = net()
        inner = torch.optim.AdamW(model.parameters(), lr=1e-2)
        return model, SAGE(inner if outer == "sage" else MAdam(inner, NAMES, ramp_steps=3))

    def steps(model, optimizer, which) -> None:
        for s in which:
            losses = lambda s=s: model.losses(batch(seed=s))  # noqa: E731
            two_pass_step(model, losses, optimizer, create("pcgrad"), shared=model.shared_parameters())

    model, optimizer = new()
    steps(model, optimizer, range(8))
    half, first = new()
    steps(half, first, range(3))
    save_state(tmp_path / "s", {"optimizer": first.state_dict(), "model": half.state_dict()})
    again, second = new()
    kept = load_state(tmp_path / "s")
    again.load_state_dict(kept["model"])
    second.load_state_dict(kept["optimizer"])
    steps(again, second, range(3, 8))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    with pytest.raises(OptionError, match="not one of SAGE around"):
        second.load_state_dict({"state": {}, "param_groups": []})


def test_wrong_options_are_refused() -> None:
    p = [nn.Parameter(torch.zeros(2))]
    for options in (
        {"rho": -1.0}, {"rho": float("nan")}, {"sigma": -0.1}, {"ascent": "up"}, {"scale": "x"}, {"vectors": "x"},
        {"noise": "x"}, {"estimate": "x"}, {"noise_on": "x"}, {"per_layer": True, "noise": "constant"}, {"cutoff": 0.1},
    ):  # fmt: skip
        with pytest.raises(OptionError):
            SAGE(sgd(p), **options)
    optimizer = SAGE(sgd(p))
    p[0].grad = torch.ones(2)
    with pytest.raises(BalanceError, match=r"rows=optimizer.rows"):
        optimizer.step()
