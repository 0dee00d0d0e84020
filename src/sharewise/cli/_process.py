"""The command as a process of its own: quick to begin, and quick to end."""

from __future__ import annotations

import atexit
import gc
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def loading() -> Iterator[None]:
    """Around the imports of a command: nothing is garbage yet, and looking for it in all of torch takes 0.2 s."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def leave(code: int) -> None:
    """End the process with ``code`` as usual, but for its memory, which the system frees: taking torch's modules apart
    one by one takes 0.4 s. Threads that are no daemons are waited for, which the usual end does, so then that is taken.
    """
    if any(not t.daemon for t in threading.enumerate() if t is not threading.main_thread()):
        sys.exit(code)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # a reader that has gone, a stream that is closed
            stream.flush()
    os._exit(code)
