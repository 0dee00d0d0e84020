"""The probe: values by hand, and training that does not notice it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import sharewise as sw
from helpers.small import TASKS, SmallModel, splits
from sharewise.audit import SharingProbe, cosines, lookahead, propose_groups, shared_gradients
from sharewise.audit._groups import EXHAUSTIVE, partitions


class OneNumber(nn.Module):
    """Both tasks predict the shared number w."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(1.0))

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        return {"a": self.w.expand(len(inputs)), "b": self.w.expand(len(inputs))}


def test_lookahead_by_hand() -> None:
    """w = 1; a wants 0 and b wants 3. A step of size 0.1 along each gradient (2 and -4) gives w = 0.8 and 1.4."""
    model, tasks = OneNumber(), [sw.regression("a"), sw.regression("b")]
    batch = sw.Batch(torch.zeros(2, 1), {"a": torch.zeros(2), "b": torch.full((2,), 3.0)})
    raw = model(batch.inputs)
    losses = {t.name: t.masked_loss(raw[t.name], batch.targets[t.name], None) for t in tasks}
    rows = shared_gradients(losses, {"w": model.w})
    assert rows["a"]["w"].item() == 2.0 and rows["b"]["w"].item() == -4.0
    assert cosines(rows).tolist() == [[1.0, -1.0], [-1.0, 1.0]]
    steps = {task: {"w": 0.1 * row["w"]} for task, row in rows.items()}
    z = lookahead(model, tasks, batch, losses, steps)
    expected = [[1 - 0.64, 1 - 2.2**2 / 4], [1 - 1.4**2, 1 - 1.6**2 / 4]]
    assert torch.allclose(z, torch.tensor(expected, dtype=torch.float64), atol=1e-6)
    assert model.w.item() == 1.0


@pytest.mark.parametrize("balancer", ["equal", "pcgrad"])
def test_training_goes_on_as_without_the_probe(balancer: str) -> None:
    plain, probed, probe = SmallModel(), SmallModel(), SharingProbe(per_epoch=3)
    options = {"epochs": 3, "batch_size": 32, "balancer": balancer, "progress": False}
    sw.fit(plain, TASKS, splits(), **options)
    sw.fit(probed, TASKS, splits(), callbacks=[probe], **options)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), probed.parameters(), strict=True))
    assert len(probe.epochs) >= 6 and set(probe.epochs) == {0, 1, 2}
    assert all(torch.allclose(c.diagonal(), torch.ones(3, dtype=torch.float64)) for c in probe.cosine)
    assert (torch.stack(probe.affinity).nanmean(0).diagonal() > 0).all()  # a step on a task helps that task


def test_an_absent_task_leaves_a_gap() -> None:
    data, probe = splits(), SharingProbe()
    data.train.all.observed["tall"][:] = False
    sw.fit(SmallModel(), TASKS, data, callbacks=[probe], epochs=1, batch_size=32, progress=False)
    assert torch.isnan(probe.cosine[0][2]).all() and torch.isfinite(probe.cosine[0][:2, :2]).all()


def test_groups_by_hand() -> None:
    """a and b help each other, c harms both and is harmed: c stays alone."""
    z = torch.tensor([[9.0, 1.0, -1.0], [1.0, 9.0, -1.0], [-1.0, -1.0, 9.0]]).numpy()
    assert propose_groups(z, ["a", "b", "c"]) == [["a", "b"], ["c"]]
    assert propose_groups(-z, ["a", "b", "c"]) in ([["a", "c"], ["b"]], [["a"], ["b", "c"]])
    assert propose_groups(abs(z), ["a", "b", "c"]) == [["a", "b", "c"]]


def test_many_tasks_are_grouped_greedily() -> None:
    m = EXHAUSTIVE + 4
    z = torch.full((m, m), -1.0)
    for block in (slice(0, 5), slice(5, m)):
        z[block, block] = 1.0
    names = [str(i) for i in range(m)]
    assert propose_groups(z.numpy(), names) == [names[:5], names[5:]]


def test_partitions_are_counted_by_bell() -> None:
    assert [sum(1 for _ in partitions(m)) for m in range(7)] == [1, 1, 2, 5, 15, 52, 203]
