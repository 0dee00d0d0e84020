"""The system m2a: its problems and their judge, its decoder, and its arms at smoke scale."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sharewise.systems import get, reproduce
from sharewise.systems.merging import _m2a_arms
from sharewise.systems.merging._calculator import (
    PAD,
    TOKEN,
    WORDS,
    Problem,
    answer_call,
    derivation,
    draw,
    equations,
    judge,
    plain,
    protocol,
)
from sharewise.systems.merging._calculator_run import _targets, encode, solve
from sharewise.systems.merging._decoder import Decoder, Shape

PROBLEM = Problem(7, (("+", 20), ("*", 3)))  # 7 + 20 = 27 = 4, 4 * 3 = 12


def test_texts_of_a_problem() -> None:
    assert " ".join(plain(PROBLEM)) == "? 7 #1 + 20 #2 * 3 ! 12 <end>"
    assert " ".join(derivation(PROBLEM)) == "? 7 #1 + 20 #2 * 3 ! #1 7 + 20 = 4 ; #2 4 * 3 = 12 ; <ans> 12 <end>"
    assert " ".join(protocol(PROBLEM)) == (
        "? 7 #1 + 20 #2 * 3 ! <think> #1 7 + 20 </think> <call> 7 + 20 </call> <obs> 4 </obs> "
        "<think> #2 4 * 3 </think> <call> 4 * 3 </call> <obs> 12 </obs> <ans> 12 <end>"
    )
    assert " ".join(equations([PROBLEM, Problem(1, (("-", 3),))])) == "7 + 20 = 4 ; 1 - 3 = 21 ; <end>"
    assert answer_call(["7", "+", "20"]) == 4 and answer_call(["7", "20", "+"]) is None
    longest = max(draw(np.random.default_rng(0), 99, 6, 6), key=lambda p: len(protocol(p)))
    assert len(protocol(Problem(1, PROBLEM.steps * 2 + PROBLEM.steps[:1]))) <= 96 and len(derivation(longest)) <= 96


@pytest.mark.parametrize(
    ("said", "valid", "right"),
    [
        ("<think> 7 + 20 </think> <call> 7 + 20 </call> <obs> 4 </obs> "
         "<think> 4 * 3 </think> <call> 4 * 3 </call> <obs> 12 </obs> <ans> 12 <end>", True, True),
        ("<think> 7 ; 9 = 1 </think> <call> 4 * 3 </call> <obs> 12 </obs> <ans> 12 <end>", True, True),
        ("<think> 7 + 20 </think> <call> 7 + 20 </call> <obs> 4 </obs> <ans> 4 <end>", True, False),
        ("7 + 20 = 4 ; 4 * 3 = 12 ; <ans> 12 <end>", False, True),
        ("<think> </think> <call> 4 * 3 </call> <obs> 12 </obs> <ans> 12 <end>", False, True),
        ("<think> 4 * 3 <call> 4 * 3 </call> <obs> 12 </obs> <ans> 12 <end>", False, True),
        ("<think> 4 </think> <call> 4 3 </call> <ans> 12 <end>", False, True),
        ("<think> 4 </think> <call> 4 * 3 </call> <obs> 12 </obs> <ans> 12", False, True),
        ("<think> 4 </think> <call> 4 * 3 </call> <obs> 12 </obs> <ans> <end>", False, False),
        ("", False, False),
    ],
)  # fmt: skip
def test_judge(said: str, valid: bool, right: bool) -> None:
    found = judge(PROBLEM, said.split())
    assert (found.valid, found.right) == (valid, right)


def test_thoughts_and_calls_are_counted() -> None:
    found = judge(PROBLEM, protocol(PROBLEM)[len(PROBLEM.question) :])
    assert (found.thought, found.calls) == (4.0, 2)


def test_questions_and_observations_are_not_learned() -> None:
    words = protocol(Problem(7, (("+", 20),)))
    learned = [w for w, t in zip(words[1:], _targets(encode([words]))[0].tolist(), strict=True) if t != PAD]
    assert " ".join(learned) == "<think> #1 7 + 20 </think> <call> 7 + 20 </call> <ans> 4 <end>"
    words = equations([PROBLEM])
    assert all(t != PAD for t in _targets(encode([words]))[0].tolist())


def test_the_cache_changes_nothing() -> None:
    torch.manual_seed(0)
    model = Decoder(Shape(len(WORDS), 16, 2, 4, 2, 16, 32)).eval()
    tokens = torch.randint(len(WORDS), (3, 9))
    whole, _ = model(tokens)
    first, cache = model(tokens[:, :5])
    parts = [first]
    for i in range(5, 9):
        new, cache = model(tokens[:, i : i + 1], cache)
        parts.append(new)
    assert torch.allclose(torch.cat(parts, 1), whole, atol=1e-5)
    changed = tokens.clone()
    changed[:, 7:] = 0
    assert torch.allclose(model(changed)[0][:, :7], whole[:, :7], atol=1e-6)  # nobody looks ahead


class Parrot(Decoder):
    """Says the protocol's transcript of :data:`PROBLEM`, without what the calculator writes."""

    def __init__(self) -> None:
        super().__init__(Shape(len(WORDS), 8, 1, 2, 1, 8, 96))

    def forward(self, tokens, cache=None):  # type: ignore[no-untyped-def]
        at = (cache or 0) + tokens.shape[1]
        words = [TOKEN[w] for w in protocol(PROBLEM)]
        wanted = words[at] if at < len(words) and WORDS[words[at]] not in ("4", "12", "</obs>") else TOKEN["="]
        return torch.nn.functional.one_hot(torch.tensor([[wanted]]), len(WORDS)).float().expand(len(tokens), 1, -1), at


def test_the_calculator_answers_calls() -> None:
    said = solve(Parrot(), [PROBLEM])[0]
    upto = said.index("</obs>") + 1
    assert said[:upto] == protocol(PROBLEM)[len(PROBLEM.question) :][:upto]
    assert said[upto - 2] == "4"  # written by the calculator, whatever the model would say


def test_smoke_scale_runs_and_repeats() -> None:
    one = reproduce("m2a", [0], scale="smoke")
    assert {"agent", "reasoner", "mixed", "m2a", "beta_sweep", *_m2a_arms.GRIDS} <= set(one.arms)
    again = get("m2a").arms("smoke")["m2a"](0)
    assert {metric: [value] for metric, value in again.items()} == one.arms["m2a"]


def test_every_arm_chooses_among_as_many_settings() -> None:
    assert {len(grid) for _, grid in _m2a_arms.GRIDS.values()} == {8}


def test_claims_keep_the_margins() -> None:
    margins = {(c.metric, c.arm, c.versus): c.margin for c in get("m2a").claims}
    assert margins["joint", "m2a", "agent"] == 0.10 and margins["joint", "m2a", "m2a_unprojected"] == 0.05
    assert margins["valid", "m2a", "agent"] == -0.01
