"""Evaluators, greedy soups and the search over a method's parameters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from helpers.checkpoints import family
from sharewise.errors import MergeError, OptionError
from sharewise.merge import Range, evaluator, greedy_soup, merge, merge_states, search

BASE = {"l.0.w": torch.zeros(3), "l.1.w": torch.zeros(3)}
MODELS = {
    "a": {"l.0.w": torch.tensor([1.0, 0, 0]), "l.1.w": torch.tensor([1.0, 0, 0])},
    "b": {"l.0.w": torch.tensor([0.0, 1, 0]), "l.1.w": torch.tensor([0.0, 1, 0])},
}


def near(state: Mapping[str, Tensor]) -> dict[str, float]:
    """Best where a weighs 0.7 and b 0.4 in both layers."""
    wanted = torch.tensor([0.7, 0.4, 0.0])
    return {f"task{i}": -float((state[f"l.{i}.w"] - wanted).square().sum()) for i in range(2)}


def look(**options: Any) -> Any:
    given: dict[str, Any] = {"space": {"weight": Range(0.0, 1.0, each=True)}, "trials": 12, "evaluate": near}
    return search("task_arithmetic", MODELS, BASE, **(given | options))


@pytest.mark.parametrize("sampler", ["tpe", "cmaes"])
def test_search_nears_the_best_and_gives_its_state(sampler: Any) -> None:
    found = look(sampler=sampler, trials=50)
    assert found.best.value == max(t.value for t in found.trials) > -0.05 and len(found.trials) == 50
    values = [t.value for t in found.trials]
    assert (
        sum(values[-15:]) > sum(values[:15]) / 4
    )  # it learns: the loss of late trials is a fourth of that of early ones
    assert found.best.value == pytest.approx(sum(found.best.scores.values()) / 2)
    again = merge_states("task_arithmetic", MODELS, BASE, **found.parameters)
    assert all(torch.equal(again[k], found.state[k]) for k in BASE) and near(found.state) == found.best.scores
    assert abs(found.parameters["weight"]["a"] - 0.7) < 0.2 > abs(found.parameters["weight"]["b"] - 0.4)


@pytest.mark.parametrize("sampler", ["tpe", "cmaes"])
def test_a_search_goes_on_as_if_it_had_not_stopped(tmp_path: Path, sampler: Any) -> None:
    whole = look(sampler=sampler, trials=24)
    calls = 0

    def failing(state: Mapping[str, Tensor]) -> dict[str, float]:
        nonlocal calls
        calls += 1
        if calls == 15:
            raise KeyboardInterrupt
        return near(state)

    log = tmp_path / "search.json"
    with pytest.raises(KeyboardInterrupt):
        look(sampler=sampler, trials=24, evaluate=failing, log=log)
    assert len(json.loads(log.read_text())["trials"]) == 14
    found = look(sampler=sampler, trials=24, evaluate=failing, log=log)
    assert calls == 15 + 10 and found.trials == whole.trials
    assert all(torch.equal(found.state[k], whole.state[k]) for k in BASE)
    assert look(sampler=sampler, trials=24, log=log, evaluate=failing).best == whole.best and calls == 25
    assert look(sampler=sampler, seed=1).trials != whole.trials[:12]


def test_a_gaussian_process_needs_few_trials_and_goes_on_from_a_log(tmp_path: Path) -> None:
    """Ten draws, then its own proposals: two of these come near what fifty trials of the others find."""
    whole = look(sampler="gp", trials=14)
    assert max(t.value for t in whole.trials[10:]) > max(t.value for t in whole.trials[:10])
    log = tmp_path / "search.json"
    assert look(sampler="gp", trials=12, log=log).trials == whole.trials[:12]
    assert look(sampler="gp", trials=14, log=log).trials == whole.trials


def test_spaces_of_every_kind() -> None:
    space = {
        "weight": Range(0.1, 1.0, log=True, layers=2),
        "density": (0.5, 1.0),
        "normalize": [True, False],
        "seed": Range(0, 3, whole=True),
    }
    found = search("dare_ties", MODELS, BASE, evaluate=near, space=space, trials=3, **{"lambda": 0.9})
    for trial in found.trials:
        assert len(trial.parameters["weight"]) == 2 and 0.5 <= trial.parameters["density"] <= 1
        assert trial.parameters["normalize"] in (True, False) and isinstance(trial.parameters["seed"], int)
    both = look(space={"weight": Range(0, 1, each=True, layers=2)}, trials=2)
    assert {m: len(v) for m, v in both.parameters["weight"].items()} == {"a": 2, "b": 2}


def test_start_is_tried_first() -> None:
    found = look(start=[{"weight": {"a": 0.7, "b": 0.4}}, {"weight": 0.5}], trials=3)
    assert found.trials[0].parameters == {"weight": {"a": 0.7, "b": 0.4}} and found.best == found.trials[0]
    assert found.trials[1].parameters == {"weight": {"a": 0.5, "b": 0.5}}


def test_the_objective_decides() -> None:
    found = look(objective=lambda scores: -scores["task0"], trials=20)
    assert found.best.value == max(-t.scores["task0"] for t in found.trials) == -found.best.scores["task0"]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"space": {"wieght": (0, 1)}}, MergeError, 'no parameter "wieght"; did you mean "weight"'),
        ({"space": {"weight": 0.5}}, OptionError, r"must be a Range, \(low, high\) or a list, found 0.5"),
        ({"space": {}}, OptionError, "the space is empty"),
        ({"space": {"weight": (1, 1)}}, OptionError, "holds nothing to search"),
        ({"space": {"weight": Range(0, 1, log=True)}}, OptionError, "holds nothing to search"),
        ({"space": {"lambda": Range(0, 1, each=True)}}, OptionError, "is not each model's own"),
        ({"objective": lambda scores: float("nan")}, MergeError, "objective of trial 0 is nan"),
        ({"trials": 0}, OptionError, "at least 1"),
        ({"sampler": "cmase"}, OptionError, 'did you mean "cmaes"'),
        ({"sampler": "cmaes", "space": {"weight": (0, 1)}}, OptionError, "two numbers or more"),
        ({"weight": 0.5}, OptionError, "weight: both fixed and searched"),
        ({"start": [{"weight": 2.0}]}, OptionError, "lies outside"),
        ({"start": [{"lambda": 2.0}]}, OptionError, "lambda is not searched"),
        ({"evaluate": lambda state: 0.5}, MergeError, "must return a score a task"),
        ({"evaluate": lambda state: {"x": float("nan")}}, MergeError, 'score of task "x" is nan for trial 0'),
        ({"evaluate": lambda state: {"x": "good"}}, MergeError, "not a number"),
    ],
)
def test_wrong_searches(change: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        look(**change)


def test_logs_that_do_not_belong(tmp_path: Path) -> None:
    log = tmp_path / "log.json"
    look(log=log, trials=2)
    with pytest.raises(MergeError, match=r"is of another search .seed differ"):
        look(log=log, trials=2, seed=1)
    content = json.loads(log.read_text())
    content["trials"][1]["parameters"]["weight"]["a"] = 0.5
    log.write_text(json.dumps(content))
    with pytest.raises(MergeError, match=r"trial 1 of .* is not what this search tries"):
        look(log=log, trials=2)
    log.write_text("[]")
    with pytest.raises(MergeError, match="is no log of a search"):
        look(log=log)


def test_greedy_soup_by_hand() -> None:
    """Targets at 1: values 0.9, 1.3, 3 and -2 have distances 0.1, 0.3, 2 and 3. (0.9 + 1.3) / 2 = 1.1 is as good and is
    taken; with 3 it is 1.73, worse; with -2 it is 0.07, worse."""
    models = {k: {"w": torch.tensor([v])} for k, v in {"c": 3.0, "a": 0.9, "d": -2.0, "b": 1.3}.items()}

    def score(state: Mapping[str, Tensor]) -> dict[str, float]:
        return {"t": -round(float((state["w"] - 1).abs()), 4)}

    found = greedy_soup(models, score)
    assert found.members == ["a", "b"] and found.scores == {"t": -0.1}
    assert torch.allclose(found.state["w"], torch.tensor([1.1]))
    assert [name for name, _, _ in found.tried] == ["a", "b", "c", "d"]
    with pytest.raises(MergeError, match="no model"):
        greedy_soup({}, score)


def test_models_may_be_files(tmp_path: Path) -> None:
    places = {}
    for name, state in {**MODELS, "base": BASE}.items():
        places[name] = tmp_path / f"{name}.safetensors"
        save_file(state, places[name])
    base = places.pop("base")
    options: dict[str, Any] = {"space": {"weight": Range(0.0, 1.0, each=True)}, "trials": 3, "evaluate": near}
    assert search("task_arithmetic", places, base, **options).trials == look(trials=3).trials
    assert greedy_soup(places, near).tried == greedy_soup(MODELS, near).tried


def test_a_model_may_be_called_base() -> None:
    named = {"base": MODELS["a"], "b": MODELS["b"]}
    merged = merge_states("task_arithmetic", named, BASE, weight={"base": 1.0, "b": 0.5})
    assert torch.equal(merged["l.0.w"], torch.tensor([1.0, 0.5, 0.0]))


def test_evaluators_of_modules() -> None:
    model = nn.Sequential(nn.Linear(2, 1, bias=False), nn.Linear(1, 1, bias=False))
    evaluate = evaluator(model, lambda m: {"t": float(m[0].weight.detach().sum()), "on": float(m.training)})
    assert evaluate({"0.weight": torch.ones(1, 2)}) == {"t": 2.0, "on": 0.0}
    lacking = evaluate({"1.weight": torch.ones(1, 1)})["t"]
    assert lacking == float(model[0].weight.detach().sum())  # what is lacking is the model's, not the last call's
    with pytest.raises(MergeError, match=r"has no tensor 2\.weight"):
        evaluate({"2.weight": torch.ones(1)})


def test_the_bill_has_scores_before_and_after(tmp_path: Path) -> None:
    family(tmp_path, layers=2)
    plan = {"merge_method": "linear", "models": [{"model": n, "parameters": {"weight": 1.0}} for n in "ab"]}

    def score(state: Mapping[str, Tensor]) -> dict[str, float]:
        assert "model.norm.weight" in state and len(state) == len(list(state)) and "x" not in state
        return {"norm": float(state["model.norm.weight"].sum())}

    bill = merge(plan, tmp_path / "out", root=tmp_path, evaluate=score)
    scores = bill["scores"]
    assert json.loads((tmp_path / "out" / "merge.json").read_text())["scores"] == scores
    (own,) = scores.values()
    assert list(own) == ["a", "b", "merged"] and own["merged"] == pytest.approx((own["a"] + own["b"]) / 2, abs=1e-5)
    with pytest.raises(MergeError, match="must return a score"):
        merge(plan, tmp_path / "two", root=tmp_path, evaluate=lambda state: {})
    assert not (tmp_path / "two").exists() and not list(tmp_path.glob(".two*"))
