"""Domains for leave-one-out: rotated digits with a background that tells the label, and speakers of spoken digits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from ...errors import DataError

ANGLES = (0, 20, 40, 60)
AGREEMENTS = (0.8, 0.7, 0.6, 0.1)
"""How often the background of a domain is the one of the label; the last domain is held out."""


@dataclass(frozen=True)
class Domain:
    """Examples of one domain: inputs ``[n, d]`` (float32) and labels ``[n]``."""

    name: str
    inputs: Tensor
    labels: Tensor

    def rows(self, places: Tensor) -> Domain:
        """Some of them."""
        return Domain(self.name, self.inputs[places], self.labels[places])

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Split:
    """DomainBed's: of each training domain a part to train on and a fifth to choose by; one domain held out."""

    train: list[Domain]
    valid: list[Domain]
    held_out: Domain

    @classmethod
    def of(cls, domains: list[Domain], held_out: int, seed: int) -> Split:
        """Leave the domain at this place out."""
        generator = torch.Generator().manual_seed(seed)
        train, valid = [], []
        for i, domain in enumerate(domains):
            if i == held_out:
                continue
            order = torch.randperm(len(domain), generator=generator)
            cut = len(domain) // 5
            valid.append(domain.rows(order[:cut]))
            train.append(domain.rows(order[cut:]))
        return cls(train, valid, domains[held_out])


@lru_cache(maxsize=16)
def digit_domains(seed: int) -> tuple[Domain, ...]:
    """scikit-learn's digits, each in one of four domains: turned, on a background of a pattern that tells the label.

    The pattern is one of ten, that of the label with the domain's probability (``AGREEMENTS``) and else another; it is
    added at half the strength of the ink.
    """
    from scipy.ndimage import rotate
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8) / 16
    rng = np.random.default_rng(seed)
    patterns = (np.random.default_rng(0).random((10, 8, 8)) < 0.5).astype(float)
    domains = []
    for places, angle, agreement in zip(
        np.array_split(rng.permutation(len(labels)), 4), ANGLES, AGREEMENTS, strict=True
    ):
        turned = rotate(images[places], angle, axes=(1, 2), reshape=False, order=1)
        own = rng.random(len(places)) < agreement
        shown = np.where(own, labels[places], (labels[places] + rng.integers(1, 10, len(places))) % 10)
        inputs = turned + 0.5 * patterns[shown] + 0.1 * rng.standard_normal(turned.shape)
        domains.append(
            Domain(
                f"{angle} degrees",
                torch.tensor(inputs.reshape(-1, 64), dtype=torch.float32),
                torch.tensor(labels[places]),
            )
        )
    return tuple(domains)


@lru_cache(maxsize=1)
def speaker_domains() -> tuple[Domain, ...]:
    """The Free Spoken Digit Dataset by speaker: six of them, 500 recordings each, log energies of 20 bands in 16 spans.

    Read from ``fsdd/audio.npz`` and ``fsdd/index.csv.gz`` in the folder of ``SHAREWISE_DATA``; raises
    :class:`DataError` without it. Nothing is standardised by data of another recording.
    """
    import os
    from pathlib import Path

    from ...data.sets._folder import VARIABLE, read_from_folder

    index = read_from_folder("fsdd/index.csv.gz")
    path = Path(os.environ[VARIABLE]) / "fsdd" / "audio.npz"
    if not path.exists():
        raise DataError(f'the recordings "{path}" are missing: put the file beside its index')
    audio = torch.from_numpy(np.load(path, allow_pickle=False)["audio"].astype(np.float32) / 2**15)
    found: dict[int, tuple[list[Tensor], list[int]]] = {}
    for start, length, digit, speaker in index.select("start", "length", "digit", "speaker").rows():
        inputs, labels = found.setdefault(speaker, ([], []))
        inputs.append(_bands(audio[start : start + length]))
        labels.append(digit)
    return tuple(
        Domain(f"speaker {speaker}", torch.stack(inputs), torch.tensor(labels))
        for speaker, (inputs, labels) in sorted(found.items())
    )


def _bands(clip: Tensor, bands: int = 20, spans: int = 16) -> Tensor:
    """Log energies ``[bands * spans]`` of a clip at 8 kHz, less their mean, over their deviation."""
    window = torch.hann_window(256)
    power = torch.stft(clip, 256, 80, window=window, return_complex=True).abs().square()
    edges = torch.logspace(np.log10(2), np.log10(129), bands + 1).round().long()
    rows = torch.stack([power[a : max(a + 1, b)].mean(0) for a, b in pairwise(edges.tolist())])
    pooled = torch.nn.functional.adaptive_avg_pool1d((rows + 1e-6).log(), spans).flatten()
    return (pooled - pooled.mean()) / pooled.std()
