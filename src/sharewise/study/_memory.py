"""Most memory a piece of work held."""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class PeakMemory:
    """``with PeakMemory() as memory: ...`` -> ``memory.peak_mb``: most resident memory above that at the start.

    On Linux the kernel's high-water mark is reset at the start. Elsewhere only the process's mark since its start is
    known, so a piece of work that stays below an earlier one shows as 0.
    """

    peak_mb: float = 0.0

    def __enter__(self) -> PeakMemory:
        if STATUS.exists():
            try:
                CLEAR.write_text("5")
            except OSError:  # a locked-down kernel: the mark stays that of the whole process
                self._base = self._mark()
                return self
        self._base = self._mark()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.peak_mb = max(0.0, self._mark() - self._base)

    @staticmethod
    def _mark() -> float:
        """High-water mark of resident memory, MB."""
        if STATUS.exists():
            line = next(x for x in STATUS.read_text().splitlines() if x.startswith("VmHWM"))
            return float(line.split()[1]) / 1024
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)
