"""Every mode of ``backward`` against plain autograd in float64, over every kind of layer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch._functorch import config as functorch

import sharewise as sw
from helpers.architectures import MIXING, TRUNKS, Tasks
from helpers.exact import check_step, forbid
from helpers.shared_net import flat, jacobian
from sharewise.balance import create, measure
from sharewise.balance._factor import Factor, IndexFactor
from sharewise.balance._owned import OwnedFactor
from sharewise.balance._take import take_rows
from sharewise.errors import BalanceError, OptionError


def products(losses: dict[str, Tensor], shared: list[nn.Parameter], mode: str = "gram") -> list[type]:
    """The kinds of factors a mode keeps."""
    taken = take_rows(list(losses.values()), shared, None, mode=mode, keep=True)
    return [type(f) for f in taken.rows.factors.values()]


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("name", TRUNKS)
def test_gram_is_exact(name: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sharewise.balance._take.worthwhile", lambda *_: True)  # all that can be kept as products
    check_step(Tasks(name, count), Tasks.losses, "gram")


@pytest.mark.parametrize("name", TRUNKS)
def test_auto_is_exact(name: str) -> None:
    check_step(Tasks(name), Tasks.losses, "auto")


@pytest.mark.parametrize("name", [n for n in TRUNKS if n not in MIXING])
def test_disjoint_is_exact_for_tasks_in_one_batch(name: str) -> None:
    check_step(Tasks(name), Tasks.losses_apart, "disjoint")


@pytest.mark.parametrize("mode", ["auto", "gram"])
@pytest.mark.parametrize("name", TRUNKS)
def test_tasks_with_passes_of_their_own(name: str, mode: str) -> None:
    check_step(Tasks(name), Tasks.losses_of_passes, mode)


def test_which_weights_are_kept_as_products(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = {  # 5 examples, 3 tasks
        # 5 * (20 + 3 * 16) + 20 * 16 < 3 * 20 * 16, and 5 * (16 + 3 * 6) + 16 * 6 < 3 * 16 * 6; 4 -> 20 is not.
        "linear and layer norm": [Factor, Factor],
        "embedding": [IndexFactor],  # 15 words, 50 entries
        # 4 images of one place: 4 * (48 + 3 * 6) + 48 * 6 < 3 * 48 * 6; the others have more places.
        "convolutions": [Factor],
        "layer used twice": [],
    }
    could = {"linear and layer norm": 3, "embedding": 2, "convolutions": 3, "layer used twice": 3}
    for name, kinds in cases.items():
        model = Tasks(name)
        assert products(model.losses(), model.shared()) == kinds, name
        assert products(model.losses(), model.shared(), "loop") == []
    monkeypatch.setattr("sharewise.balance._take.worthwhile", lambda *_: True)
    for name, count in could.items():  # one of the four convolutions is in two groups
        model = Tasks(name)
        assert len(products(model.losses(), model.shared())) == count, name


@pytest.mark.parametrize("name", [n for n in TRUNKS if n not in MIXING])
def test_whose_the_examples_are_is_read_from_the_graph(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid(monkeypatch, "_disjoint._by_code")  # no second pass
    forbid(monkeypatch, "_take.in_loop")  # auto takes it by itself
    check_step(Tasks(name), Tasks.losses_apart, "disjoint")
    check_step(Tasks(name), Tasks.losses_apart, "auto")


@pytest.mark.parametrize("name", [n for n in TRUNKS if n not in MIXING])
def test_disjoint_by_a_second_pass_is_exact(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sharewise.balance._disjoint.find_meeting", lambda *_: None)
    check_step(Tasks(name), Tasks.losses_apart, "disjoint")


@pytest.mark.parametrize("mode", ["auto", "disjoint"])
def test_rows_formed_and_rows_kept_as_products_agree_where_examples_are_owned(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for keep in (True, False):
        monkeypatch.setattr("sharewise.balance._disjoint.worthwhile_apart", lambda *_, keep=keep: keep)
        for name in TRUNKS:
            if name not in MIXING:
                check_step(Tasks(name), Tasks.losses_apart, mode)
            check_step(Tasks(name), Tasks.losses_of_passes, "auto")


def test_tasks_in_one_batch_pass_what_they_share_once() -> None:
    torch.manual_seed(0)
    first, last, head = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 5)
    for mode, passes in (("auto", 1), ("loop", 5)):
        seen: list[int] = []
        inner = first(torch.randn(10, 4))
        inner.register_hook(lambda _, seen=seen: seen.append(1))
        out = head(last(inner).tanh())  # the head is shared too; each task reads rows and a column of its own
        losses = {str(t): out[t::5, t].square().mean() for t in range(5)}
        sw.backward(losses, create("pcgrad"), mode=mode)
        assert sum(seen) == passes, mode


def test_which_owned_weights_are_kept_as_products() -> None:
    # 40 rows: 40^2 * (20 + 16) < 2 * 8 * (8 + 20) * 20 * 16, and so for 16 -> 6, but 1600 * 24 > 448 * 80 for 4 -> 20.
    assert products(Tasks("linear and layer norm", 8).losses_of_passes(), None) == [OwnedFactor, OwnedFactor]
    model = Tasks("embedding")  # 45 words, 50 entries; in one batch of 15
    for losses in (model.losses_of_passes(), model.losses_apart()):
        assert products(losses, model.shared()) == [IndexFactor, OwnedFactor]


def test_a_head_on_an_inner_layer_is_exact() -> None:
    """Where one task's pass enters above another's, places are told apart by a second pass, or the loop is taken."""
    torch.manual_seed(0)
    trunk = nn.ModuleList([nn.Linear(4, 7), nn.Linear(7, 6)]).double()
    x, shared = torch.randn(9, 4, dtype=torch.float64), list(trunk.parameters())

    def losses() -> dict[str, Tensor]:
        inner = torch.tanh(trunk[0](x))
        last = trunk[1](inner)
        return {
            "early": inner[:3].square().sum(),
            "late": last[3:6].pow(3).sum(),
            "both": (inner[6:].sum(1) * last[6:].sum(1)).sum(),
        }

    rows = jacobian(losses(), shared)
    for mode in ("auto", "disjoint"):
        balance = sw.backward(losses(), create("pcgrad"), shared=shared, mode=mode)
        assert torch.allclose(balance.gram, rows @ rows.T, rtol=1e-12), mode


@pytest.mark.parametrize("mode", ["auto", "disjoint"])
def test_a_leaf_that_is_not_balanced_gets_its_whole_gradient(mode: str) -> None:
    model = Tasks("linear and layer norm")
    alone = torch.autograd.grad(sum(model.losses_apart().values()), list(model.trunk.parameters()))
    sw.backward(model.losses_apart(), create("pcgrad"), shared=model.trunk[2], mode=mode)
    for p, g in zip(model.trunk.parameters(), alone, strict=True):
        if not any(p is q for q in model.trunk[2].parameters()):
            assert torch.allclose(p.grad, g, rtol=1e-12)


@pytest.mark.parametrize("mixed", ["centred", "combined"])
def test_mixing_further_down_is_seen(mixed: str) -> None:
    """Examples are apart where the tasks meet, but centred over the batch below, or combined by a layer of its own."""
    torch.manual_seed(0)
    trunk = nn.ModuleList([nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(8, 8)]).double()
    x, shared = torch.randn(8, 4, dtype=torch.float64), list(trunk[: 2 if mixed == "centred" else 3].parameters())

    def losses() -> dict[str, Tensor]:
        z = trunk[0](x)
        z = trunk[1](torch.tanh(z - z.mean(0) if mixed == "centred" else trunk[2](z.T).T))
        return {"a": z[:4].square().sum(), "b": z[4:].pow(3).sum()}

    rows = jacobian(losses(), shared)
    balance = sw.backward(losses(), create("pcgrad"), shared=shared)
    assert torch.allclose(balance.gram, rows @ rows.T, rtol=1e-12)
    with pytest.raises(BalanceError, match="one has gradients of several"):
        sw.backward(losses(), create("pcgrad"), shared=shared, mode="disjoint")


def test_rows_of_one_example_read_by_two_tasks_are_not_apart() -> None:
    """An index with repetitions gives both tasks the same row, though not the same place of the tensor they read."""
    torch.manual_seed(0)
    trunk, places = nn.Linear(4, 6).double(), torch.tensor([0, 0, 1, 2])
    x = torch.randn(3, 4, dtype=torch.float64)

    def losses() -> dict[str, Tensor]:
        z = trunk(x)[places]
        return {"a": z[[0, 2]].square().sum(), "b": z[[1, 3]].pow(3).sum()}

    rows = jacobian(losses(), list(trunk.parameters()))
    balance = sw.backward(losses(), create("pcgrad"), shared=trunk)
    assert torch.allclose(balance.gram, rows @ rows.T, rtol=1e-12)


def test_disjoint_in_slices_and_from_pairs_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    g = torch.Generator().manual_seed(0)
    inputs, outputs = torch.randn(40, 7, generator=g), torch.randn(40, 5, generator=g)
    owner = torch.randint(0, 4, (40,), generator=g)
    factor = OwnedFactor(torch.empty(5, 7), inputs.double(), outputs.double(), owner, tasks=4)
    rows = torch.stack([(outputs[owner == t].double().T @ inputs[owner == t].double()).flatten() for t in range(4)])
    monkeypatch.setattr("sharewise.balance._owned._FORMED", 4 * 7 * 2)  # two of five outputs at a time
    for pairs in (True, False):
        monkeypatch.setattr(OwnedFactor, "_from_pairs", lambda self, other, chosen=pairs: chosen)
        assert torch.allclose(factor.gram(factor, torch.float64), rows @ rows.T, rtol=1e-12)


@pytest.mark.parametrize("name", MIXING)
def test_disjoint_refuses_examples_of_two_tasks(name: str) -> None:
    model = Tasks(name)
    with pytest.raises(BalanceError, match="needs every example to belong to one task"):
        sw.backward(model.losses_apart(), create("pcgrad"), shared=model.shared(), mode="disjoint")
    assert all(p.grad is None for p in model.parameters())


def test_disjoint_refuses_losses_on_the_same_examples() -> None:
    model = Tasks("linear and layer norm")
    with pytest.raises(BalanceError, match="one has gradients of several"):
        sw.backward(model.losses(), create("pcgrad"), shared=model.shared(), mode="disjoint")


def test_disjoint_refuses_what_it_cannot_look_into() -> None:
    layer, head = nn.LSTM(4, 6, batch_first=True), nn.Linear(6, 1)
    output, (state, _) = layer(torch.randn(4, 3, 4))
    losses = {"outputs": head(output[:2]).square().mean(), "state": head(state[0, 2:]).square().mean()}
    with pytest.raises(BalanceError, match="the losses use several"):
        sw.backward(losses, create("pcgrad"), shared=layer, mode="disjoint")
    model = Tasks("linear and layer norm")
    model.trunk = torch.compile(model.trunk, backend="aot_eager")
    with pytest.raises(BalanceError, match="compiled or custom functions"):
        sw.backward(model.losses_apart(), create("pcgrad"), shared=model.shared(), mode="disjoint")


def test_many_tasks_in_one_batch_of_single_precision() -> None:
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 32))
    x, owner = torch.randn(300, 8), torch.arange(300) % 100
    rows = []
    for mode in ("loop", "disjoint"):
        z = trunk(x)
        losses = {str(t): (z[owner == t] * (t + 1)).square().mean() for t in range(100)}
        rows.append(sw.backward(losses, create("pcgrad"), shared=trunk, mode=mode).gram)
    norms = rows[0].diagonal().sqrt()
    assert float(((rows[0] - rows[1]) / norms / norms[:, None]).abs().max()) < 1e-5


@pytest.mark.parametrize("mode", ["gram", "disjoint"])
def test_modes_without_rows_refuse_methods_that_need_them(mode: str) -> None:
    model = Tasks("linear and layer norm")
    with pytest.raises(OptionError, match=f'mode "{mode}" never forms'):
        sw.backward(model.losses(), create("graddrop"), mode=mode)
    with pytest.raises(OptionError, match="averaged over processes"):
        sw.backward(model.losses(), create("pcgrad"), mode=mode, reducer=sw.balance.Reducer())
    z = model.trunk(model.x)
    with pytest.raises(OptionError, match="cannot take gradients of an activation"):
        sw.backward({"0": z.sum()}, create("pcgrad"), mode=mode, representation=z)


def test_measure_is_exact_and_keeps_the_graph() -> None:
    model = Tasks("linear and layer norm")
    losses = model.losses()
    rows = jacobian(model.losses(), model.shared())
    for mode in ("auto", "loop", "gram"):
        assert torch.allclose(measure(losses, mode=mode).gram, rows @ rows.T, rtol=1e-12)
    sum(losses.values()).backward()


@pytest.mark.parametrize("mode", ["loop", "gram"])
def test_rows_of_very_different_scale(mode: str) -> None:
    """Float32 rows of norms 1e-25 : 1e25 in the gram mode, whose squares leave the range of float32."""
    torch.manual_seed(0)
    trunk, x = nn.Linear(12, 8), torch.randn(6, 12)
    z = trunk(x)
    scales = [1e-25, 1.0, 1e18]
    balance = sw.backward(
        {str(i): (z * torch.randn(6, 8)).sum() * s for i, s in enumerate(scales)}, create("pcgrad"), mode=mode
    )
    assert bool((balance.cosines.diagonal() - 1).abs().lt(1e-6).all())
    assert [float(n) / s for n, s in zip(balance.norms.values(), scales, strict=True)] == pytest.approx(
        [float(balance.norms["1"])] * 3, rel=1.0
    )


@pytest.mark.parametrize("policy", ["raise", "skip task"])
def test_a_row_kept_as_products_that_is_not_finite_names_its_task(policy: str) -> None:
    torch.manual_seed(0)
    trunk, x = nn.Linear(12, 8), torch.randn(6, 12)
    z = trunk(x)
    losses = {"good": z.square().mean(), "bad": (z - z.detach()).abs().sqrt().sum()}  # finite loss, infinite slope
    if policy == "raise":
        with pytest.raises(BalanceError, match='the gradient of task "bad" is NaN or infinite'):
            sw.backward(losses, create("pcgrad"))
        assert trunk.weight.grad is None
        return
    balance = sw.backward(losses, create("pcgrad"), on_nonfinite=policy)
    assert balance.names == ("good",)
    assert balance.skipped == ("bad",)
    assert torch.allclose(trunk.weight.grad, torch.autograd.grad(trunk(x).square().mean(), trunk.weight)[0])


@functorch.patch(donated_buffer=False)
def test_compiled_forward() -> None:
    torch._dynamo.reset()
    model = Tasks("linear and layer norm")
    rows = jacobian(model.losses(), model.shared())
    model.trunk = torch.compile(model.trunk, backend="aot_eager")
    balance = sw.backward(model.losses(), create("pcgrad"), shared=model.shared())
    assert torch.allclose(balance.gram, rows @ rows.T, rtol=1e-12)


class GivesAway(torch.autograd.Function):
    """Refuses to be passed twice, as a forward does that was compiled to give its buffers away."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        if torch._C._autograd._get_current_graph_task_keep_graph():
            raise RuntimeError("This backward function was compiled with non-empty donated buffers")
        return gradient


def test_a_forward_that_gives_its_buffers_away() -> None:
    trunk = nn.Linear(4, 6)
    z = GivesAway.apply(trunk(torch.randn(5, 4)))
    with pytest.raises(BalanceError, match="donated_buffer = False before compiling"):
        sw.backward({"a": z.sum(), "b": z.square().sum()}, create("pcgrad"))


def test_autocast_agrees_with_the_loop_to_its_precision() -> None:
    torch.manual_seed(0)
    trunk, heads = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64)), nn.Linear(64, 3)
    x, y = torch.randn(16, 32), torch.randn(16, 3)
    found = []
    for mode in ("loop", "gram"):
        with torch.autocast("cpu", torch.bfloat16):
            out = heads(trunk(x))
        losses = {str(i): (out[:, i].float() - y[:, i]).square().mean() for i in range(3)}
        found.append(sw.backward(losses, create("pcgrad"), shared=trunk, mode=mode))
    assert torch.allclose(found[0].gram, found[1].gram, rtol=0.03, atol=0.01 * float(found[0].gram.max()))
    assert all(p.grad.dtype == torch.float32 for p in trunk.parameters())


def test_a_loss_scale_is_not_seen_by_the_decision() -> None:
    model = Tasks("linear and layer norm")
    plain = sw.backward(model.losses(), create("pcgrad"), shared=model.shared())
    once = flat(model.shared())
    model.zero_grad()
    scaled = sw.backward(model.losses(), create("pcgrad"), shared=model.shared(), scale=torch.tensor(1024.0))
    assert torch.allclose(scaled.gram, plain.gram, rtol=1e-12)
    assert torch.allclose(flat(model.shared()), 1024 * once, rtol=1e-12)
