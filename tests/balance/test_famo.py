"""FAMO: values by hand, the second look, the promise of even rates, parity."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import sharewise as sw
from sharewise.balance import FAMO, create
from sharewise.errors import BalanceError, OptionError

PAIR = ["a", "b"]


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def logits(balancer: FAMO) -> list[float]:
    return balancer.task_state.read("logit", PAIR)[:, 0].tolist()


def test_first_weights_by_hand() -> None:
    # z = (1/2, 1/2): weights proportional to 1/L, summing to 1: (1/2 + 1/8)^-1 (1/2, 1/8) = (0.8, 0.2)
    assert FAMO().weights(vector(2.0, 8.0), names=PAIR).tolist() == pytest.approx([0.8, 0.2], rel=1e-8)


def test_lower_bounds_by_hand() -> None:
    # Gaps 2 - 1 = 1 and 8 - 5 = 3: weights (1, 1/3) / (4/3) = (0.75, 0.25)
    balancer = FAMO(lower_bounds={"a": 1.0, "b": 5.0})
    assert balancer.weights(vector(2.0, 8.0), names=PAIR).tolist() == pytest.approx([0.75, 0.25], rel=1e-7)
    # A loss that is negative is fine above its bound: the gap is 1 again.
    balancer = FAMO(lower_bounds={"a": -3.0})
    assert balancer.weights(vector(-2.0, 1.0), names=PAIR).tolist() == pytest.approx([0.5, 0.5], rel=1e-7)


def test_the_update_by_hand() -> None:
    balancer = FAMO(learning_rate=0.1, decay=0.0)
    balancer.weights(vector(1.0, 1.0), names=PAIR)
    balancer.look_again({"a": vector(math.exp(-1.0))[0], "b": vector(1.0)[0]})
    # delta = (1, 0), z = (1/2, 1/2): gradient (1/4, -1/4); Adam's first step is the learning rate times the sign.
    # The task that improved loses weight.
    assert logits(balancer) == pytest.approx([-0.1, 0.1], rel=1e-6)
    assert balancer.task_state.read("logit", PAIR)[:, 1].tolist() == pytest.approx([0.025, -0.025], rel=1e-6)
    assert balancer.task_state.read("logit", PAIR)[:, 2].tolist() == pytest.approx([6.25e-5] * 2, rel=1e-6)
    # Equal losses now: weights are the softmax of the logits.
    assert balancer.weights(vector(1.0, 1.0), names=PAIR).tolist() == pytest.approx(
        [1 / (1 + math.exp(0.2)), 1 / (1 + math.exp(-0.2))], rel=1e-6
    )


def test_a_loss_in_other_units_gets_its_weight_in_other_units() -> None:
    one, other = FAMO(), FAMO()
    for step in range(5):
        a, b = 0.8**step, 0.9**step
        w = one.weights(vector(a, b), names=PAIR)
        v = other.weights(vector(1e6 * a, b), names=PAIR)
        assert float(v[0] / v[1]) == pytest.approx(float(w[0] / w[1]) / 1e6, rel=1e-6)
        one.look_again({"a": vector(0.8 * a)[0], "b": vector(0.9 * b)[0]})
        other.look_again({"a": vector(0.8e6 * a)[0], "b": vector(0.9 * b)[0]})
    assert logits(one) == pytest.approx(logits(other), rel=1e-6)


def test_the_losses_come_to_fall_at_equal_rates() -> None:
    """Where one logarithm falls nine times as fast under equal weights, FAMO learns weights that even it out."""

    def rates(name: str) -> list[float]:
        x = torch.nn.Parameter(vector(0.0, 0.0))
        optimizer = torch.optim.SGD([x], lr=0.005)
        balancer = create(name, **({"learning_rate": 0.1, "decay": 0.0} if name == "famo" else {}))
        for _ in range(150):
            optimizer.zero_grad()
            before = {"a": (3 * x[0]).exp(), "b": x[1].exp()}
            sw.backward(before, balancer)
            optimizer.step()
            after = {"a": (3 * x[0]).exp().detach(), "b": x[1].exp().detach()}
            if balancer.looks_again:
                balancer.look_again(after)
        return [math.log(float(before[k].detach()) / float(after[k])) for k in PAIR]

    fast, slow = rates("scale_invariant")
    assert fast / slow == pytest.approx(9.0)
    fast, slow = rates("famo")
    assert fast / slow == pytest.approx(1.0, abs=0.1)


def test_a_second_look_counts_once() -> None:
    balancer = FAMO()
    balancer.weights(vector(1.0, 1.0), names=PAIR)
    after = {"a": vector(0.5)[0], "b": vector(1.0)[0]}
    balancer.look_again(after)
    state = logits(balancer)
    balancer.look_again(after)
    assert logits(balancer) == state


def test_a_second_look_is_about_the_tasks_of_the_decision() -> None:
    balancer = FAMO()
    balancer.weights(vector(1.0), names=["b"])
    with pytest.raises(BalanceError, match='about task "b": give look_again its loss'):
        balancer.look_again({"a": vector(0.5)[0]})
    balancer.look_again({"a": vector(0.5)[0], "b": vector(0.5)[0]})
    assert balancer.task_state.read("logit", PAIR)[:, 3].tolist() == [0.0, 1.0]


def test_a_loss_that_is_not_finite_leaves_its_task_as_it_is() -> None:
    balancer = FAMO()
    balancer.weights(vector(1.0, 2.0), names=PAIR)
    balancer.look_again({"a": vector(math.nan)[0], "b": vector(1.0)[0]})
    assert balancer.task_state.read("logit", PAIR)[:, 3].tolist() == [0.0, 1.0]
    assert all(map(math.isfinite, logits(balancer)))


def test_a_loss_below_its_bound_is_refused_by_name() -> None:
    with pytest.raises(BalanceError, match=r'"b" is -0\.5, below its lower bound 0: .*lower_bounds=\{\'b\''):
        FAMO().weights(vector(1.0, -0.5), names=PAIR)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"decay": math.nan}, "decay"),
        ({"tasks": ["height"], "lower_bounds": {"hieght": 0.0}}, 'names task "hieght".*did you mean "height"'),
        ({"lower_bounds": {"a": math.inf}}, 'bound of task "a" must be a finite'),
    ],
)
def test_wrong_options(options: dict, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        create("famo", **options)


def test_the_same_as_torchjd() -> None:
    bounds = vector(0.0, 0.1, -1.0)
    module = pytest.importorskip("torchjd.scalarization", reason="torchjd is not installed")
    peer = module.FAMO(3, min_losses=bounds, lr=0.05, weight_decay=1e-2).double()
    names = ["a", "b", "c"]
    ours = FAMO(lower_bounds=dict(zip(names, bounds.tolist(), strict=True)), learning_rate=0.05, decay=1e-2)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        losses = (torch.rand(3, generator=generator, dtype=torch.float64) + 0.5).requires_grad_()
        (expected,) = torch.autograd.grad(peer(losses), losses)
        assert torch.allclose(ours.weights(losses.detach(), names=names), expected, rtol=1e-10)
        after = losses.detach() * torch.rand(3, generator=generator, dtype=torch.float64).add(0.2)
        after = after.clamp_min(0.15)
        peer.update(after)
        ours.look_again(dict(zip(names, after, strict=True)))
