"""Runs of a training that are killed (SIGKILL) at a random moment, each in a process of its own."""

from __future__ import annotations

import os
import random
import signal
import threading
import warnings
from collections.abc import Callable


def killed(work: Callable[[], object], after: float) -> bool:
    """Run ``work`` in a forked process and kill it after so many seconds; true if it was killed before its end.

    A fork starts at once, where a fresh process would spend seconds importing.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # idle library threads; the child only trains
        child = os.fork()
    if child == 0:
        timer = threading.Timer(after, lambda: os.kill(os.getpid(), signal.SIGKILL))
        timer.daemon = True
        timer.start()
        try:
            work()
            os._exit(0)
        except BaseException as error:
            print(f"the run failed: {error!r}", flush=True)
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return True
    if os.WEXITSTATUS(status):
        raise RuntimeError("the run failed by itself; its message is above")
    return False


def kill_until_done(work: Callable[[], object], kills: int, longest: float, seed: int) -> int:
    """Kill ``work`` at random moments until it has been killed ``kills`` times or ends; then let it end."""
    draw = random.Random(seed)
    count = 0
    while count < kills:
        if not killed(work, draw.uniform(0.0, longest)):
            return count
        count += 1
    killed(work, 3600.0)
    return count
