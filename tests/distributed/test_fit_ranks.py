"""Two processes, each with every other batch, take the steps that one process takes with batches of twice the size."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp

import sharewise as sw
from helpers.fit_rank import BALANCERS, SCHEDULES, WITHOUT, data, guided, rank, scheduled, sgd, unlabelled
from helpers.small import TASKS, SmallModel
from sharewise.train._state import load_state


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What both processes left behind."""
    path = tmp_path_factory.mktemp("ranks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(rank, (port, str(path)), nprocs=2)
    return path


def test_two_ranks_are_one_process_with_twice_the_batch(folder: Path) -> None:
    runs = [(name, data(), name) for name in BALANCERS] + [(name, unlabelled(), f"{name}-without") for name in WITHOUT]
    for balancer, given, saved in runs:
        whole = SmallModel(dropout=0.0)
        sw.fit(whole, TASKS, given, balancer=balancer, epochs=2, batch_size=32, optimizer=sgd, progress=False)
        for index in (0, 1):
            found = torch.load(folder / f"{saved}-{index}.pt", weights_only=True)
            for a, b in zip(found, whole.parameters(), strict=True):
                assert torch.allclose(a, b, atol=1e-6), saved


@pytest.mark.parametrize("kind", ["aligned", "partly", "by task"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_all_ranks_choose_the_same_tasks(folder: Path, name: str, kind: str) -> None:
    """At every step, also where one has labels that the other lacks; of aligned data those of one process."""
    mine, other = (json.loads((folder / f"chosen-{index}.json").read_text())[f"{name} {kind}"] for index in (0, 1))
    assert mine == other
    assert len({tuple(tasks) for tasks in mine}) > 1
    saved = [folder / f"{name} {kind}-{index}.safetensors" for index in (0, 1)]
    assert saved[0].read_bytes() == saved[1].read_bytes()  # the weights, and all that the schedule goes by
    if kind == "aligned":
        chosen, expected = scheduled(name, data(), 32)
        assert mine == chosen
        for a, b in zip(load_state(saved[0])["weights"], expected["weights"], strict=True):
            assert torch.allclose(a, b, atol=1e-6)


def test_guidance_of_two_ranks_is_that_of_one_process(folder: Path) -> None:
    thresholds, weights = guided(32)
    assert float(thresholds.abs().max()) > 0.01
    for index in (0, 1):
        found, trained = torch.load(folder / f"guided-{index}.pt", weights_only=True)
        assert torch.allclose(found, thresholds, atol=1e-4)
        assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(trained, weights, strict=True))
