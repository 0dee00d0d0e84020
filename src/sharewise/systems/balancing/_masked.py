"""Reconstructing hidden patches of small images under two losses that look at different things: L1 and SSIM."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...errors import DataError

WEIGHTS = {"l1": 0.85, "ssim": 0.15}
"""The paper's weights of the two losses."""

_C1, _C2 = 0.01**2, 0.03**2  # Wang et al. 2004, for values in [0, 1]


class Target:
    """What a batch is to become: ``z [b, s, s]``, standardised images; ``hidden [b, s, s]``, True where not shown."""

    def __init__(self, z: Tensor, hidden: Tensor) -> None:
        self.z, self.hidden = z, hidden


@dataclass(frozen=True)
class MaskedImages:
    """Square images of which a share of the patches is hidden, at random anew in every batch.

    Args:
        images: ``[n, s, s]``, values in [0, 1]; s a multiple of ``patch``.
        patch: side of a patch.
        share: hidden share of the patches, in (0, 1).
        mean, std: of standardisation; of the training images, also for others.

    Raises :class:`DataError` for images of another shape or range.
    """

    images: Tensor
    mean: float
    std: float
    patch: int = 4
    share: float = 0.75

    def __post_init__(self) -> None:
        shape = list(self.images.shape)
        if len(shape) != 3 or shape[1] != shape[2] or shape[1] % self.patch:
            raise DataError(f"images must be [n, s, s] with s a multiple of the patch ({self.patch}), got {shape}")
        low, high = float(self.images.min()), float(self.images.max())
        if not (low >= 0 and high <= 1):
            raise DataError(
                f"images must have values in [0, 1], found {low:g} to {high:g}: divide by the largest value"
            )
        if not self.std > 0:
            raise DataError("the training images are all one grey: nothing can be learned")

    @classmethod
    def of(cls, images: Tensor, patch: int = 4, share: float = 0.75) -> MaskedImages:
        """Training images, standardised by themselves."""
        return cls(images, float(images.mean()), float(images.std()), patch, share)

    def others(self, images: Tensor) -> MaskedImages:
        """Further images, standardised as these are."""
        return MaskedImages(images, self.mean, self.std, self.patch, self.share)

    def draw(self, size: int, generator: torch.Generator) -> tuple[Tensor, Target]:
        """A random batch: inputs ``[size, 2, s, s]`` (what is shown, and where) and the target."""
        return self._batch(torch.randint(len(self.images), (size,), generator=generator), generator)

    def all(self, generator: torch.Generator) -> tuple[Tensor, Target]:
        """Every image once."""
        return self._batch(torch.arange(len(self.images)), generator)

    def _batch(self, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Target]:
        z = (self.images[rows] - self.mean) / self.std
        grid = z.shape[1] // self.patch
        rank = torch.rand(len(rows), grid * grid, generator=generator).argsort(1)
        hidden = (rank < round(self.share * grid * grid)).view(-1, grid, grid)
        hidden = hidden.repeat_interleave(self.patch, 1).repeat_interleave(self.patch, 2)
        return torch.stack([z.masked_fill(hidden, 0.0), 1.0 - hidden.float()], 1), Target(z, hidden)


def digits(seed: int, train: int = 1000) -> tuple[MaskedImages, MaskedImages, MaskedImages]:
    """scikit-learn's 1,797 handwritten digits (UCI optdigits, CC BY 4.0), enlarged to 16 x 16: train, validation, test.

    The 400 test images are the same for all seeds; the seed parts the others.
    """
    from sklearn.datasets import load_digits

    small = torch.from_numpy(load_digits().images).float().unsqueeze(1) / 16
    images = nn.functional.interpolate(small, size=(16, 16), mode="bilinear").squeeze(1)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(20_260))
    test, rest = order[:400], order[400:]
    rest = rest[torch.randperm(len(rest), generator=torch.Generator().manual_seed(seed))]
    first = MaskedImages.of(images[rest[:train]])
    return first, first.others(images[rest[train:]]), first.others(images[test])


class MaskedAutoencoder(nn.Module):
    """Inputs ``[b, 2, s, s]`` -> standardised images ``[b, s, s]``, through a narrow layer.

    Args:
        side: s.
        width: of the hidden layers; ``narrow``: of the one in the middle.
    """

    def __init__(self, side: int = 16, width: int = 256, narrow: int = 32) -> None:
        super().__init__()
        self.side = side
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(2 * side * side, width), nn.GELU(), nn.Linear(width, narrow), nn.GELU(),
            nn.Linear(narrow, width), nn.GELU(), nn.Linear(width, side * side),
        )  # fmt: skip

    def forward(self, inputs: Tensor) -> Tensor:
        """See the class."""
        return self.layers(inputs).view(-1, self.side, self.side)


def ssim(one: Tensor, other: Tensor, window: int = 7) -> Tensor:
    """Mean structural similarity of images ``[b, s, s]`` with values in [0, 1], over all ``window x window`` squares.

    Uniform windows, C1 = 0.01^2, C2 = 0.03^2 (Wang et al. 2004). Window sums are two small matrix products, which for
    images of this size take a fifth of the time that torchmetrics' convolutions take.
    """
    side = one.shape[-1]
    band = torch.ones(side - window + 1, side, dtype=one.dtype, device=one.device)
    band = band.tril(window - 1).triu() / window
    moments = band @ torch.stack([one, other, one * one, other * other, one * other]) @ band.T
    mean, mean_other = moments[0], moments[1]
    variance, variance_other = moments[2] - mean * mean, moments[3] - mean_other * mean_other
    covariance = moments[4] - mean * mean_other
    luminance = (2 * mean * mean_other + _C1) / (mean * mean + mean_other * mean_other + _C1)
    return (luminance * (2 * covariance + _C2) / (variance + variance_other + _C2)).mean()


def reconstruction_losses(
    images: MaskedImages, weights: Mapping[str, float] = WEIGHTS
) -> dict[str, Callable[[Tensor, Target], Tensor]]:
    """``l1``: mean absolute error of hidden pixels, standardised. ``ssim``: 1 - SSIM of whole images in [0, 1].

    Each times its weight. The two work on different scales on purpose, as in the paper: it sharpens their conflict.
    """

    def l1(output: Tensor, target: Target) -> Tensor:
        return weights["l1"] * (output - target.z).abs()[target.hidden].mean()

    def structure(output: Tensor, target: Target) -> Tensor:
        scaled, truth = output * images.std + images.mean, target.z * images.std + images.mean
        return weights["ssim"] * (1 - ssim(scaled, truth))

    return {"l1": l1, "ssim": structure}


@torch.no_grad()
def reconstruction_errors(model: nn.Module, images: MaskedImages, draws: int = 4) -> dict[str, float]:
    """``l1`` and ``ssim`` (the loss, 1 - SSIM), unweighted: means over ``draws`` fixed draws of hidden patches."""
    generator = torch.Generator().manual_seed(0)
    losses = reconstruction_losses(images, {"l1": 1.0, "ssim": 1.0})
    totals = dict.fromkeys(losses, 0.0)
    for _ in range(draws):
        inputs, target = images.all(generator)
        output = model(inputs)
        for name, loss in losses.items():
            totals[name] += float(loss(output, target)) / draws
    return totals
