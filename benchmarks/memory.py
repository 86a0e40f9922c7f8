"""Peak memory of this process, as Linux counts it."""

from __future__ import annotations

import ctypes
from pathlib import Path


class PeakMemory:
    """MiB that the process came to hold above what it held when this was made."""

    def __init__(self) -> None:
        ctypes.CDLL(None).malloc_trim(0)  # what was freed before must not serve the next one unseen
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is in use now
        self.before = _mib("VmRSS")

    def mib(self) -> float:
        return _mib("VmHWM") - self.before


def _mib(key: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) / 1024
