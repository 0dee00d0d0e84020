"""Masked patches: SSIM by definition and against torchmetrics, masks, losses, splits, wrong input."""

from __future__ import annotations

import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from sharewise.errors import DataError
from sharewise.systems.balancing import (
    MaskedAutoencoder,
    MaskedImages,
    Target,
    digits,
    reconstruction_errors,
    reconstruction_losses,
    ssim,
)


def images(count: int = 6, side: int = 16) -> torch.Tensor:
    return torch.rand(count, side, side, generator=torch.Generator().manual_seed(0))


def test_ssim_of_flat_images_by_hand() -> None:
    # no variance: (2 a b + C1) / (a^2 + b^2 + C1)
    one, other = torch.full((1, 8, 8), 0.5).double(), torch.full((1, 8, 8), 0.25).double()
    assert float(ssim(one, other)) == pytest.approx((0.25 + 1e-4) / (0.3125 + 1e-4))
    assert float(ssim(images(), images())) == pytest.approx(1.0)


@pytest.mark.parametrize("window", [5, 7])
def test_ssim_is_that_of_torchmetrics_away_from_its_padding(window: int) -> None:
    one, other = images().double(), images().flip(0).double()
    _, full = structural_similarity_index_measure(
        one[:, None], other[:, None], gaussian_kernel=False, kernel_size=window, data_range=1.0, return_full_image=True
    )
    edge = window // 2
    assert float(ssim(one, other, window)) == pytest.approx(float(full[..., edge:-edge, edge:-edge].mean()), abs=1e-9)


def test_three_quarters_of_the_patches_are_hidden_and_not_shown() -> None:
    data = MaskedImages.of(images())
    inputs, target = data.draw(20, torch.Generator().manual_seed(0))
    blocks = target.hidden.unfold(1, 4, 4).unfold(2, 4, 4)
    assert bool((blocks.all(-1).all(-1) == blocks.any(-1).any(-1)).all())
    assert target.hidden.float().mean((1, 2)).tolist() == [0.75] * 20
    assert not inputs[:, 0][target.hidden].any() and torch.equal(inputs[:, 1] == 0, target.hidden)
    assert torch.equal(inputs[:, 0][~target.hidden], target.z[~target.hidden])
    assert len({tuple(h.flatten().tolist()) for h in target.hidden}) > 10


def test_losses_by_hand() -> None:
    data = MaskedImages(torch.tensor([[[0.0, 1.0], [0.5, 0.5]]]).repeat(2, 4, 4), mean=0.5, std=0.5, patch=4)
    _, target = data.all(torch.Generator().manual_seed(0))
    losses = reconstruction_losses(data)
    assert float(losses["l1"](target.z + 2.0, target)) == pytest.approx(0.85 * 2.0)
    shown = target.z + 100.0 * (~target.hidden)
    assert float(losses["l1"](shown, target)) == 0.0  # hidden pixels alone
    assert float(losses["ssim"](target.z, target)) == pytest.approx(0.0, abs=1e-6)
    assert float(losses["ssim"](shown, target)) > 0.1  # whole images


def test_errors_are_unweighted_and_the_same_each_time() -> None:
    class Black(torch.nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return torch.zeros_like(inputs[:, 0])

    data = MaskedImages.of(images())
    found = reconstruction_errors(Black(), data)
    assert found == reconstruction_errors(Black(), data)
    assert found["l1"] == pytest.approx(float(((data.images - data.mean) / data.std).abs().mean()), rel=0.1)


def test_digits_share_their_test_images_and_no_other() -> None:
    train, validation, test = digits(0)
    other_train, _, same_test = digits(1)
    assert [len(part.images) for part in (train, validation, test)] == [1000, 397, 400]
    assert torch.equal(test.images, same_test.images) and not torch.equal(train.images, other_train.images)
    assert (validation.mean, test.std) == (train.mean, train.std)
    seen = {tuple(image.flatten().tolist()) for image in (*train.images, *validation.images)}
    assert sum(tuple(image.flatten().tolist()) in seen for image in test.images) == 0


def test_network_shapes() -> None:
    data = MaskedImages.of(images(3, 8))
    inputs, target = data.all(torch.Generator().manual_seed(0))
    assert MaskedAutoencoder(8, 16, 4)(inputs).shape == target.z.shape
    assert isinstance(target, Target)


def test_wrong_input() -> None:
    with pytest.raises(DataError, match=r"images must be \[n, s, s\] with s a multiple of the patch \(4\)"):
        MaskedImages.of(torch.rand(2, 10, 10))
    with pytest.raises(DataError, match=r"values in \[0, 1\], found 0 to 16: divide by the largest value"):
        MaskedImages.of(torch.tensor([0.0, 16.0]).repeat(2, 8, 4))
    with pytest.raises(DataError, match="all one grey"):
        MaskedImages.of(torch.full((2, 8, 8), 0.5))
