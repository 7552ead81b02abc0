"""Ids that are good for one use: remembered until they expire anyhow, so memory is bounded.

It does not know what an id is for.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable


class OneTimeIds:
    """The ids that were used and have not expired."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Measure expiry by a clock, seconds since 1970."""
        self._clock = clock
        self._used: set[str] = set()
        self._by_expiry: list[tuple[float, str]] = []

    def __len__(self) -> int:
        """Return how many ids are remembered."""
        return len(self._used)

    def take(self, one_time_id: str, expires_at: float) -> bool:
        """Use an id; False when it has been used before."""
        now = self._clock()
        while self._by_expiry and self._by_expiry[0][0] < now:
            self._used.discard(heapq.heappop(self._by_expiry)[1])
        if one_time_id in self._used:
            return False
        self._used.add(one_time_id)
        heapq.heappush(self._by_expiry, (expires_at, one_time_id))
        return True

    def give_back(self, one_time_id: str) -> None:
        """Let an id be good for its one use again."""
        self._used.discard(one_time_id)
