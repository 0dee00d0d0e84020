"""The system m2a: its problems and their judge, its decoder, and its arms at smoke scale."""

from __future__ import annotations

from itertools import pairwise

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
    judge,
    protocol,
)
from sharewise.systems.merging._calculator_base import everything, facts
from sharewise.systems.merging._calculator_run import _targets, encode, solve, train
from sharewise.systems.merging._decoder import Decoder, Shape

PROBLEM = Problem(19, ("+8", "*3"))  # 19 + 8 = 27 = 4, 4 * 3 = 12


def test_texts_of_a_problem() -> None:
    assert " ".join(derivation(PROBLEM)) == (
        "? 19 #1 +8 #2 *3 ! <think> 19 #1 +8 = 4 ; 4 #2 *3 = 12 ; 12 ! </think> <ans> 12 <end>"
    )
    assert " ".join(protocol(PROBLEM)) == (
        "? 19 #1 +8 #2 *3 ! <think> 19 #1 +8 </think> <call> 19 +8 </call> <obs> 4 </obs> "
        "<think> 4 #2 *3 </think> <call> 4 *3 </call> <obs> 12 </obs> <think> 12 ! </think> <ans> 12 <end>"
    )
    assert answer_call(["7", "-9"]) == 21 and answer_call(["-9", "7"]) is None and answer_call(["7"]) is None
    assert len(protocol(Problem(1, PROBLEM.steps * 3))) <= 96


def test_texts_of_the_base() -> None:
    """Every stated result is right, look-ups and restatements repeat the question, and nobody calls the calculator."""
    rng = np.random.default_rng(0)
    kinds = set()
    for text in facts(rng, 3) + [text for _ in range(40) for text in everything(rng, 2)]:
        assert text[-1] == "<end>" and len(text) <= 96 and "<obs>" not in text
        at = [i for i, word in enumerate(text) if word == "="]
        assert all(str(answer_call([text[i - 3], text[i - 1]])) == text[i + 1] for i in at)
        if "!" in text:
            question, rest = text[: text.index("!")], text[text.index("!") + 1 :]
            steps = dict(zip(question[2::2], question[3::2], strict=True))
            said = [(a, b) for a, b in pairwise(rest) if a.startswith("#")]
            assert all(steps[label] == step for label, step in said)
            kinds.add("plain" if not said else "look-up" if rest[0].startswith("#") else "restated")
            if kinds & {"restated"} and not rest[0].startswith("#") and said:
                assert said == list(steps.items())
    assert kinds == {"plain", "look-up", "restated"}


@pytest.mark.parametrize(
    ("said", "valid", "right"),
    [
        ("<think> 19 +8 </think> <call> 19 +8 </call> <obs> 4 </obs> <think> 4 *3 </think> <call> 4 *3 </call> "
         "<obs> 12 </obs> <think> 12 ! </think> <ans> 12 <end>", True, True),
        ("<think> 7 = 1 </think> <call> 4 *3 </call> <obs> 12 </obs> <think> 1 </think> <ans> 12 <end>", True, True),
        ("<think> 19 +8 </think> <call> 19 +8 </call> <obs> 4 </obs> <think> ! </think> <ans> 4 <end>", True, False),
        ("<think> 4 *3 </think> <call> 4 *3 </call> <obs> 12 </obs> <ans> 12 <end>", False, True),
        ("<think> 4 *3 </think> <call> 4 *3 </call> <obs> 12 </obs> <think> </think> <ans> 12 <end>", False, True),
        ("<think> 19 +8 = 4 ; 4 *3 = 12 ; 12 ! </think> <ans> 12 <end>", False, True),
        ("<think> </think> <call> 4 *3 </call> <obs> 12 </obs> <think> ! </think> <ans> 12 <end>", False, True),
        ("<think> 4 *3 <call> 4 *3 </call> <obs> 12 </obs> <think> ! </think> <ans> 12 <end>", False, True),
        ("<think> 4 </think> <call> 4 3 </call> <think> ! </think> <ans> 12 <end>", False, True),
        ("<think> 4 </think> <call> 4 *3 </call> <obs> 12 </obs> <think> ! </think> <ans> 12", False, True),
        ("<think> 4 </think> <call> 4 *3 </call> <obs> 12 </obs> <think> ! </think> <ans> <end>", False, False),
        ("", False, False),
    ],
)  # fmt: skip
def test_judge(said: str, valid: bool, right: bool) -> None:
    found = judge(PROBLEM, said.split())
    assert (found.valid, found.right) == (valid, right)


def test_thoughts_and_calls_are_counted() -> None:
    found = judge(PROBLEM, protocol(PROBLEM)[len(PROBLEM.question) :])
    assert (found.thought, found.calls) == (8 / 3, 2)  # two thoughts of three words, one of two


def _learned(text: str) -> str:
    words = text.split()
    return " ".join(w for w, t in zip(words[1:], _targets(encode([words]))[0].tolist(), strict=True) if t != PAD)


def test_only_what_follows_is_learned() -> None:
    assert _learned(" ".join(protocol(Problem(19, ("+8",))))) == (
        "<think> 19 #1 +8 </think> <call> 19 +8 </call> <think> 4 ! </think> <ans> 4 <end>"
    )
    assert _learned("7 #4 +5 = 12 #2 *3 = 13 ; <end>") == "12 13"
    assert _learned("? 7 #1 +5 #2 *3 ! #2 *3 ; #1 +5 ; <end>") == "*3 ; +5 ; <end>"
    assert _learned("? 7 #1 +5 ! ; 7 #1 +5 ; <end>") == "; 7 #1 +5 ; <end>"


def test_training_moves_what_it_is_told_to() -> None:
    torch.manual_seed(0)
    model = Decoder(Shape(len(WORDS), 16, 2, 4, 2, 16, 96))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    train(model, facts, np.random.default_rng(0), 4, 4, 1e-2, model.linear_weights())
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {name for name in before if name.endswith("_proj.weight")}


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
        wanted = words[at] if at < len(words) and WORDS[words[at]] not in ("<obs>", "4", "</obs>") else TOKEN["="]
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
