"""MAdam: what its metric is, that it forgets old weights at once, and that it wraps what can be wrapped."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.amp import GradScaler

import sharewise as sw
from helpers.shared_net import batch, jacobian, net
from sharewise.balance import Balance, Constant, create
from sharewise.errors import BalanceError, OptionError
from sharewise.optim import MAdam

NAMES = ["task 0", "task 1", "task 2"]
WRAPPED = [
    torch.optim.Adam,
    torch.optim.AdamW,
    torch.optim.NAdam,
    torch.optim.RAdam,
    torch.optim.Adamax,
    torch.optim.RMSprop,
    torch.optim.Adagrad,
    torch.optim.Adadelta,
]


class Plain(torch.optim.Optimizer):
    """Moves by the gradient it is given, and claims a second moment: shows what MAdam hands over."""

    def __init__(self, parameters, beta2: float = 0.9, eps: float = 1e-8) -> None:
        super().__init__(parameters, {"lr": 1.0, "betas": (0.0, beta2), "eps": eps})

    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.data -= group["lr"] * p.grad


def vectors(*rows: list[float]) -> tuple[nn.Parameter, dict[str, Tensor]]:
    """A parameter and losses whose gradients are these rows."""
    p = nn.Parameter(torch.zeros(len(rows[0]), dtype=torch.float64))
    return p, {f"task {i}": (p * torch.tensor(row, dtype=torch.float64)).sum() for i, row in enumerate(rows)}


def take(p: nn.Parameter, losses: dict[str, Tensor], weights: list[float], optimizer: MAdam) -> Tensor:
    """One step; what it moved by."""
    before = p.detach().clone()
    optimizer.zero_grad()
    balancer = Constant(weights=dict(zip(losses, weights, strict=True)))
    optimizer.step(sw.backward(losses, balancer, shared=[p], rows=optimizer.rows(list(losses))))
    return before - p.detach()


def test_the_metric_by_hand() -> None:
    # One entry, g = (3, -1), weights (1/2, 1/2): d = 1. After one step, corrected for the bias, F = (9, -3, 1), and
    # C = 9/4 - 2 * 3/4 + 1/4 = 1, so d / sqrt(C) = 1. With weights (1, 0) next, F the same: d = 3, C = 9, again 1.
    p, losses = vectors([3.0], [-1.0])
    optimizer = MAdam(Plain([p], eps=1e-12), list(losses), ramp_steps=0)
    assert take(p, losses, [0.5, 0.5], optimizer).item() == pytest.approx(1.0)
    p2, losses = vectors([3.0], [-1.0])
    optimizer = MAdam(Plain([p2], beta2=0.5, eps=1e-12), list(losses), ramp_steps=0)
    take(p2, losses, [0.5, 0.5], optimizer)
    losses = {name: 2 * loss for name, loss in vectors_of(p2, [3.0], [-1.0]).items()}
    # g = (6, -2): F_00 = (9/2 * 1/2 + 36/2) / (1 - 1/4) = 27, so with weights (1, 0): 6 / sqrt(27)
    assert take(p2, losses, [1.0, 0.0], optimizer).item() == pytest.approx(6 / 27**0.5)


def vectors_of(p: nn.Parameter, *rows: list[float]) -> dict[str, Tensor]:
    return {f"task {i}": (p * torch.tensor(row, dtype=p.dtype)).sum() for i, row in enumerate(rows)}


@pytest.mark.parametrize("pieces", [1 << 15, 7])
@pytest.mark.parametrize("made", [torch.optim.AdamW, torch.optim.Adagrad])
def test_full_mode_is_the_recomputed_mean_over_the_history(made, pieces: int, monkeypatch) -> None:
    monkeypatch.setattr("sharewise.optim._madam.PIECE", pieces)
    model = net()
    shared = model.shared_parameters()
    optimizer = MAdam(made(model.parameters(), lr=1e-3, eps=1e-8), NAMES, ramp_steps=0)
    decay = 0.999 if made is torch.optim.AdamW else None
    history: list[Tensor] = []
    generator = torch.Generator().manual_seed(0)
    for step in range(12):
        x = batch(seed=step)
        weights = torch.rand(3, generator=generator, dtype=torch.float64)
        history.append(jacobian(model.losses(x), shared))
        optimizer.zero_grad()
        balancer = Constant(weights=dict(zip(NAMES, weights.tolist(), strict=True)))
        balance = sw.backward(model.losses(x), balancer, shared=shared, rows=optimizer.rows(NAMES))
        direction = weights @ history[-1]
        optimizer._precondition(balance)
        if decay is None:
            c = torch.stack([(weights @ g) ** 2 for g in history]).mean(0)
        else:
            ages = [(1 - decay) * decay ** (step - s) for s in range(step + 1)]
            c = sum(a * (weights @ g) ** 2 for a, g in zip(ages, history, strict=True)) / (1 - decay ** (step + 1))
        whitened = torch.cat([p.grad.flatten() for p in shared])
        torch.testing.assert_close(whitened, direction / (c.clamp_min(0).sqrt() + 1e-8), rtol=1e-6, atol=1e-9)
        optimizer._inner_step(balance)


def test_with_one_task_the_step_is_nearly_adams() -> None:  # identity (i)
    steps = {}
    for wrap in (False, True):
        p = nn.Parameter(torch.zeros(200, dtype=torch.float64))
        adam = torch.optim.Adam([p], lr=1e-2, betas=(0.0, 0.99))
        optimizer = MAdam(adam, ["a"], ramp_steps=0) if wrap else adam
        scale = torch.logspace(-3, 3, 200, dtype=torch.float64)
        for step in range(300):
            g = scale * torch.randn(200, generator=torch.Generator().manual_seed(step), dtype=torch.float64)
            optimizer.zero_grad()
            before = p.detach().clone()
            if wrap:
                optimizer.step(sw.backward({"a": (p * g).sum()}, create("equal"), shared=[p], rows=True))
            else:
                p.grad = g
                optimizer.step()
        steps[wrap] = p.detach() - before
    cosine = torch.cosine_similarity(steps[True], steps[False], dim=0)
    assert cosine > 0.99
    assert (steps[True].norm() / steps[False].norm()).item() == pytest.approx(1, abs=0.1)


def test_constant_weights_give_the_running_mean_of_the_balanced_square() -> None:  # identity (ii)
    p = nn.Parameter(torch.zeros(50, dtype=torch.float64))
    optimizer = MAdam(Plain([p], beta2=0.9), ["task 0", "task 1"], ramp_steps=0)
    mean, generator = torch.zeros(50, dtype=torch.float64), torch.Generator().manual_seed(0)
    for step in range(1, 30):
        rows = torch.randn(2, 50, generator=generator, dtype=torch.float64)
        losses = vectors_of(p, *rows.tolist())
        d = 0.3 * rows[0] + 0.7 * rows[1]
        mean = 0.9 * mean + 0.1 * d**2
        moved = take(p, losses, [0.3, 0.7], optimizer)
        torch.testing.assert_close(moved, d / ((mean / (1 - 0.9**step)).sqrt() + 1e-8))


def test_a_change_of_weights_is_answered_at_once() -> None:  # identity (iii)
    sizes = {}
    for wrap in (False, True):
        p = nn.Parameter(torch.zeros(200, dtype=torch.float64))
        adam = torch.optim.Adam([p], lr=1.0, betas=(0.0, 0.999))
        optimizer = MAdam(adam, ["task 0", "task 1"], ramp_steps=0) if wrap else adam
        generator, found = torch.Generator().manual_seed(1), []
        for step in range(130):
            rows = torch.randn(2, 200, generator=generator, dtype=torch.float64) * torch.tensor([[10.0], [1.0]])
            weights = [1.0, 0.0] if step < 100 else [0.0, 1.0]
            if wrap:
                moved = take(p, vectors_of(p, *rows.tolist()), weights, optimizer)
            else:
                before = p.detach().clone()
                p.grad = weights[0] * rows[0] + weights[1] * rows[1]
                optimizer.step()
                moved = before - p.detach()
            found.append(moved.square().mean().sqrt().item())
        sizes[wrap] = found
    assert sizes[True][105] == pytest.approx(1.0, abs=0.15) and sizes[True][95] == pytest.approx(1.0, abs=0.15)
    assert sizes[False][105] < 0.2  # still divided by the squares of the gradients of task 0


def test_rescaling_an_entry_leaves_what_is_handed_over() -> None:  # identity (iv)
    scale = torch.logspace(-6, 6, 40, dtype=torch.float64)
    moved = []
    for factor in (torch.ones_like(scale), scale):
        p = nn.Parameter(torch.zeros(40, dtype=torch.float64))
        optimizer = MAdam(Plain([p], eps=1e-30), ["task 0", "task 1", "task 2"], ramp_steps=0)
        generator = torch.Generator().manual_seed(2)
        for _ in range(5):
            rows = torch.randn(3, 40, generator=generator, dtype=torch.float64) * factor
            last = take(p, vectors_of(p, *rows.tolist()), [0.2, 0.5, 0.3], optimizer)
        moved.append(last)
    torch.testing.assert_close(moved[0], moved[1], rtol=1e-6, atol=1e-9)


def test_the_ramp_goes_from_the_identity_to_the_metric() -> None:
    p, losses = vectors([4.0])
    optimizer = MAdam(Plain([p], eps=1e-12), list(losses), ramp_steps=4)
    found = [take(p, vectors_of(p, [4.0]), [1.0], optimizer).item() for _ in range(6)]
    assert found == pytest.approx([4 / (1 - r + r * 4) for r in (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)])
    assert MAdam(Plain([p], beta2=0.99), ["a"]).ramp_steps is None


@pytest.mark.parametrize(
    "method", ["equal", "uncertainty", "dwa", "pcgrad", "cagrad", "nashmtl", "moco", "graddrop", "gcond"]
)
@pytest.mark.parametrize("grouped", [False, True])
def test_every_kind_of_balancer_trains_and_heads_are_the_plain_optimizers(method: str, grouped: bool) -> None:
    model, twin = net(), net()
    balancer = create(method, tasks=NAMES)
    own = [p for p in balancer.parameters() if p.requires_grad]
    groups = [{"params": model.parameters()}, *([{"params": own}] if own else [])]
    optimizer = MAdam(torch.optim.AdamW(groups, lr=1e-2), NAMES, ramp_steps=0)
    shared = sw.balance.layers(model.trunk) if grouped and balancer.needs != "losses" else model.shared_parameters()
    first = sum(v.item() for v in model.losses(batch()).values())
    for step in range(30):
        optimizer.zero_grad()
        balance = sw.backward(model.losses(batch()), balancer, shared=shared, rows=optimizer.rows(NAMES))
        heads = [p.grad.clone() for p in model.heads.parameters()]
        optimizer.step(balance)
        assert all(torch.equal(a, p.grad) for a, p in zip(heads, model.heads.parameters(), strict=True))
        if step == 0:  # one step of Adam: its size is the learning rate wherever the gradient is not zero
            moved = [(a - b).abs().max().item() for a, b in zip(model.parameters(), twin.parameters(), strict=True)]
            assert max(moved) < 0.0101
    assert sum(v.item() for v in model.losses(batch()).values()) < first
    assert len(optimizer._blocks) == len(model.shared_parameters())


def test_weights_of_balancers_without_any_are_the_nearest_ones() -> None:
    p, losses = vectors([1.0, 0.0, 1.0], [0.0, 2.0, 1.0])
    balance = sw.backward(losses, create("pcgrad"), shared=[p], rows=True, mode="loop")
    weights = balance.weight_vector.clone()
    alike = Balance(balance.names, balance.loss, None, balance.gram, rows=balance.rows)
    optimizer = MAdam(Plain([p]), list(losses), ramp_steps=0)
    torch.testing.assert_close(optimizer._weights(alike, alike.rows), weights.double())


def test_decoupled_decay_stays_outside() -> None:
    p = nn.Parameter(torch.full((3,), 2.0, dtype=torch.float64))
    optimizer = MAdam(torch.optim.AdamW([p], lr=0.1, weight_decay=0.5), ["a"], ramp_steps=0)
    p.grad = None
    optimizer.step(sw.backward({"a": (p * 1e6).sum()}, create("equal"), shared=[p], rows=True))
    assert p.tolist() == pytest.approx([2 * (1 - 0.05) - 0.1] * 3)  # decay of 5 %, and a step of the learning rate


@pytest.mark.parametrize("made", WRAPPED)
def test_any_optimizer_with_a_second_moment_can_be_wrapped(made) -> None:
    model = net()
    optimizer = MAdam(made(model.parameters(), lr=1e-2), NAMES)
    for _ in range(3):
        optimizer.step(sw.backward(model.losses(batch()), create("pcgrad"), rows=optimizer.rows(NAMES)))
        optimizer.zero_grad()
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_what_cannot_be_wrapped_is_refused_by_name() -> None:
    p = [nn.Parameter(torch.zeros(3, 3))]
    for made, name in ((torch.optim.SGD, "SGD"), (torch.optim.LBFGS, "LBFGS"), (torch.optim.Rprop, "Rprop")):
        with pytest.raises(OptionError, match=f"cannot wrap {name}, .*no second moment.*AdamW"):
            MAdam(made(p), ["a"])
    with pytest.raises(OptionError, match="Adafactor keeps it by rows"):
        MAdam(torch.optim.Adafactor(p), ["a"])
    with pytest.raises(OptionError, match=r"Adam adds weight_decay=0.1 to the gradient.*decoupled_weight_decay=True"):
        MAdam(torch.optim.Adam(p, weight_decay=0.1), ["a"])
    MAdam(torch.optim.Adam(p, weight_decay=0.1, decoupled_weight_decay=True), ["a"])
    with pytest.raises(OptionError, match="goes around an optimizer, got list"):
        MAdam(p, ["a"])  # type: ignore[arg-type]
    many = [str(i) for i in range(9)]
    with pytest.raises(OptionError, match=r'9 tasks need 45 numbers a parameter.*pairs="sampled"'):
        MAdam(torch.optim.Adam(p), many)
    MAdam(torch.optim.Adam(p), many, force=True)
    for options in ({"pairs": "sampeld"}, {"beta2": 1.0}, {"eps": 0.0}, {"ramp_steps": -1}):
        with pytest.raises(OptionError):
            MAdam(torch.optim.Adam(p), ["a"], **options)
    with pytest.raises(OptionError, match="different names"):
        MAdam(torch.optim.Adam(p), ["a", "a"])


def test_a_step_without_rows_or_of_an_unknown_task_is_refused() -> None:
    model = net()
    optimizer = MAdam(torch.optim.Adam(model.parameters()), NAMES)
    with pytest.raises(BalanceError, match=r"optimizer.step\(balance\)"):
        optimizer.step()
    with pytest.raises(BalanceError, match=r"rows=optimizer.rows"):
        optimizer.step(sw.backward(model.losses(batch()), create("pcgrad")))
    other = MAdam(torch.optim.Adam(model.parameters()), ["task 0", "task 1"])
    with pytest.raises(BalanceError, match='not built for task "task 2"'):
        other.step(sw.backward(model.losses(batch()), create("pcgrad"), rows=True))


def test_memory_is_what_the_paper_says() -> None:
    model = net()
    shared = model.shared_parameters()
    optimizer = MAdam(torch.optim.Adam(shared), NAMES)
    for _ in range(2):
        optimizer.step(sw.backward(model.losses(batch()), create("pcgrad"), shared=shared, rows=True))
    state = optimizer.state_dict()
    held = sum(b.numel() for b in state["sharewise"]["blocks"].values())
    held += sum(v.numel() for s in state["state"].values() for k, v in s.items() if k != "step")
    assert held == (3 * 4 // 2 + 2) * sum(p.numel() for p in shared)


def test_absent_tasks_keep_their_blocks() -> None:
    p = nn.Parameter(torch.zeros(4, dtype=torch.float64))
    optimizer = MAdam(Plain([p]), ["task 0", "task 1"], ramp_steps=0)
    take(p, vectors_of(p, [1.0, 2, 3, 4], [4.0, 3, 2, 1]), [0.5, 0.5], optimizer)
    kept = optimizer._blocks[p].values.clone()
    take(p, {"task 1": vectors_of(p, [0.0] * 4, [9.0] * 4)["task 1"]}, [1.0], optimizer)
    now = optimizer._blocks[p]
    assert torch.equal(now.values[:2], kept[:2]) and not torch.equal(now.values[2], kept[2]) and now.seen == [1, 1, 2]


def test_sampled_pairs_ask_for_two_rows_and_come_to_full_mode() -> None:
    full = nn.Parameter(torch.zeros(6, dtype=torch.float64))
    sampled = nn.Parameter(torch.zeros(6, dtype=torch.float64))
    rows = torch.randn(3, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64).tolist()
    optimizers = [
        MAdam(Plain([full]), NAMES, ramp_steps=0),
        MAdam(Plain([sampled]), NAMES, ramp_steps=0, pairs="sampled"),
    ]
    for step in range(40):
        moved = [
            take(p, vectors_of(p, *rows), [0.2, 0.3, 0.5], o) for p, o in zip((full, sampled), optimizers, strict=True)
        ]
        if step == 0:  # one task was not drawn yet: the gradient is handed over as it is
            torch.testing.assert_close(
                moved[1], torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64) @ torch.tensor(rows, dtype=torch.float64)
            )
    torch.testing.assert_close(*moved)
    drawn = [optimizers[1].rows(NAMES) for _ in range(60)]
    assert all(len(pair) == 2 for pair in drawn) and len({tuple(pair) for pair in drawn}) == 3
    assert optimizers[1].rows(["task 1"]) == ["task 1"]


def test_sampled_pairs_never_take_the_root_of_a_negative_number() -> None:
    p = nn.Parameter(torch.zeros(20, dtype=torch.float64))
    optimizer = MAdam(Plain([p], beta2=0.5), NAMES, ramp_steps=0, pairs="sampled")
    generator = torch.Generator().manual_seed(3)
    for _ in range(50):
        rows = torch.randn(3, 20, generator=generator, dtype=torch.float64)
        rows[1] = -rows[0]
        assert torch.isfinite(take(p, vectors_of(p, *rows.tolist()), [0.4, 0.4, 0.2], optimizer)).all()


@pytest.mark.parametrize("pairs", ["full", "sampled"])
def test_state_continues_bit_for_bit(pairs: str, tmp_path) -> None:
    from sharewise.train._state import load_state, save_state

    def steps(model, optimizer, which) -> None:
        for s in which:
            optimizer.zero_grad()
            names = NAMES if s % 3 else NAMES[:2]
            losses = {n: loss for n, loss in model.losses(batch(seed=s)).items() if n in names}
            optimizer.step(
                sw.backward(losses, create("pcgrad"), shared=model.shared_parameters(), rows=optimizer.rows(names))
            )

    def new():
        model = net()
        return model, MAdam(torch.optim.AdamW(model.parameters(), lr=1e-2), NAMES, pairs=pairs, ramp_steps=5)

    model, optimizer = new()
    steps(model, optimizer, range(10))
    half, first = new()
    steps(half, first, range(4))
    save_state(tmp_path / "s", {"optimizer": first.state_dict(), "model": half.state_dict()})
    again, second = new()
    kept = load_state(tmp_path / "s")
    again.load_state_dict(kept["model"])
    second.load_state_dict(kept["optimizer"])
    steps(again, second, range(4, 10))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    other = MAdam(torch.optim.AdamW(again.parameters()), ["task 0"])
    with pytest.raises(OptionError, match="is of the tasks"):
        other.load_state_dict(kept["optimizer"])
    with pytest.raises(OptionError, match="not one of MAdam around AdamW"):
        second.load_state_dict(torch.optim.AdamW(again.parameters()).state_dict())


def test_schedulers_and_groups_reach_the_optimizer_inside() -> None:
    model = net()
    trunk, heads = model.shared_parameters(), list(model.heads.parameters())
    inner = torch.optim.AdamW([{"params": trunk, "betas": (0.9, 0.5)}, {"params": heads}], lr=1.0)
    optimizer = MAdam(inner, NAMES)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.5**epoch)
    optimizer.step(sw.backward(model.losses(batch()), create("pcgrad"), rows=True))
    scheduler.step()
    assert [g["lr"] for g in inner.param_groups] == [0.5, 0.5]
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    scheduler.step()
    assert [g["lr"] for g in inner.param_groups] == [0.25, 0.25]
    extra = nn.Parameter(torch.zeros(2))
    optimizer.add_param_group({"params": [extra]})
    assert inner.param_groups[-1]["params"][0] is extra
    # decay 1/2 in the trunk's group: its ramp is 2 steps
    optimizer.step(sw.backward(model.losses(batch()), create("pcgrad"), rows=True))
    assert optimizer._blocks[trunk[0]].steps == 2


def test_with_a_loss_scaler_gradients_are_unscaled_and_skipped_steps_move_nothing() -> None:
    model, twin = net().float(), net().float()
    plain = MAdam(torch.optim.Adam(twin.parameters(), lr=1e-2), NAMES, ramp_steps=0)
    optimizer = MAdam(torch.optim.Adam(model.parameters(), lr=1e-2), NAMES, ramp_steps=0)
    scaler = GradScaler("cpu", init_scale=1024.0)
    for step in range(4):
        x = batch(seed=step).float()
        optimizer.zero_grad()
        losses = model.losses(x)
        if step == 2:
            losses["task 1"] = losses["task 1"] * torch.inf
            held = copy.deepcopy(optimizer.state_dict())
        balance = sw.backward(
            losses, create("equal"), shared=model.shared_parameters(), rows=optimizer.rows(NAMES),
            scale=scaler.scale(torch.ones(())), on_nonfinite="ignore",
        )  # fmt: skip
        scaler.step(optimizer, balance)
        scaler.update()
        if step == 2:
            now = optimizer.state_dict()["sharewise"]
            assert all(torch.equal(held["sharewise"]["blocks"][i], now["blocks"][i]) for i in now["blocks"])
            assert now["seen"] == held["sharewise"]["seen"] and now["steps"] == held["sharewise"]["steps"]
            continue
        plain.zero_grad()
        plain.step(sw.backward(twin.losses(x), create("equal"), shared=twin.shared_parameters(), rows=True))
    assert scaler.get_scale() == 512.0
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a, b)
