"""The digits bed: what its tasks see and ask, its split, its heads, and that a seed makes it."""

from __future__ import annotations

import pytest
import torch

from sharewise.systems.merging import _digits
from sharewise.systems.merging._bed import HEAD, frozen_head
from sharewise.systems.merging._digits import SMOKE_SIZES, TASKS, VIEWS, classes_of, digits_bed, split
from sharewise.systems.merging._training import Recipe, fine_tune


def test_what_tasks_ask_by_hand() -> None:
    digits = torch.arange(10)
    renaming = torch.tensor([3, 1, 4, 0, 5, 9, 2, 6, 8, 7])
    wanted = {
        "digit": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        "parity": [0, 1, 0, 1, 0, 1, 0, 1, 0, 1],
        "mod_3": [0, 1, 2, 0, 1, 2, 0, 1, 2, 0],
        "above_4": [0, 0, 0, 0, 0, 1, 1, 1, 1, 1],
        "renamed": renaming.tolist(),
        "loops": [1, 0, 0, 0, 1, 0, 1, 0, 2, 1],
        "prime": [0, 0, 1, 1, 0, 1, 0, 1, 0, 0],
        "affine": [1, 4, 7, 0, 3, 6, 9, 2, 5, 8],
    }
    assert {task: classes_of(task, digits, renaming).tolist() for task in TASKS} == wanted


def test_views_lose_nothing_and_are_eight() -> None:
    image = torch.arange(64.0).view(1, 8, 8) / 63
    seen = {name: view(image) for name, view in VIEWS.items()}
    assert len({tuple(x.flatten().tolist()) for x in seen.values()}) == 8 == len(TASKS)
    for name, x in seen.items():
        assert x.shape == image.shape
        assert torch.equal(x.flatten().sort().values, image.flatten()) or name == "negative"
    assert torch.equal(seen["negative"], 1 - image)
    assert seen["shift_across"][0, 0, 3] == image[0, 0, 0] and seen["shift_down"][0, 3, 0] == image[0, 0, 0]


def test_parts_are_disjoint_and_of_the_sizes() -> None:
    parts = split(1797, torch.Generator().manual_seed(0))
    assert [len(parts[p]) for p in ("train", "validation", "test")] == [1078, 360, 359]
    assert torch.cat(list(parts.values())).sort().values.tolist() == list(range(1797))


def test_heads_are_orthonormal_times_three() -> None:
    head = frozen_head(5, 12, torch.Generator().manual_seed(0))
    torch.testing.assert_close(head @ head.T, 9 * torch.eye(5))


def test_a_seed_makes_the_bed_and_heads_stay_frozen() -> None:
    bed = digits_bed(0, SMOKE_SIZES)
    assert digits_bed(0, SMOKE_SIZES) is bed
    again = _digits.digits_bed.__wrapped__(0, SMOKE_SIZES)
    other = _digits.digits_bed.__wrapped__(1, SMOKE_SIZES)
    for task, state in bed.experts.items():
        assert all(torch.equal(v, again.experts[task][n]) for n, v in state.items())
        assert not torch.equal(bed.tasks[task].head, other.tasks[task].head)
        assert state.keys() == bed.base.keys() and HEAD not in state
    classes = [len(t.head) for t in bed.tasks.values()]
    assert classes == [10, 2, 3, 2, 10, 3, 2, 10]


def test_experts_as_modules_give_the_bed_s_logits() -> None:
    bed = digits_bed(0, SMOKE_SIZES)
    for task in ("digit", "parity"):
        test = bed.tasks[task].parts["test"]
        torch.testing.assert_close(bed.expert(task)(test.inputs), bed.logits(task, bed.experts[task], test.inputs))
        predict = bed.expert(task)(test.inputs).argmax(1)
        found = bed.accuracies(bed.experts, "test")[task]
        assert found == pytest.approx(float((predict == test.labels).double().mean()))
    assert [len(b) for b in bed.batches("digit", "train", 40, 16)] == [16, 16, 8]


def test_tasks_are_tuned_together_as_they_would_be_alone() -> None:
    bed = digits_bed(0, SMOKE_SIZES)
    recipe = Recipe(1, 180)  # one batch an epoch: the order of examples does not matter
    both = {task: bed.tasks[task] for task in ("parity", "digit")}
    found = fine_tune(bed.model, bed.base, both, recipe, torch.Generator().manual_seed(0))
    for task in both:
        model = bed.expert(task).requires_grad_()
        model.load_state_dict(bed.base, strict=False)
        adam = torch.optim.Adam(model.encoder.parameters(), recipe.lr)
        part = bed.tasks[task].parts["train"]
        torch.nn.functional.cross_entropy(model(part.inputs), part.labels).backward()
        adam.step()
        for name, value in found[task].items():
            moved = (value - bed.base[name]).abs().max()
            torch.testing.assert_close(value, model.state_dict()[name], rtol=1e-4, atol=1e-5)
            assert moved > 0
