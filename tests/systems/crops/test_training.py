"""Masked loss, the plateau, and nets trained side by side as if alone."""

from __future__ import annotations

import pytest
import torch

from sharewise.errors import DataError
from sharewise.systems.crops import GDDPhenology
from sharewise.systems.crops._dynamic import Days, DynamicCalibration
from sharewise.systems.crops._training import Plateau, _step, masked_mse, take, train


def seasons(nets: int, count: int = 4, n_days: int = 12) -> Days:
    random = torch.Generator().manual_seed(3)
    shape = (nets, n_days, count)
    return Days(
        torch.randn(*shape, 3, generator=random, dtype=torch.float64),
        12 + 4 * torch.randn(shape, generator=random, dtype=torch.float64),
        torch.full(shape, 14.0, dtype=torch.float64),
        torch.zeros(nets, count, dtype=torch.long),
        torch.randint(0, 3, shape, generator=random).double(),
        (torch.rand(shape, generator=random) < 0.4).double(),
    )


def test_masked_loss_by_hand() -> None:
    output = torch.tensor([[[1.0], [5.0], [2.0]], [[0.0], [0.0], [0.0]]])
    target = torch.tensor([[[0.0], [9.0], [4.0]], [[7.0], [7.0], [7.0]]])
    observed = torch.tensor([[[1.0], [0.0], [1.0]], [[0.0], [0.0], [0.0]]])
    assert masked_mse(output, target, observed).tolist() == [2.5, 0.0]  # (1 + 4) / 2, and nothing observed


def test_unobserved_days_have_no_influence() -> None:
    output = torch.randn(1, 6, 2, requires_grad=True)
    target, observed = torch.randn(1, 6, 2), torch.zeros(1, 6, 2)
    observed[0, [1, 4]] = 1
    wild = torch.where(observed > 0, target, 1e30)
    first = torch.autograd.grad(masked_mse(output, target, observed).sum(), output)[0]
    second = torch.autograd.grad(masked_mse(output, wild, observed).sum(), output)[0]
    assert torch.equal(first, second)
    assert first[0, [0, 2, 3, 5]].eq(0).all() and first[0, [1, 4]].ne(0).all()


def test_plateau_is_torchs_for_every_net() -> None:
    losses = torch.rand(60, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    losses[:20] += torch.linspace(1, 0, 20).unsqueeze(1)
    ours = Plateau(3, factor=0.7, patience=3, cooldown=2, threshold=1e-6)
    found = torch.stack([ours.step(row).clone() for row in losses])
    for net in range(3):
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, factor=0.7, patience=3, cooldown=2, threshold=1e-6
        )
        wanted = []
        for row in losses:
            theirs.step(row[net].item())
            wanted.append(optimizer.param_groups[0]["lr"])
        assert found[:, net].tolist() == pytest.approx(wanted)
        assert wanted[-1] < 0.2


@pytest.mark.parametrize("validated", [True, False])
def test_nets_side_by_side_are_nets_alone(validated: bool) -> None:
    days = seasons(3)
    check = seasons(3, count=2) if validated else None
    options = {"epochs": 26, "batches": 2, "lr": 0.02, "lr_factor": 0.5, "clip": 0.5}

    def model(seeds: list[int]) -> DynamicCalibration:
        return DynamicCalibration(GDDPhenology(), seeds, 3, 1, 6, "none").double()

    together = model([11, 12, 13])
    history = train(together, days, check, seeds=[11, 12, 13], **options)
    weights = dict(together.named_parameters())
    for net, seed in enumerate([11, 12, 13]):
        alone = model([seed])
        part = Days(*(x[net : net + 1] for x in days[:6]))
        part_check = None if check is None else Days(*(x[net : net + 1] for x in check[:6]))
        own = train(alone, part, part_check, seeds=[seed], **options)
        for name, p in alone.named_parameters():
            torch.testing.assert_close(p[0], weights[name][net], rtol=1e-7, atol=1e-9, msg=name)
        torch.testing.assert_close(own.train[:, 0], history.train[:, net], rtol=1e-7, atol=1e-9)
        assert own.kept[0] == history.kept[net]
    assert history.train[-1].sum() < history.train[0].sum()


def test_every_net_has_its_own_learning_rate() -> None:
    weights = torch.nn.Parameter(torch.zeros(3, 2))
    optimizer = torch.optim.Adam([weights], lr=0.1)
    for _ in range(2):
        weights.grad = torch.ones(3, 2)
        _step(optimizer, [weights], torch.tensor([1.0, 0.5, 0.25], dtype=torch.float64))
    # With a constant gradient each of Adam's steps has the length of the learning rate.
    torch.testing.assert_close(weights.detach(), torch.tensor([[-0.2], [-0.1], [-0.05]]).expand(3, 2))


def test_a_plateau_shortens_the_steps_of_training() -> None:
    found = []
    for factor in (1.0, 0.1):
        model = DynamicCalibration(GDDPhenology(), [1], 3, 1, 6, "none").double()
        # Steps too small to improve the loss noticeably: a plateau from the first epoch on.
        train(model, seasons(1), None, seeds=[1], epochs=30, batches=1, lr=1e-9, lr_factor=factor)
        found.append(model.net.bias_3.detach().clone())
    start = DynamicCalibration(GDDPhenology(), [1], 3, 1, 6, "none").double().net.bias_3
    far, near = ((f - start).abs().max().item() for f in found)
    assert far == pytest.approx(30e-9, rel=0.05)
    assert 12e-9 <= near <= 20e-9


def test_best_epoch_on_validation_is_kept() -> None:
    days, check = seasons(2), seasons(2, count=2)
    model = DynamicCalibration(GDDPhenology(), [1, 2], 3, 1, 6, "none").double()
    history = train(model, days, check, seeds=[1, 2], epochs=12, batches=2, lr=0.05)
    for net in range(2):
        assert history.kept[net] == history.validation[:, net].argmin()
    with torch.no_grad():
        final = masked_mse(model(check).output, check.target, check.observed)
    torch.testing.assert_close(final, history.validation.amin(0).double(), rtol=1e-6, atol=1e-8)


def test_take_picks_each_nets_own_seasons() -> None:
    days = seasons(2)
    picked = take(days, torch.tensor([[3, 0], [1, 1]]))
    assert torch.equal(picked.temperature[0, :, 0], days.temperature[0, :, 3])
    assert torch.equal(picked.features[1, :, 1], days.features[1, :, 1])


def test_a_loss_that_is_not_finite_stops_training() -> None:
    days = seasons(1)
    model = DynamicCalibration(GDDPhenology(), [1], 3, 1, 6, "none").double()
    broken = days._replace(target=torch.full_like(days.target, float("inf")))
    with pytest.raises(DataError, match="not finite in epoch 1"):
        train(model, broken, None, seeds=[1], epochs=2, batches=1, lr=0.01)
