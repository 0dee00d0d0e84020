"""Ctrl-C while a run can be saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Interrupts:
    """Ctrl-C is noted, for training to end after the current step with a checkpoint; a second one ends it at once."""

    def __init__(self) -> None:
        self.noted = False

    @contextmanager
    def watched(self, *, wanted: bool) -> Iterator[None]:
        """Within, where it is ``wanted`` and this is the main thread, which alone can handle signals."""
        if not wanted or threading.current_thread() is not threading.main_thread():
            yield
            return

        def note(number: int, frame: Any) -> None:
            if self.noted:
                raise KeyboardInterrupt
            self.noted = True

        former = signal.signal(signal.SIGINT, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, former)
