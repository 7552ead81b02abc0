"""Does a process grow? Its resident memory is read along the way, and a line is laid through it.

It does not know what the process does.
"""

from __future__ import annotations

import time

import numpy as np
import psutil

# Caches fill and buffers find their size in the beginning; what counts comes after.
_WARM_UP_SHARE = 0.2


class MemoryWatch:
    """Looks at the resident memory of a process whenever it is asked to."""

    def __init__(self, pid: int) -> None:
        """Watch a process of this machine."""
        self._process = psutil.Process(pid)
        self._seconds: list[float] = []
        self._bytes: list[int] = []

    def look(self) -> None:
        """Note the resident memory now."""
        self._seconds.append(time.monotonic())
        self._bytes.append(self._process.memory_info().rss)

    @property
    def largest_bytes(self) -> int:
        """The largest that was seen."""
        return max(self._bytes, default=0)

    @property
    def growth(self) -> float:
        """Growth over the time watched, its beginning left out, as a share of the memory."""
        return growth_of(self._seconds, self._bytes)


def growth_of(seconds: list[float], sizes: list[int]) -> float:
    """Return the growth of sizes along the line through them, as a share of where it begins.

    0 while there are fewer than three values to lay a line through.
    """
    skipped = int(len(seconds) * _WARM_UP_SHARE)
    times, values = np.array(seconds[skipped:]), np.array(sizes[skipped:], np.float64)
    if len(times) < 3:
        return 0.0
    slope, start = np.polyfit(times - times[0], values, 1)
    return float(slope * (times[-1] - times[0]) / start)
