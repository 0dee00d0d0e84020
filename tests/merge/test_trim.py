"""TIES' trimming over the whole model, as in the paper."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sharewise.errors import MergeError
from sharewise.merge import merge_states
from sharewise.merge.methods._trim_model import histograms, joined

SIZES = {"small": 50, "large": 40_000, "middle": 3_000}


def tuned(seed: int) -> dict[str, Tensor]:
    """Tensors whose entries differ in size by tensor, so that a share of the model is no share of each tensor."""
    draw = torch.Generator().manual_seed(seed)
    return {n: (i + 1) * torch.randn(size, generator=draw) for i, (n, size) in enumerate(SIZES.items())}


def kept(density: float, trim: str) -> dict[str, Tensor]:
    model = tuned(1)
    zero = {n: torch.zeros_like(t) for n, t in model.items()}
    return merge_states("ties", {"a": model}, zero, weight=1.0, density=density, trim=trim)


@pytest.mark.parametrize("density", [0.01, 0.2, 0.5, 0.9])
def test_the_largest_entries_of_the_whole_model_are_kept(density: float) -> None:
    model, found = tuned(1), kept(density, "model")
    every = torch.cat([t.abs() for t in model.values()])
    share = sum(int(t.count_nonzero()) for t in found.values()) / len(every)
    assert share == pytest.approx(density, rel=0.001, abs=1e-4)
    least = min(float(t.abs()[t != 0].min()) for t in found.values() if t.any())
    for name, tensor in found.items():
        assert torch.equal(tensor, torch.where(model[name].abs() >= least, model[name], 0.0)), name
    by_tensor = kept(density, "tensor")
    assert all(int(t.count_nonzero()) == max(1, int(density * t.numel())) for t in by_tensor.values())


def test_by_hand_with_values_in_bins_of_their_own() -> None:
    """Of 1, 2, 4 | 8, 16, 32, 64, 128 the half of the model are the four largest: nothing of the first tensor."""
    model = {"x": torch.tensor([1.0, -2, 4]), "y": torch.tensor([8.0, -16, 32, -64, 128])}
    zero = {n: torch.zeros_like(t) for n, t in model.items()}
    found = merge_states("ties", {"a": model}, zero, weight=1.0, density=0.5, trim="model")
    assert not found["x"].any() and found["y"].tolist() == [0, -16, 32, -64, 128]
    found = merge_states("ties", {"a": model}, zero, weight=1.0, density=0.0, trim="model")
    assert not found["x"].any() and not found["y"].any()
    found = merge_states("ties", {"a": model}, zero, weight=1.0, trim="model")
    assert all(torch.equal(found[n], model[n]) for n in model)


def test_entries_that_are_mostly_zero() -> None:
    """A tenth differs from the base and half is to be kept: all that differs is."""
    model = {"x": torch.zeros(1000)}
    model["x"][::10] = torch.arange(1.0, 101.0)
    found = merge_states("ties", {"a": model}, {"x": torch.zeros(1000)}, weight=1.0, density=0.5, trim="model")
    assert torch.equal(found["x"], model["x"])


def test_each_model_has_a_threshold_of_its_own() -> None:
    a, b = tuned(1), {n: 100 * t for n, t in tuned(2).items()}
    zero = {n: torch.zeros_like(t) for n, t in a.items()}
    options = {"weight": 1.0, "trim": "model", "normalize": False}
    both = merge_states("ties", {"a": a, "b": b}, zero, density={"a": 0.2, "b": 0.0}, **options)
    alone = merge_states("ties", {"a": a}, zero, density=0.2, **options)
    assert all(torch.equal(both[n], alone[n]) for n in zero)


def test_no_other_way_to_trim_is_known() -> None:
    zero = {"w": torch.zeros(2)}
    with pytest.raises(MergeError, match="must be tensor or model"):
        merge_states("ties", {"a": zero}, zero, weight=1.0, trim="layer")


def test_histograms_count_every_entry() -> None:
    class One:
        def __init__(self, values: Tensor) -> None:
            self.models, self.rows = ("a",), values[None]

        def blocks(self) -> list[One]:
            return [self]

    (whole,) = joined([histograms(One(torch.randn(1000))), histograms(One(torch.zeros(7)))])
    assert int(whole.counts.sum()) == 1007 and int(whole.counts[whole.bins == 0]) == 7
