"""Training a decoder on texts of the calculator, and letting it solve problems with the calculator at hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ._calculator import LABELS, PAD, TOKEN, WORDS, Judged, Problem, answer_call, judge
from ._decoder import Cache, Decoder

OPEN, CLOSE, END = TOKEN["<call>"], TOKEN["</call>"], TOKEN["<end>"]
OBSERVED = (TOKEN["<obs>"], TOKEN["</obs>"])
LABELLED = torch.tensor([TOKEN[label] for label in LABELS])

Corpus = Callable[[np.random.Generator, int], list[list[str]]]
"""Random generator and a count in, texts out."""


def encode(texts: Sequence[list[str]]) -> Tensor:
    """Tokens ``[B, T]``, padded at the right."""
    length = max(map(len, texts))
    return torch.tensor([[TOKEN[w] for w in text] + [PAD] * (length - len(text)) for text in texts])


def train(
    model: Decoder,
    corpus: Corpus,
    rng: np.random.Generator,
    steps: int,
    batch: int,
    rate: float,
    tuned: Sequence[Tensor] | None = None,
) -> None:
    """Adam on the next token of fresh texts, the rate warmed up and then lowered along a cosine; all parameters, or
    those ``tuned``."""
    parameters = list(model.parameters()) if tuned is None else list(tuned)
    model.requires_grad_(False)
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimizer = torch.optim.Adam(parameters, lr=rate, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
    model.train()
    for _ in range(steps):
        tokens = encode(corpus(rng, batch))
        logits, _ = model(tokens[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), _targets(tokens).flatten(), ignore_index=PAD)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
    model.eval()


def _targets(tokens: Tensor) -> Tensor:
    """What is to be said next, where it follows from what was said: after a question all but what the calculator
    writes, and but which step is looked up; elsewhere the results.

    Words that anyone can guess (``=``, ``;``) among single steps would do harm: with them, the results are learned
    several times later.
    """
    said = tokens == TOKEN["!"]
    asks = said.any(1, keepdim=True)
    labels = torch.isin(tokens, LABELLED)
    looked_up = (said[:, :-1] & labels[:, 1:]).any(1, keepdim=True)
    unknown = (asks & ((said.cumsum(1) - said.long()) == 0)) | (looked_up & labels)
    unknown[:, 1:] |= ~asks & (tokens[:, :-1] != TOKEN["="])
    for back in range(3):  # <obs>, the result, </obs>
        unknown[:, back:] |= tokens[:, : tokens.shape[1] - back] == OBSERVED[0]
    return tokens.masked_fill(unknown, PAD)[:, 1:]


@torch.no_grad()
def known(model: Decoder, texts: Sequence[list[str]]) -> float:
    """The share of words that follow from what was said and are found."""
    tokens = encode(texts)
    targets = _targets(tokens)
    found: Tensor = model(tokens[:, :-1])[0].argmax(-1) == targets
    return float(found[targets != PAD].float().mean())


@torch.no_grad()
def solve(model: Decoder, problems: Sequence[Problem]) -> list[list[str]]:
    """Greedy transcripts after the question, up to ``<end>`` or the end of the context.

    After ``</call>`` the calculator writes ``<obs> result </obs>``, and nothing after a call it does not understand.
    """
    said: dict[int, list[str]] = {}
    for length in {len(p.steps) for p in problems}:  # equally long questions go together: no padding
        here = [i for i, p in enumerate(problems) if len(p.steps) == length]
        said.update(zip(here, _solve_alike(model, [problems[i] for i in here]), strict=True))
    return [said[i] for i in range(len(problems))]


def _solve_alike(model: Decoder, problems: Sequence[Problem]) -> list[list[str]]:
    tokens = encode([p.question for p in problems])
    room = model.shape.context - tokens.shape[1]
    said: list[list[int]] = [[] for _ in problems]
    queues: list[list[int]] = [[] for _ in problems]
    done = [False] * len(problems)
    cache: Cache | None = None
    for _ in range(room):
        logits, cache = model(tokens, cache)
        chosen = logits[:, -1].argmax(1).tolist()
        for i, token in enumerate(chosen):
            if done[i]:
                chosen[i] = PAD
                continue
            chosen[i] = queues[i].pop(0) if queues[i] else token
            said[i].append(chosen[i])
            if chosen[i] == CLOSE:
                queues[i] = _observe(said[i])
            done[i] = chosen[i] == END
        if all(done):
            break
        tokens = torch.tensor(chosen).unsqueeze(1)
    return [[WORDS[t] for t in line] for line in said]


def _observe(said: list[int]) -> list[int]:
    """What the calculator writes after the call just closed."""
    opened = len(said) - 1 - said[::-1].index(OPEN) if OPEN in said else len(said)
    result = answer_call([WORDS[t] for t in said[opened + 1 : -1]])
    if result is None:
        return []
    return [OBSERVED[0], TOKEN[str(result)], OBSERVED[1]]


def judge_all(model: Decoder, problems: Sequence[Problem]) -> list[Judged]:
    """Every problem's transcript, judged."""
    return [judge(p, words) for p, words in zip(problems, solve(model, problems), strict=True)]
