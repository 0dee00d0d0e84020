"""GradNorm: hand-calculated steps, where they lead, initial losses, and what happens to tasks that are absent."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from safetensors.torch import load, save
from torch import Tensor

from helpers.matrices import matrices, rows
from sharewise.balance import GradNorm, create
from sharewise.balance._gram import gram_matrix
from sharewise.errors import BalanceError, OptionError


def gram_of(*norms: float) -> Tensor:
    """Orthogonal rows of these norms."""
    return torch.diag(torch.tensor(norms, dtype=torch.float64).square())


def decide(balancer: GradNorm, gram: Tensor, *losses: float, names: list[str] | None = None) -> list[float]:
    return balancer.weights(gram, torch.tensor(losses), names=names).tolist()


def test_a_step_of_sgd_by_hand() -> None:
    # Norms 3 and 1, weights 1, so the mean G is 2 and the rates are equal: 3 > 2 and 1 < 2. The slopes are 3/2 and
    # -1/2 (over G); the weights become (0.85, 1.05), and times 2 / 1.9 their sum is 2 again.
    balancer = create("gradnorm", optimizer="sgd", lr=0.1)
    assert decide(balancer, gram_of(3.0, 1.0), 1.0, 1.0) == [1.0, 1.0]
    assert decide(balancer, gram_of(3.0, 1.0), 1.0, 1.0) == pytest.approx([17 / 19, 21 / 19])


def test_a_step_of_adam_by_hand() -> None:
    # Adam's first step is the learning rate, whatever the slope.
    balancer = create("gradnorm")
    decide(balancer, gram_of(3.0, 1.0), 1.0, 1.0)
    assert decide(balancer, gram_of(3.0, 1.0), 1.0, 1.0) == pytest.approx([0.975, 1.025])


def test_training_rates_by_hand() -> None:
    # Norms 1 and 1. The losses went from 1 to 0.4 and from 10 to 8: ratios 0.4 and 0.8, relative to their mean 2/3 and
    # 4/3. The slower task is below its target of 4/3, the other above 2/3: slopes -1 and 1.
    balancer = create("gradnorm", optimizer="sgd", lr=0.1, alpha=1.0)
    decide(balancer, gram_of(0.0, 0.0), 1.0, 10.0)
    decide(balancer, gram_of(1.0, 1.0), 0.4, 8.0)
    assert decide(balancer, gram_of(0.0, 0.0), 0.4, 8.0) == pytest.approx([0.9, 1.1])


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_norms_reach_the_mean_times_the_rates(optimizer: str, size: float) -> None:
    # Constant norms and losses: w_k |g_k| becomes proportional to r_k^alpha, at any scale of the losses.
    norms, alpha = [size * n for n in (1.0, 4.0, 2.0)], 0.5
    balancer = create("gradnorm", optimizer=optimizer, lr=2e-3, alpha=alpha, initial={"0": 1.0, "1": 1.0, "2": 2.0})
    for _ in range(3000):
        weights = decide(balancer, gram_of(*norms), 0.5, 0.8, 1.0)
    want = torch.tensor([0.5**alpha / 1, 0.8**alpha / 4, 0.5**alpha / 2])
    assert weights == pytest.approx((3 * want / want.sum()).tolist(), rel=0.03)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(matrices())
def test_weights_are_positive_and_of_sum_m(matrix: Tensor) -> None:
    balancer = create("gradnorm", lr=0.5, optimizer="sgd")
    for _ in range(4):
        weights = balancer.weights(gram_matrix([matrix]))
        assert float(weights.min()) > 0
        assert float(weights.sum()) == pytest.approx(len(matrix), rel=1e-12)


def test_initial_losses_of_the_first_epoch() -> None:
    balancer = create("gradnorm", initial="epoch", optimizer="sgd", lr=0.1, alpha=1.0)
    for loss in (1.0, 3.0):  # until the epoch ends nothing is learned
        assert decide(balancer, gram_of(3.0, 1.0), loss, 5.0) == [1.0, 1.0]
    balancer.end_epoch()
    # Means 2 and 5. Ratios 0.5 and 1, relative 2/3 and 4/3; norms 1: slopes 1 and -1.
    decide(balancer, gram_of(1.0, 1.0), 1.0, 5.0)
    assert decide(balancer, gram_of(0.0, 0.0), 1.0, 5.0) == pytest.approx([0.9, 1.1])
    balancer.end_epoch()
    assert balancer.task_state.read("initial", ["0", "1"]).tolist() == [2.0, 5.0]


def test_a_first_loss_of_zero_is_not_taken() -> None:
    balancer = create("gradnorm")
    decide(balancer, gram_of(1.0, 1.0), 0.0, 1.0)
    decide(balancer, gram_of(1.0, 1.0), 2.0, 1.0)
    assert balancer.task_state.read("initial", ["0", "1"]).tolist() == [2.0, 1.0]


def test_a_task_that_is_absent_keeps_its_weight_moments_and_initial_loss() -> None:
    balancer = create("gradnorm", optimizer="sgd", lr=0.1)
    for _ in range(2):
        three = decide(balancer, gram_of(3.0, 1.0, 2.0), 4.0, 5.0, 6.0, names=["a", "b", "c"])
    before = balancer.task_state.read("weight", ["c"])
    pair = decide(balancer, gram_of(3.0, 1.0), 2.0, 5.0, names=["a", "b"])
    assert sum(pair) == pytest.approx(2.0)
    assert torch.equal(balancer.task_state.read("weight", ["c"]), before)
    assert float(balancer.task_state.read("initial", ["c"])) == 6.0
    after = decide(balancer, gram_of(0.0, 0.0, 0.0), 4.0, 5.0, 6.0, names=["a", "b", "c"])
    assert sum(after) == pytest.approx(3.0)
    assert after[2] == pytest.approx(float(before[0, 0]))
    assert three[0] > after[0]


@pytest.mark.parametrize("initial", ["first", "epoch"])
def test_resumed_in_the_middle_of_an_epoch_it_continues_bit_for_bit(initial: str) -> None:
    whole, first = create("gradnorm", initial=initial), create("gradnorm", initial=initial)
    for step in range(9):
        if step in (2, 5):
            saved, first = load(save(first.state_dict())), create("gradnorm", initial=initial)
            first.load_state_dict(saved)
        gram, losses = (
            gram_matrix([rows(4, 20, seed=step)]),
            torch.rand(4, generator=torch.Generator().manual_seed(step)),
        )
        assert torch.equal(whole.weights(gram, losses), first.weights(gram, losses))
        if step % 4 == 3:
            whole.end_epoch()
            first.end_epoch()
    assert not torch.equal(whole.weights(gram, losses), torch.ones(4, dtype=torch.float64))


def test_an_overflow_teaches_nothing_of_that_task() -> None:
    balancer = create("gradnorm", optimizer="sgd", lr=0.1)
    decide(balancer, gram_of(3.0, 1.0, math.inf), 1.0, 1.0, 1.0)
    decide(balancer, gram_of(0.0, 0.0, 0.0), 1.0, 1.0, math.nan)
    assert decide(balancer, gram_of(0.0, 0.0, 0.0), 1.0, 1.0, 1.0) == pytest.approx([17 / 19, 21 / 19, 1.0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": -1.0}, "alpha must be a number >= 0, got -1.0"),
        ({"lr": math.nan}, "lr must be a number >= 0"),
        ({"optimizer": "adma"}, 'optimizer "adma" is not known; did you mean "adam"'),
        ({"initial": "epohc"}, 'initial "epohc" is not known; did you mean "epoch"'),
        ({"initial": {"a": 0.0}}, 'the initial loss of task "a" must be a positive number, got 0.0'),
    ],
)
def test_options_out_of_range(options: dict, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        create("gradnorm", **options)


def test_losses_that_have_no_ratio() -> None:
    with pytest.raises(BalanceError, match='the loss of task "b" is -2, and gradnorm compares'):
        decide(create("gradnorm"), gram_of(1.0, 1.0), 1.0, -2.0, names=["a", "b"])
    with pytest.raises(BalanceError, match='no initial loss for task "prise": did you mean "price"'):
        decide(create("gradnorm", initial={"price": 1.0}), gram_of(1.0), 1.0, names=["prise"])
