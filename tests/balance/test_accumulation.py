"""One decision over several batches: the same as for all of them at once."""

from __future__ import annotations

import copy
from itertools import cycle

import pytest
import torch
from torch import Tensor

import sharewise as sw
from helpers.architectures import Tasks
from helpers.shared_net import flat, gradients, jacobian
from sharewise.balance import Accumulation, create
from sharewise.errors import BalanceError, OptionError


def parts(model: Tasks, sizes: list[int]) -> list[dict[str, Tensor]]:
    """Losses of consecutive batches, weighted so that their mean is the loss of all examples."""
    found, start = [], 0
    for size in sizes:
        z = model.trunk(model.x[start : start + size]).flatten(1)
        share = len(sizes) * size / len(model.x)
        y = model.y[:, start : start + size]
        found.append({str(t): share * (h(z)[:, 0] - y[t]).square().mean() for t, h in enumerate(model.heads)})
        start += size
    return found


@pytest.mark.parametrize("name", ["linear and layer norm", "convolutions", "embedding", "layer used twice"])
@pytest.mark.parametrize("mode", ["loop", "gram", "auto", "batched"])
@pytest.mark.parametrize("method", ["pcgrad", "graddrop"])
def test_batches_decide_as_one(name: str, mode: str, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = cycle([True, True, False])  # a weight may be kept as products in one batch and formed in the other
    monkeypatch.setattr("sharewise.balance._take.worthwhile", lambda *_: mode == "gram" or next(kept))
    if mode == "gram" and method == "graddrop":
        mode = "auto"
    model = Tasks(name)
    whole = sw.backward(model.losses(), create(method), shared=model.shared())
    want = gradients(model)
    model.zero_grad()
    step = Accumulation(create(method), batches=2, shared=model.shared(), mode=mode)
    for losses in parts(model, [1, len(model.x) - 1]):
        step.add(losses)
        assert all(p.grad is None for p in model.parameters())
    balance = step.resolve()
    assert torch.allclose(balance.gram, whole.gram, rtol=1e-11)
    assert torch.allclose(balance.loss, whole.loss, rtol=1e-12)
    for key, value in gradients(model).items():
        assert torch.allclose(value, want[key], rtol=1e-10, atol=1e-14), key


def test_products_are_kept_only_if_all_batches_together_are_narrow() -> None:
    model = Tasks("linear and layer norm")
    for batches, kept in ((1, 2), (2, 0)):  # 5 * (20 + 3 * 16) + 20 * 16 < 3 * 20 * 16, but not with 10 examples
        step = Accumulation(create("pcgrad"), batches=batches, shared=model.shared())
        step.add(model.losses())
        assert len(step._parts[0].rows.factors) == kept


def test_a_task_without_labels_in_a_batch_counts_as_zero() -> None:
    model = Tasks("linear and layer norm")
    full = [model.losses(), model.losses()]
    zeroed = {k: v * (0.5 if k == "1" else 1.0) for k, v in model.losses().items()}
    sw.backward(zeroed, create("pcgrad"), shared=model.shared())
    want = flat(model.shared())
    model.zero_grad()
    del full[0]["1"]
    step = Accumulation(create("pcgrad"), batches=2, shared=model.shared())
    for losses in full:
        step.add(losses)
    balance = step.resolve()
    assert balance.names == ("0", "2", "1")
    assert torch.allclose(flat(model.shared()), want, rtol=1e-11)


def test_activations_of_several_batches() -> None:
    model = Tasks("linear and layer norm")
    model.zero_grad()
    step = Accumulation(create("graddrop", leak=1.0), batches=2)
    for x, y in ((model.x[:2], model.y[:, :2]), (model.x[2:], model.y[:, 2:])):
        z = model.trunk(x)
        losses = {str(t): (h(z)[:, 0] - y[t]).square().sum() for t, h in enumerate(model.heads)}
        step.add(losses, representation=z)
    step.resolve()
    got = gradients(model)
    model.zero_grad()
    z = model.trunk(model.x)
    (sum((h(z)[:, 0] - model.y[t]).square().sum() for t, h in enumerate(model.heads)) / 2).backward()
    for key, value in gradients(model).items():
        assert torch.allclose(got[key], value, rtol=1e-11), key


def test_methods_on_losses_weigh_each_batch() -> None:
    model, balancer = Tasks("linear and layer norm"), create("constant", weights={"0": 1.0, "1": 2.0, "2": 3.0})
    sum(float(i + 1) * v for i, v in enumerate(model.losses().values())).backward()
    want = gradients(model)
    model.zero_grad()
    step = Accumulation(balancer, batches=2)
    for losses in parts(model, [2, 3]):
        step.add(losses)
    balance = step.resolve()
    assert balance.names == ("0", "1", "2")
    assert [float(w) for w in balance.weights.values()] == [1.0, 2.0, 3.0]
    for key, value in gradients(model).items():
        assert torch.allclose(value, want[key], rtol=1e-11)


@pytest.mark.parametrize("policy", ["raise", "skip task", "skip step"])
def test_a_loss_that_is_not_finite_in_one_of_the_batches(policy: str) -> None:
    model = Tasks("linear and layer norm")
    step = Accumulation(create("pcgrad"), batches=2, shared=model.shared(), on_nonfinite=policy)
    step.add(model.losses())
    broken = model.losses() | {"1": model.losses()["1"] * float("nan")}
    if policy == "raise":
        with pytest.raises(BalanceError, match='the loss of task "1" is NaN'):
            step.add(broken)
        return
    step.add(broken)
    balance = step.resolve()
    assert balance.skipped == ("1",)
    assert balance.names == (("0", "2") if policy == "skip task" else ())
    if policy == "skip step":
        assert all(p.grad is None for p in model.parameters())


def test_it_can_be_used_again() -> None:
    model = Tasks("linear and layer norm")
    step = Accumulation(create("pcgrad"), batches=1, shared=model.shared())
    for _ in range(2):
        model.zero_grad()
        step.add(model.losses())
        step.resolve()
    again = flat(model.shared())
    model.zero_grad()
    sw.backward(model.losses(), create("pcgrad"), shared=model.shared())
    assert torch.equal(again, flat(model.shared()))


def test_counts_that_do_not_fit() -> None:
    model = Tasks("linear and layer norm")
    step = Accumulation(create("pcgrad"), batches=2)
    step.add(model.losses())
    with pytest.raises(BalanceError, match="2 batches were announced and 1 added"):
        step.resolve()
    step.add(model.losses())
    with pytest.raises(BalanceError, match="all 2 batches announced were added"):
        step.add(model.losses())
    with pytest.raises(OptionError, match="batches must be a whole number of at least 1, got 0"):
        Accumulation(create("pcgrad"), batches=0)


def test_batches_and_samples_whose_rows_are_kept_in_different_ways() -> None:
    """A batch shared by all tasks, one whose examples are owned, and one with a pass a task."""
    torch.manual_seed(0)
    model = Tasks("linear and layer norm")
    kinds = (Tasks.losses, Tasks.losses_apart, Tasks.losses_of_passes)
    rows = [jacobian(losses(model), model.shared()) for losses in kinds]
    step = Accumulation(create("pcgrad"), batches=3, shared=model.shared())
    for losses in kinds:
        step.add(losses(model))
    mean = sum(rows) / 3
    assert torch.allclose(step.resolve().gram, mean @ mean.T, rtol=1e-11)
    grams: list[Tensor] = []
    balancer = create("modo")
    weights = balancer.weights
    balancer.weights = lambda gram, *a, **k: grams.append(gram) or weights(gram, *a, **k)
    sw.backward([losses(model) for losses in kinds], balancer, shared=model.shared())
    assert torch.allclose(grams[0], rows[0] @ rows[1].T, rtol=1e-11)


def test_memory_for_rows_is_used_again_and_never_shared() -> None:
    """The same matrix serves step after step, gradients never lie in it, and a copied balancer gets none of it."""
    model, balancer = Tasks("linear and layer norm"), create("graddrop", leak=1.0)
    found = []
    for _ in range(2):
        model.zero_grad()
        sw.backward(model.losses(), balancer, shared=model.shared())
        found.append(balancer.room.free[0])
    assert found[0].data_ptr() == found[1].data_ptr()
    memory = {p.grad.untyped_storage().data_ptr() for p in model.shared()}
    assert found[0].untyped_storage().data_ptr() not in memory
    assert copy.deepcopy(balancer).room.free == []
    model.zero_grad()
    kept = sw.backward(model.losses(), balancer, shared=model.shared(), rows=True).rows
    before = [rows.clone() for _, rows in kept.parameters()]
    sw.backward({name: 2 * loss for name, loss in model.losses().items()}, balancer, shared=model.shared())
    assert all(torch.equal(a, b) for a, (_, b) in zip(before, kept.parameters(), strict=True))
    del model.heads[1:]
    model.zero_grad()
    sw.backward({"0": model.losses()["0"]}, balancer, shared=model.shared())
    assert torch.allclose(flat(model.shared()), jacobian({"0": model.losses()["0"]}, model.shared())[0])
