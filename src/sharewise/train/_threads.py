"""One thread for small work: threads that wait for each other cost more than they bring."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def single_thread() -> Iterator[None]:
    """Torch, BLAS and OpenMP compute on one thread inside; the former numbers come back afterwards."""
    from threadpoolctl import threadpool_limits

    former = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(former)
