"""A system whose numbers are known; importing it registers it (worker processes import it by name)."""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import torch

from sharewise.systems import Claim, Paper, system

PAPER = Paper("A toy", "Nobody", 2026, "nowhere", "https://example.org/toy", "full text")


def better(seed: int) -> dict[str, float]:
    """Error 0.8, 0.81, ... with a pinch of global randomness, which the runner must seed."""
    return {"error": 0.8 + 0.01 * seed + 1e-6 * (random.random() + torch.rand(()).item())}


def plain(seed: int) -> dict[str, float]:
    return {"error": 1.0 + 0.01 * seed, "threads": float(torch.get_num_threads())}


def worse(seed: int) -> dict[str, float]:
    return {"error": 1.2 + 0.01 * seed, "process": float(os.getpid())}


@system(
    "toy",
    title="A toy",
    paper=PAPER,
    family="tests",
    data="simulated: three numbers",
    claims=[
        Claim("A is 10 % better", "error", "better", "plain", margin=0.1),
        Claim("C is better", "error", "worse", "plain"),
        Claim("A stays below 1", "error", "better", at_most=1.0),
    ],
    remarks=["A remark."],
)
def arms(scale: str) -> dict[str, Callable[[int], dict[str, float]]]:
    return {"better": better, "plain": plain, "worse": worse}
