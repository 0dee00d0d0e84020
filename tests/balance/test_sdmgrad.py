"""SDMGrad: hand-calculated steps, weights on the simplex, where the steps lead, and agreement with the peer."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from torchjd.aggregation import SDMGradWeighting as Peer

from helpers.matrices import matrices, rows
from sharewise.balance import create
from sharewise.balance._gram import gram_matrix
from sharewise.errors import OptionError

GRAM = torch.diag(torch.tensor([1.0, 9.0], dtype=torch.float64))  # mean norm 2, so divided by 4: (0.25, 2.25)


def test_one_inner_step_by_hand() -> None:
    # A (1/2, 1/2) = (0.125, 1.125); w - 0.1 of it = (0.4875, 0.3875), which lacks 0.125.
    assert create("sdmgrad", pull=0.0, lr=0.1, steps=1).weights(GRAM).tolist() == pytest.approx([0.55, 0.45])
    # With pull 1: A (1, 1) = (0.25, 2.25); w = (0.475, 0.275) + 0.125; and the weights are (w + 1/2) / 2.
    assert create("sdmgrad", pull=1.0, lr=0.1, steps=1).weights(GRAM).tolist() == pytest.approx([0.55, 0.45])


def test_momentum_by_hand() -> None:
    # w = (0.55, 0.45) after one step of velocity (0.125, 1.125); the next is half of that plus A w = (0.1375, 1.0125),
    # in all (0.2, 1.575): w - 0.1 of it = (0.53, 0.2925), which lacks 0.1775.
    balancer = create("sdmgrad", pull=0.0, lr=0.1, momentum=0.5, steps=2)
    assert balancer.weights(GRAM).tolist() == pytest.approx([0.61875, 0.38125])


def test_products_of_two_batches_are_not_transposed() -> None:
    # sqrt(2) and 0 on the diagonal: mean norm^2 1/2. A w = 2 (1.5, 0.5) = (3, 1); (0.2, 0.4) lacks 0.4.
    gram = torch.tensor([[2.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    assert create("sdmgrad", pull=0.0, lr=0.1, steps=1).weights(gram).tolist() == pytest.approx([0.4, 0.6])
    gram = torch.tensor([[2.0, 1.0], [3.0, 0.0]], dtype=torch.float64)  # A w = (3, 3): nothing moves
    assert create("sdmgrad", pull=0.0, lr=0.1, steps=1).weights(gram).tolist() == pytest.approx([0.5, 0.5])


@settings(max_examples=100, deadline=None, derandomize=True)
@given(matrices(), matrices())
def test_weights_stay_on_the_simplex(one: torch.Tensor, other: torch.Tensor) -> None:
    m, n = min(len(one), len(other)), min(one.shape[1], other.shape[1])
    balancer = create("sdmgrad")
    for gram in (one[:m, :n].double() @ other[:m, :n].double().T, gram_matrix([other[:m]])):
        weights = balancer.weights(gram)
        assert float(weights.min()) >= 0
        assert float(weights.sum()) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_small_steps_lead_to_the_shortest_combination_at_any_scale(size: float) -> None:
    # The minimum of |G^T (w + pull / m)|^2 over the simplex: the slope is smallest, and the same, where w > 0.
    matrix = size * rows(6, 8, seed=1)
    gram, balancer = matrix @ matrix.T, create("sdmgrad", lr=0.1)
    for _ in range(100):
        weights = balancer.weights(gram)
    w = 1.3 * weights - 0.3 / 6
    slope = gram @ weights
    used = w > 1e-9
    assert 1 < int(used.sum()) < 6
    assert float(slope[used].max() - slope.min()) <= 1e-6 * float(slope.max())
    # So no task is opposed more than the pull allows: the direction is a descent direction for the mean of all.
    assert float(weights @ gram @ weights) > 0


def test_the_default_rate_settles_where_the_authors_does_not() -> None:
    # |G^T w|^2 after one call, against the minimum: within a thousandth at a rate of 1, several times it at 10.
    for seed in range(5):
        matrix = rows(10, 30, seed=seed)
        gram = matrix @ matrix.T
        found = [create("sdmgrad", lr=lr, steps=n).weights(gram) for lr, n in ((0.02, 3000), (1.0, 20), (10.0, 20))]
        least, ours, authors = (float(w @ gram @ w) for w in found)
        assert ours <= 1.001 * least
        assert authors > 2 * least


@pytest.mark.parametrize(("m", "lr"), [(1, 1.0), (2, 1.0), (5, 1.0), (40, 1.0), (2, 10.0), (5, 10.0)])
def test_agrees_with_the_peer(m: int, lr: float) -> None:
    ours, peer = create("sdmgrad", lr=lr), Peer(lr=lr)
    for step in range(5):
        # The peer adds 1e-8 to the square of the scale, and steps of 10 that do not settle magnify it: large gradients.
        one, noise = (1e4 * rows(m, 30, seed=seed) for seed in (step, 100 + step))
        gram = one @ (one + 0.1 * noise).T
        assert torch.allclose(ours.weights(gram), peer(gram), atol=1e-5)


def test_without_a_scale_the_weights_rest() -> None:
    balancer = create("sdmgrad", pull=0.0)
    assert balancer.weights(-torch.ones(2, 2, dtype=torch.float64)).tolist() == [0.5, 0.5]
    assert balancer.weights(torch.zeros(2, 2, dtype=torch.float64)).tolist() == [0.5, 0.5]


def test_negative_products_of_a_task_with_itself_do_not_count_for_the_scale() -> None:
    # Noise of two batches: the mean norm is (2 + 0) / 2. A w = (2, -2); (0.3, 0.7) is on the simplex.
    gram = torch.diag(torch.tensor([4.0, -4.0], dtype=torch.float64))
    assert create("sdmgrad", pull=0.0, lr=0.1, steps=1).weights(gram).tolist() == pytest.approx([0.3, 0.7])


def test_an_overflow_spares_the_weights() -> None:
    balancer, twin = (create("sdmgrad", pull=0.0, lr=0.1, steps=1) for _ in range(2))
    balancer.weights(GRAM)
    twin.weights(GRAM)
    balancer.weights(torch.full((2, 2), math.nan, dtype=torch.float64))
    assert torch.equal(balancer.weights(GRAM), twin.weights(GRAM))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pull": -0.1}, "pull must be a number >= 0, got -0.1"),
        ({"lr": 0.0}, "lr must be a positive number, got 0.0"),
        ({"momentum": 1.0}, "momentum must be at least 0 and below 1, got 1.0"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
    ],
)
def test_options_out_of_range(options: dict, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        create("sdmgrad", **options)
