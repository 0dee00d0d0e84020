"""Simulated molecules: random trees whose motifs decide properties that compete for a narrow encoder."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...errors import OptionError
from ._table import PropertyTable

ATOMS, FEWEST, MOST = 4, 6, 20
MOTIFS = 2 * ATOMS


@dataclass(frozen=True)
class Simulation:
    """A training table, a test table with labels free of noise, and what is true of the properties.

    ``block`` [T] says to which of the two groups of directions a property belongs: cosines are ``inside`` within a
    group and ``across`` between them. ``hard`` [T] marks the property with three times the label noise.
    """

    train: PropertyTable
    test: PropertyTable
    block: np.ndarray
    hard: np.ndarray

    @property
    def conflicting(self) -> np.ndarray:
        """Ordered pairs of properties of different groups, bool [T, T]."""
        return np.asarray(self.block[:, None] != self.block)


def motif_counts(rng: np.random.Generator, count: int) -> np.ndarray:
    """Motifs of ``count`` random recursive trees of 6 to 20 atoms: ``[count, 8]``.

    Each new atom is bonded to a random earlier one and is of one of four types. The motifs: leaves of each type, and
    branching atoms (three or more bonds) of each type.
    """
    size = rng.integers(FEWEST, MOST + 1, count)
    there = np.arange(MOST) < size[:, None]
    kind = rng.integers(ATOMS, size=(count, MOST))
    bonds = np.zeros((count, MOST), dtype=int)
    for atom in range(1, MOST):
        to = (rng.random(count) * atom).astype(int)
        new = there[:, atom]
        bonds[new, to[new]] += 1
        bonds[new, atom] += 1
    of_kind = there[..., None] & (kind[..., None] == np.arange(ATOMS))
    leaf, branch = bonds == 1, bonds >= 3
    return np.concatenate([(of_kind & m[..., None]).sum(1) for m in (leaf, branch)], axis=1)


def directions(rng: np.random.Generator, block: np.ndarray, inside: float, across: float) -> np.ndarray:
    """Unit vectors ``a_i`` [T, 8] with exactly these cosines, turned at random."""
    cosines = np.where(block[:, None] == block, inside, across)
    np.fill_diagonal(cosines, 1.0)
    values, vectors = np.linalg.eigh(cosines)
    if values[0] < -1e-9 or len(block) > MOTIFS:
        raise OptionError(
            f"no {len(block)} directions over {MOTIFS} motifs have cosines {inside} inside and {across} across"
        )
    turn = np.linalg.qr(rng.standard_normal((MOTIFS, MOTIFS)))[0][: len(block)]
    made: np.ndarray = vectors * np.sqrt(values.clip(0)) @ turn
    return made


def simulate(
    seed: int,
    train: int = 300,
    test: int = 2000,
    *,
    tasks: int = 6,
    inside: float = 0.8,
    across: float = -0.6,
    curvature: float = 0.5,
    latent_noise: float = 0.3,
    label_noise: float = 0.3,
    distractors: int = 20,
) -> Simulation:
    """Draw molecules and properties ``y_i = a_i^T z + b_i^T (z * z) + noise``.

    Args:
        seed: of all that is drawn; the properties and the test table do not depend on ``train``.
        train, test: molecules.
        tasks: properties, the first half in one group, the rest in the other; the first one is hard.
        inside, across: cosines of the ``a_i`` within and between groups.
        curvature: length of ``b_i``, drawn for each property alone.
        latent_noise: standard deviation of what ``z`` has besides the standardised motif counts, unseen by a model.
        label_noise: standard deviation of a label's noise; three times that for the hard property.
        distractors: columns of noise beside the 8 motif counts.
    """
    nature, molecules = np.random.default_rng([seed, 0]), np.random.default_rng([seed, 1])
    block, hard = (np.arange(tasks) >= tasks // 2).astype(int), np.arange(tasks) == 0
    a = directions(nature, block, inside, across)
    b = nature.standard_normal((tasks, MOTIFS))
    b *= curvature / np.linalg.norm(b, axis=1, keepdims=True)
    sample = motif_counts(nature, 4000)
    centre, spread = sample.mean(0), sample.std(0)

    def draw(rng: np.random.Generator, count: int, noisy: bool) -> PropertyTable:
        z = (motif_counts(rng, count) - centre) / spread
        seen = np.concatenate([z, rng.standard_normal((count, distractors))], axis=1)
        noise = latent_noise * rng.standard_normal(z.shape)
        labels = label_noise * np.where(hard, 3.0, 1.0) * rng.standard_normal((count, tasks))
        if noisy:
            y = (z + noise) @ a.T + (z + noise) ** 2 @ b.T + labels
        else:
            y = z @ a.T + (z**2 + latent_noise**2) @ b.T
        return PropertyTable.of(seen, {f"property {i + 1}": y[:, i] for i in range(tasks)})

    held = draw(nature, test, noisy=False)
    return Simulation(draw(molecules, train, noisy=True), held, block, hard)
