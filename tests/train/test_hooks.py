"""What training tells a balancer besides the losses: the end of an epoch, and the same batch after the step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
import torch
from torch import Tensor, nn

import sharewise as sw
from helpers.small import TASKS, SmallModel, source, splits
from sharewise.balance import LossBalancer, create
from sharewise.train import mean_losses

QUICK = {"epochs": 2, "batch_size": 64, "progress": False}


class Watcher(LossBalancer):
    """The plain sum, with a diary of all it was told."""

    looks_again = True

    def __init__(self, *, tasks: Sequence[str] | None = None) -> None:
        super().__init__(tasks=tasks)
        self.diary: list[tuple[str, dict[str, float]]] = []

    def weights(self, losses: Tensor, *, names: Sequence[str] | None = None) -> Tensor:
        known = self.check_names(len(losses), names)
        self.diary.append(("decide", dict(zip(known, losses.tolist(), strict=True))))
        return torch.ones_like(losses)

    def look_again(self, losses: Mapping[str, Tensor]) -> None:
        assert not any(loss.requires_grad for loss in losses.values())
        self.diary.append(("look again", {name: float(loss) for name, loss in losses.items()}))

    def end_epoch(self) -> None:
        self.diary.append(("end of epoch", {}))


def frozen(groups: list) -> torch.optim.Optimizer:
    """Steps that change nothing, so that a second look must see the very same losses."""
    return torch.optim.SGD(groups, lr=0.0)


class Normed(SmallModel):
    """The small model with batch normalisation behind its dropout."""

    def __init__(self) -> None:
        super().__init__(dropout=0.5)
        self.trunk.append(nn.BatchNorm1d(16))


def test_the_order_of_hooks() -> None:
    balancer = Watcher()
    sw.fit(SmallModel(), TASKS, splits(), balancer=balancer, **QUICK)
    said = [what for what, _ in balancer.diary]
    assert said == (["decide", "look again"] * 4 + ["end of epoch"]) * 2  # 200 rows are 4 batches


def looks(balancer: Watcher) -> list[tuple[dict[str, float], dict[str, float]]]:
    """The losses of every second look, beside what the balancer was told right before."""
    pairs = zip(balancer.diary[:-1], balancer.diary[1:], strict=True)
    return [(before, after) for (_, before), (what, after) in pairs if what == "look again"]


def test_with_accumulation_the_last_batch_of_a_step_is_looked_at_again() -> None:
    balancer = Watcher()
    sw.fit(Normed(), TASKS, splits(), balancer=balancer, accumulate=3, optimizer=frozen, **QUICK)
    said = [what for what, _ in balancer.diary]
    assert said == ([*["decide"] * 3, "look again", "decide", "look again", "end of epoch"]) * 2
    assert all(before == after for before, after in looks(balancer))


def test_the_second_look_draws_the_same_masks() -> None:
    """With a learning rate of zero the losses are the same to the last bit, under dropout and batch normalisation."""
    balancer = Watcher()
    sw.fit(Normed(), TASKS, splits(), balancer=balancer, optimizer=frozen, **QUICK)
    assert all(before == after for before, after in looks(balancer))
    assert len({after["height"] for _, after in looks(balancer)}) == 8  # and every step has masks of its own


def test_the_second_look_sees_the_step() -> None:
    balancer = Watcher()
    sgd = {"optimizer": lambda groups: torch.optim.SGD(groups, lr=0.01)}
    sw.fit(SmallModel(dropout=0.0), TASKS, splits(), balancer=balancer, **sgd, **QUICK)
    assert all(sum(after.values()) < sum(before.values()) for before, after in looks(balancer))


def half_labelled() -> sw.Splits:
    """Every other example has no label at all."""
    x = torch.randn(47, 5, generator=torch.Generator().manual_seed(4))
    observed = {t.name: torch.arange(47) % 2 == 0 for t in TASKS}
    targets = {"height": x[:, 0], "weight": x[:, 1], "tall": (x[:, 0] > 0).float()}
    return sw.Splits(sw.TensorSource(x, targets, observed), source(20, 2))


@pytest.mark.parametrize("unlabelled", [False, True])
def test_the_second_look_changes_nothing_else(unlabelled: bool) -> None:
    """Weights, running statistics and the random numbers drawn later are those of training without it.

    A batch without labels draws its masks after the batch that is looked at again.
    """
    data, kind = (half_labelled(), SmallModel) if unlabelled else (splits(), Normed)
    options = QUICK | ({"batch_size": 1, "accumulate": 5, "epochs": 6} if unlabelled else {})
    looking, blind = kind(), kind()
    found = sw.fit(looking, TASKS, data, balancer=Watcher(), **options)
    expected = sw.fit(blind, TASKS, data, balancer="equal", **options)
    assert [r.valid for r in found.history] == [r.valid for r in expected.history]
    for (name, a), b in zip(looking.state_dict().items(), blind.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert unlabelled or int(looking.state_dict()["trunk.5.num_batches_tracked"]) > 0


def test_a_batch_without_labels_is_not_looked_at_again() -> None:
    """A step ends with a batch that has labels, also where the epoch ends with others."""
    balancer = Watcher()
    options = {"epochs": 4, "batch_size": 1, "accumulate": 5, "progress": False, "optimizer": frozen}
    sw.fit(SmallModel(), TASKS, half_labelled(), balancer=balancer, **options)
    assert len(looks(balancer)) == 4 * 5  # 24 labelled examples: four steps of five and one of four
    assert all(before == after for before, after in looks(balancer))


@pytest.mark.parametrize("name", ["dwa", "famo", "stch"])
def test_methods_with_hooks_learn_every_task(name: str) -> None:
    data, model = splits(), SmallModel(dropout=0.0)
    before = mean_losses(model, TASKS, data.test)
    options = {"warmup": 2} if name == "stch" else {}
    balancer = create(name, tasks=[t.name for t in TASKS], **options)
    sw.fit(model, TASKS, data, balancer=balancer, epochs=40, batch_size=32, learning_rate=1e-2, progress=False)
    after = mean_losses(model, TASKS, data.test)
    assert all(after[k] < 0.7 * before[k] for k in before)
    if name == "famo":
        logit, _, _, updates = balancer.task_state.read("logit", ["height"])[0].tolist()
        assert updates > 50 and abs(logit) > 0
    if name == "dwa":
        assert float(balancer.task_state.read("ratio", ["height"])) != 1.0
