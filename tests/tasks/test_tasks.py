"""Tasks: losses over observed examples, units, metrics, refusals."""

from __future__ import annotations

import math

import pytest
import torch

import sharewise as sw
from sharewise.errors import TaskError
from sharewise.tasks import check_tasks, task_from_json, task_to_json

CASES = {
    "regression": (sw.regression("t", loc=2.0, scale=3.0), torch.randn(6), torch.randn(6)),
    "huber": (sw.regression("t", loss="huber"), torch.randn(6), torch.randn(6)),
    "binary": (sw.binary("t"), torch.randn(6), torch.tensor([0.0, 1, 1, 0, 1, 0])),
    "multiclass": (sw.multiclass("t", 3), torch.randn(6, 3), torch.tensor([0, 1, 2, 2, 1, 0])),
    "multilabel": (sw.multilabel("t", 2), torch.randn(6, 2), torch.randint(0, 2, (6, 2)).float()),
    "segmentation": (sw.segmentation("t", 3), torch.randn(6, 3, 2, 2), torch.randint(0, 3, (6, 2, 2))),
}


@pytest.mark.parametrize("case", CASES)
def test_an_unobserved_label_has_no_say(case: str) -> None:
    task, raw, target = CASES[case]
    observed = torch.tensor([True, False, True, True, False, True])
    other = target.clone()
    other[~observed] = 1 - other[~observed].clamp(0, 1)
    raw = raw.clone().requires_grad_()
    loss = task.masked_loss(raw, target, observed)
    assert loss == task.masked_loss(raw, other, observed) == task.masked_loss(raw[observed], target[observed], None)
    (gradient,) = torch.autograd.grad(loss, raw)
    assert (gradient[~observed] == 0).all()


def test_regression_learns_standardised_and_speaks_the_users_units() -> None:
    task = sw.regression("age", loc=40.0, scale=10.0)
    assert task.decode(torch.tensor([-1.0, 2.0])).tolist() == [30.0, 60.0]
    # Raw 1 stands for 50; the target 70 is 2 away in standard units.
    assert task.masked_loss(torch.tensor([1.0]), torch.tensor([70.0]), None).item() == 4.0
    assert task.evaluate(torch.tensor([50.0]), torch.tensor([53.0]))["rmse"] == 3.0


def test_task_and_example_weights_by_hand() -> None:
    task = sw.regression("t", weight=2.0)
    raw, target = torch.tensor([1.0, 2.0, 5.0]), torch.zeros(3)
    weight, observed = torch.tensor([1.0, 3.0, 9.0]), torch.tensor([True, True, False])
    assert task.masked_loss(raw, target, observed, weight).item() == pytest.approx(2 * (1 * 1 + 3 * 4) / 4)


def test_metrics_by_hand() -> None:
    p, y = torch.tensor([0.9, 0.2, 0.6, 0.4]), torch.tensor([1.0, 0.0, 0.0, 1.0])
    found = sw.binary("t").evaluate(p, y)
    assert found["log_loss"] == pytest.approx(-(math.log(0.9) + math.log(0.8) + 2 * math.log(0.4)) / 4, abs=1e-7)
    assert found["accuracy"] == 0.5
    assert found["auroc"] == 0.75  # of the four pairs only (0.4, 0.6) is the wrong way round
    found = sw.multiclass("t", 3).evaluate(torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]), torch.tensor([1, 2]))
    assert found["log_loss"] == pytest.approx(-(math.log(0.3) + math.log(0.8)) / 2, abs=1e-7)
    assert found["accuracy"] == 0.5
    found = sw.segmentation("t", 2).evaluate(torch.tensor([[[[0.9, 0.9]], [[0.1, 0.1]]]]), torch.tensor([[[0, 1]]]))
    assert found["mean_iou"] == 0.25  # class 0: 1 of 2 pixels; class 1: none


def test_the_main_metric_is_the_mean_of_the_example_metric() -> None:
    for task, raw, target in CASES.values():
        if task.example_metric is None:
            continue
        decoded = task.decode(raw)
        mean = task.example_metric(decoded, target).mean()
        assert (mean.sqrt() if task.root else mean).item() == pytest.approx(
            task.evaluate(decoded, target)[task.main_metric], rel=1e-9
        )


def test_a_metric_the_labels_do_not_define_is_nan() -> None:
    assert math.isnan(sw.binary("t").evaluate(torch.tensor([0.3, 0.4]), torch.ones(2))["auroc"])
    assert math.isnan(sw.regression("t").evaluate(torch.tensor([0.3, 0.4]), torch.ones(2))["r2"])
    assert math.isnan(sw.ranking("t").evaluate(torch.tensor([0.3, 0.4]), torch.ones(2))["spearman"])


def test_ranking_counts_pairs() -> None:
    loss = sw.ranking("t").masked_loss(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0]), None)
    assert loss.item() == pytest.approx(math.log1p(math.e))  # the one ordered pair, the wrong way round by 1


@pytest.mark.parametrize("case", ["regression", "huber", "binary", "multiclass", "multilabel", "segmentation"])
def test_tasks_come_back_from_json(case: str) -> None:
    task, raw, target = CASES[case]
    again = task_from_json(task_to_json(task))
    assert task_to_json(again) == task_to_json(task)
    assert again.masked_loss(raw, target, None) == task.masked_loss(raw, target, None)


def test_a_task_of_ones_own() -> None:
    task = sw.custom("t", lambda p, y: (p - y).abs().sum(), higher_is_better=False)
    assert task.masked_loss(torch.tensor([1.0, 4.0]), torch.zeros(2), torch.tensor([True, False])).item() == 1.0
    assert task.main_metric == "loss"
    with pytest.raises(TaskError, match="tasks="):
        task_from_json(task_to_json(task))


def test_wrong_tasks_are_refused() -> None:
    with pytest.raises(TaskError, match="name"):
        sw.regression("")
    with pytest.raises(TaskError, match=r'"age".*weight.*-1'):
        sw.regression("age", weight=-1.0)
    with pytest.raises(TaskError, match="two classes, got 3"):
        sw.binary("t", classes="abc")
    with pytest.raises(TaskError, match="one of"):
        sw.regression("t", loss="quadratic")
    with pytest.raises(TaskError, match="'a'"):
        check_tasks([sw.binary("a"), sw.regression("a")])
    with pytest.raises(TaskError, match="no tasks"):
        check_tasks([])
    with pytest.raises(TaskError, match="higher_is_better"):
        sw.custom("t", torch.dist, metrics={"m": torch.dist}, higher_is_better={})
