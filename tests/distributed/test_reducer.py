"""Two processes with half a batch each take the same step as one process with the whole batch."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

import sharewise as sw
from helpers.shared_net import Net, batch, net
from sharewise.balance import MeanReducer, create
from sharewise.errors import BalanceError

METHODS = ("equal", "constant", "uncertainty", "pcgrad", "graddrop")
STEPS = 3


def make(name: str) -> sw.Balancer:
    options = {"weights": {f"task {i}": 1.0 + i for i in range(3)}} if name == "constant" else {}
    return create(name, tasks=[f"task {i}" for i in range(3)], **options)


def train(model: Net, balancer: sw.Balancer, rows: slice, reducer: MeanReducer | None) -> None:
    parameters = [*model.parameters(), *balancer.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.05)
    for step in range(STEPS):
        optimizer.zero_grad()
        sw.backward(model.losses(batch(20, seed=step)[rows]), balancer, reducer=reducer)
        if reducer is not None:
            reducer.gradients(parameters)
        optimizer.step()


def work(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    try:
        for name in METHODS:
            model, balancer = net(3), make(name)
            train(model, balancer, slice(rank * 10, rank * 10 + 10), MeanReducer())
            state = {**model.state_dict(), **{f"balancer.{k}": v for k, v in balancer.state_dict().items()}}
            torch.save(state, Path(folder) / f"{name}-{rank}.pt")
        message = ""
        try:
            sw.backward(net(3).losses(batch()), make("pcgrad"))
        except BalanceError as error:
            message = str(error)
        Path(folder, f"message-{rank}").write_text(message)
        losses = net(3).losses(batch())
        if rank == 1:
            losses["task 2"] = losses["task 2"] * float("nan")
        balance = sw.backward(losses, make("pcgrad"), reducer=MeanReducer(), on_nonfinite="skip task")
        Path(folder, f"skipped-{rank}").write_text(",".join(balance.skipped))
    finally:
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ranks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path_of_this = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path_of_this)), "OMP_NUM_THREADS": "1"}
    commands = [[sys.executable, __file__, str(rank), str(port), str(path)] for rank in range(2)]
    ranks = [subprocess.Popen(c, env=environment, stderr=subprocess.PIPE, text=True) for c in commands]
    for rank in ranks:
        _, errors = rank.communicate(timeout=120)
        assert rank.returncode == 0, errors
    return path


@pytest.mark.parametrize("name", METHODS)
def test_two_half_batches_are_one_batch(folder: Path, name: str) -> None:
    model, balancer = net(3), make(name)
    train(model, balancer, slice(None), None)
    want = {**model.state_dict(), **{f"balancer.{k}": v for k, v in balancer.state_dict().items()}}
    ranks = [torch.load(folder / f"{name}-{rank}.pt", weights_only=True) for rank in range(2)]
    for key, value in want.items():
        assert torch.equal(ranks[0][key], ranks[1][key]), f"ranks differ in {key}"
        close = 1e-5 if name == "uncertainty" else 1e-9  # its log-variances are float32
        assert torch.allclose(ranks[0][key].double(), value.double(), rtol=close, atol=close * 1e-3), key


def test_rows_of_one_process_alone_are_refused(folder: Path) -> None:
    for rank in range(2):
        assert "2 processes are at work" in (folder / f"message-{rank}").read_text()


def test_a_task_that_fails_on_one_process_is_skipped_on_all(folder: Path) -> None:
    for rank in range(2):
        assert (folder / f"skipped-{rank}").read_text() == "task 2"


if __name__ == "__main__":
    work(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
