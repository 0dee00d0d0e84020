"""Dynamic weight averaging: values by hand, epochs, absence."""

from __future__ import annotations

import math

import pytest
import torch

from sharewise.balance import DWA, create
from sharewise.errors import BalanceError, OptionError


def epoch(balancer: DWA, *steps: dict[str, float]) -> dict[str, float]:
    """An epoch's weights in its last step."""
    for step in steps:
        found = balancer.weights(torch.tensor(list(step.values()), dtype=torch.float64), names=list(step))
    balancer.end_epoch()
    return dict(zip(steps[-1], found.tolist(), strict=True))


def test_weights_by_hand() -> None:
    balancer = DWA()
    assert epoch(balancer, {"a": 3.0, "b": 10.0}, {"a": 5.0, "b": 6.0}) == {"a": 1.0, "b": 1.0}  # means 4 and 8
    assert epoch(balancer, {"a": 2.0, "b": 8.0}) == {"a": 1.0, "b": 1.0}  # ratios 2/4 and 8/8
    # 2 exp(r / 2) / (exp(1/4) + exp(1/2)): 2 / (1 + e^(1/4)) and 2 / (1 + e^(-1/4))
    found = epoch(balancer, {"a": 2.0, "b": 6.0})
    assert found == pytest.approx({"a": 2 / (1 + math.exp(0.25)), "b": 2 / (1 + math.exp(-0.25))}, rel=1e-12)
    assert found["a"] == pytest.approx(0.8756474)


def test_weights_sum_to_the_tasks_present() -> None:
    balancer = DWA(temperature=0.5)
    for scale in (1.0, 0.3, 0.2):
        epoch(balancer, {"a": scale, "b": 1.0, "c": scale**2})
    for names in (["a", "b", "c"], ["c", "a"], ["b"]):
        assert float(balancer.weights(torch.ones(len(names)), names=names).sum()) == pytest.approx(len(names))


def test_an_absent_epoch_keeps_the_ratio_and_compares_with_the_last_one_seen() -> None:
    balancer = DWA()
    epoch(balancer, {"a": 4.0, "b": 1.0})
    epoch(balancer, {"a": 2.0, "b": 1.0})
    epoch(balancer, {"b": 1.0})
    assert balancer.task_state.read("ratio", ["a", "b"]).tolist() == [0.5, 1.0]
    epoch(balancer, {"a": 0.5, "b": 1.0})
    assert balancer.task_state.read("ratio", ["a"]).tolist() == [0.25]  # 0.5 / 2, the last epoch it had


def test_a_loss_that_is_not_finite_does_not_spoil_the_epoch() -> None:
    balancer = DWA()
    epoch(balancer, {"a": 4.0}, {"a": math.inf}, {"a": math.nan})
    assert balancer.task_state.read("mean", ["a"]).tolist() == [4.0]


def test_a_mean_that_is_not_above_zero_is_refused_by_name() -> None:
    balancer = DWA()
    balancer.weights(torch.tensor([1.0, -1.0]), names=["a", "b"])
    with pytest.raises(BalanceError, match=r'the mean loss over the epoch of task "b" is -1, and DWA needs .* shift'):
        balancer.end_epoch()


def test_an_epoch_without_a_step() -> None:
    balancer = DWA()
    balancer.end_epoch()
    epoch(balancer, {"a": 1.0})
    balancer.end_epoch()
    assert balancer.task_state.read("mean", ["a"]).tolist() == [1.0]


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_wrong_options(temperature: float) -> None:
    with pytest.raises(OptionError, match="temperature must be a positive number"):
        create("dwa", temperature=temperature)


def test_the_same_as_torchjd() -> None:
    peer = pytest.importorskip("torchjd.scalarization", reason="torchjd is not installed").DWA(temperature=2.0)
    ours, names = DWA(temperature=2.0), [f"task {i}" for i in range(4)]
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        for _ in range(3):
            losses = (torch.rand(4, generator=generator, dtype=torch.float64) + 0.1).requires_grad_()
            (expected,) = torch.autograd.grad(peer(losses), losses)
            assert torch.allclose(ours.weights(losses.detach(), names=names), expected, rtol=1e-12)
        peer.step()
        ours.end_epoch()
