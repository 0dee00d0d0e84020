"""Two processes, each with every other batch, take the steps that one process takes with batches of twice the size."""

from __future__ import annotations

import socket
from pathlib import Path

import torch
import torch.multiprocessing as mp

import sharewise as sw
from helpers.fit_rank import BALANCERS, WITHOUT, data, rank, sgd, unlabelled
from helpers.small import TASKS, SmallModel


def test_two_ranks_are_one_process_with_twice_the_batch(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(rank, (port, str(tmp_path)), nprocs=2)
    runs = [(name, data(), name) for name in BALANCERS] + [(name, unlabelled(), f"{name}-without") for name in WITHOUT]
    for balancer, given, saved in runs:
        whole = SmallModel(dropout=0.0)
        sw.fit(whole, TASKS, given, balancer=balancer, epochs=2, batch_size=32, optimizer=sgd, progress=False)
        for index in (0, 1):
            found = torch.load(tmp_path / f"{saved}-{index}.pt", weights_only=True)
            for a, b in zip(found, whole.parameters(), strict=True):
                assert torch.allclose(a, b, atol=1e-6), saved
