"""Simulated molecules: what the sheet of the system says of them is true of the draws."""

from __future__ import annotations

import numpy as np
import pytest

from sharewise.errors import OptionError
from sharewise.systems.molecules import simulate
from sharewise.systems.molecules._simulator import MOTIFS, directions, motif_counts


def test_directions_have_the_cosines_asked_for() -> None:
    block = np.array([0, 0, 0, 1, 1, 1])
    a = directions(np.random.default_rng(0), block, 0.8, -0.6)
    wanted = np.where(block[:, None] == block, 0.8, -0.6)
    np.fill_diagonal(wanted, 1.0)
    assert a @ a.T == pytest.approx(wanted, abs=1e-12)
    with pytest.raises(OptionError, match="no 3 directions"):
        directions(np.random.default_rng(0), np.arange(3), 0.0, -0.9)


def test_motifs_are_leaves_and_branches_of_trees() -> None:
    counts = motif_counts(np.random.default_rng(0), 500)
    assert counts.shape == (500, MOTIFS)
    leaves, branches = counts[:, :4].sum(1), counts[:, 4:].sum(1)
    # A tree has two leaves at least, and at least two more than it has branching atoms.
    assert (leaves >= 2).all() and (leaves >= branches + 2).all() and leaves.max() < 20


def test_a_seed_is_a_world_and_the_test_table_does_not_depend_on_the_training_size() -> None:
    few, many, other = simulate(3, 50, 100), simulate(3, 80, 100), simulate(4, 50, 100)
    for name in few.test.names:
        assert np.array_equal(few.test.targets[name], many.test.targets[name])
        assert not np.array_equal(few.test.targets[name], other.test.targets[name])
    assert few.train.features.shape == (50, 28) and few.test.features.shape == (100, 28)
    assert few.hard.tolist() == [True] + [False] * 5
    assert few.conflicting.sum() == 18 and not few.conflicting.diagonal().any()


def test_labels_are_noisy_and_the_hard_property_most() -> None:
    clean = simulate(0, 4000, 10, latent_noise=0.0, label_noise=0.0).train
    noisy = simulate(0, 4000, 10, latent_noise=0.0, label_noise=0.3).train
    # The same molecules: noise is drawn after them, whatever its size.
    assert np.array_equal(clean.features, noisy.features)
    spread = [float((noisy.targets[n] - clean.targets[n]).std()) for n in clean.names]
    assert spread == pytest.approx([0.9] + [0.3] * 5, rel=0.05)


def test_motifs_decide_and_distractors_do_not() -> None:
    table = simulate(0, 2000, 10, latent_noise=0.0, label_noise=0.0).train
    z = table.features[:, :MOTIFS].astype(float)
    design = np.concatenate([np.ones((len(z), 1)), z, z**2], axis=1)
    for y in table.targets.values():
        rest = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
        assert np.abs(rest).max() < 1e-4
