"""The fast roll-out against the paper's loop, and its gradient against finite differences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import pytest
import torch

from sharewise.errors import OptionError
from sharewise.systems.crops import FergusonHardiness, GDDPhenology
from sharewise.systems.crops._dynamic import Days, DynamicCalibration, Forecast
from sharewise.systems.crops._network import Conditioning, StackedGRU
from sharewise.systems.crops._process import Process
from sharewise.systems.crops._training import masked_mse

PROCESSES = [GDDPhenology(), FergusonHardiness()]


def make(process: Process, n_days: int = 31, seeds: Sequence[int] = (1, 2), hidden: int = 6, **kwargs: object) -> tuple:
    """A model in float64 with lively weights, and seasons: 2 nets, 3 seasons of 5 cultivars."""
    random = torch.Generator().manual_seed(7)
    model = DynamicCalibration(process, seeds, 4, 5, hidden, **kwargs).double()  # type: ignore[arg-type]
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(3)
    shape = (len(seeds), n_days, 3)
    days = Days(
        torch.randn(*shape, 4, generator=random, dtype=torch.float64),
        12 + 4 * torch.randn(shape, generator=random, dtype=torch.float64),
        torch.full(shape, 14.0, dtype=torch.float64),
        torch.randint(0, 5, (len(seeds), 3), generator=random),
        3 * torch.rand(shape, generator=random, dtype=torch.float64),
        (torch.rand(shape, generator=random) < 0.3).double(),
    )
    return model, days


def gradients(model: DynamicCalibration, days: Days, forecast: Forecast) -> dict[str, torch.Tensor]:
    model.zero_grad()
    masked_mse(forecast.output, days.target, days.observed).sum().backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: p.name)
@pytest.mark.parametrize(
    "options",
    [
        *({"conditioning": c} for c in get_args(Conditioning)),
        {"every": 5},
        {"smooth": 0.1},
        {"every": 4, "smooth": 0.2},
    ],
    ids=str,
)
def test_fast_roll_out_is_the_papers_loop(process: Process, options: dict) -> None:
    model, days = make(process, **options)
    fast, slow = model(days), model.rollout(days)
    torch.testing.assert_close(fast.output, slow.output, rtol=0, atol=1e-12)
    torch.testing.assert_close(fast.parameters, slow.parameters, rtol=1e-12, atol=1e-12)
    ours, papers = gradients(model, days, model(days)), gradients(model, days, model.rollout(days))
    assert ours.keys() == papers.keys() and len(ours) >= 12
    for name, gradient in ours.items():
        torch.testing.assert_close(gradient, papers[name], rtol=1e-9, atol=1e-11, msg=name)
    assert ours["net.weight_1"].abs().max() > 1e-4, "a gradient of zero would agree with anything"


def test_gradient_against_finite_differences() -> None:
    # The output is fed back detached: the true derivative of the map with the feedback held fixed is what
    # back-propagation must give. Weights of the fed-back input are zero here, so both are the same.
    model, days = make(FergusonHardiness(), n_days=6, seeds=(3,), hidden=2, conditioning="none")
    with torch.no_grad():
        model.net.weight_1[:, 0] = 0
    names = [n for n, _ in model.named_parameters()]
    values = [p.detach().clone().requires_grad_() for p in model.parameters()]

    def loss(*weights: torch.Tensor) -> torch.Tensor:
        forecast = torch.func.functional_call(model, dict(zip(names, weights, strict=True)), (days,))
        return masked_mse(forecast.output, days.target, days.observed).sum()

    # The slope of the fed-back column differs: moving it changes the feedback too. It is left out.
    free = [v for n, v in zip(names, values, strict=True) if n != "net.weight_1"]
    fixed = values[names.index("net.weight_1")].detach()

    def without(*weights: torch.Tensor) -> torch.Tensor:
        stack = list(weights)
        stack.insert(names.index("net.weight_1"), fixed)
        return loss(*stack)

    assert torch.autograd.gradcheck(without, free, eps=1e-6, atol=1e-6)


def test_feedback_is_detached_and_used() -> None:
    model, days = make(GDDPhenology(), conditioning="none")
    with_feedback = model(days).parameters
    with torch.no_grad():
        model.net.weight_1[:, 0] = 0
    assert not torch.allclose(model(days).parameters, with_feedback), "yesterday's output must reach the net"


def test_parameters_change_every_day_or_every_so_many() -> None:
    model, days = make(GDDPhenology())
    assert (model(days).parameters.diff(dim=1).abs().amax((0, 2, 3)) > 0).all()
    model, days = make(GDDPhenology(), every=5)
    changed = model(days).parameters.diff(dim=1).abs().amax((0, 2, 3)) > 0
    assert changed.nonzero().flatten().tolist() == [4, 9, 14, 19, 24, 29]


@pytest.mark.parametrize("every", [1, 5])
def test_no_look_ahead(every: int) -> None:
    model, days = make(GDDPhenology(), every=every)
    cut = 17
    later = days._replace(
        features=torch.cat([days.features[:, :cut], days.features[:, cut:] + 9], 1),
        temperature=torch.cat([days.temperature[:, :cut], days.temperature[:, cut:] + 9], 1),
    )
    with torch.no_grad():
        before, after = model(days), model(later)
    assert torch.equal(before.output[:, :cut], after.output[:, :cut])
    assert torch.equal(before.parameters[:, :cut], after.parameters[:, :cut])
    assert not torch.equal(before.parameters[:, cut:], after.parameters[:, cut:])


def test_start_at_stock() -> None:
    process = GDDPhenology()
    model = DynamicCalibration(process, [0], 4, 5, 6, start_at_stock=True)
    plain = DynamicCalibration(process, [0], 4, 5, 6)
    with torch.no_grad():
        model.net.weight_4.zero_()
        model.net.bias_4 -= plain.net.bias_4
    _, days = make(process, seeds=(1,))
    single = Days(*(x.float() if x.is_floating_point() else x for x in days[:6]))
    wanted = torch.tensor([8.19, 25, 95.5, 223, 659, 581, 955])  # the last and TSUMEM moved into the range
    torch.testing.assert_close(model(single).parameters[0, 3, 1], wanted, rtol=1e-4, atol=1e-3)


def test_stacked_gru_is_torchs_gru() -> None:
    net = StackedGRU([0, 5], 3, 2, 4, 6, "none", n_fed=0).double()
    x = torch.randn(2, 11, 3, 3, dtype=torch.float64)
    cultivar = torch.zeros(2, 3, dtype=torch.long)
    for g in range(2):
        gru = torch.nn.GRU(6, 6, batch_first=True).double()
        with torch.no_grad():
            for ours, theirs in (("weight_ih", "weight_ih_l0"), ("weight_hh", "weight_hh_l0")):
                getattr(gru, theirs).copy_(getattr(net, ours)[g].T)
            gru.bias_ih_l0.copy_(net.bias_ih[g])
            gru.bias_hh_l0.copy_(net.bias_hh[g])
            first = x[g].transpose(0, 1) @ net.weight_1[g] + net.bias_1[g]
            hidden, _ = gru(first @ net.weight_2[g] + net.bias_2[g])
            half = torch.relu(torch.relu(hidden) @ net.weight_3[g] + net.bias_3[g])
            wanted = half @ net.weight_4[g, 0] + net.bias_4[g, 0]
            torch.testing.assert_close(net.sequence(x, cultivar)[g].transpose(0, 1), wanted)


def test_bad_options_are_named() -> None:
    with pytest.raises(OptionError, match='"concatt" is not known: did you mean "concat"'):
        StackedGRU([0], 3, 2, 4, 6, "concatt")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="even number"):
        StackedGRU([0], 3, 2, 4, 5)
    with pytest.raises(OptionError, match="needs n_fed=0"):
        StackedGRU([0], 3, 2, 4, 6, activation=True)
    with pytest.raises(OptionError, match="every must be at least 1"):
        make(GDDPhenology(), every=0)
    with pytest.raises(OptionError, match="smooth must lie"):
        make(GDDPhenology(), smooth=2.0)
