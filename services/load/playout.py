"""When a player sees which frame: a start buffer, then one frame after the other at its time.

A frame that is not there at its time is a stall; play goes on when it comes, and what follows is
seen that much later. Times are seconds of one clock. It knows no sessions.
"""

from __future__ import annotations

from collections.abc import Sequence


class Playout:
    """The screen of one player."""

    def __init__(self, frames_per_second: float, started_at: float) -> None:
        """Begin to show frames at `started_at`, when the start buffer is full."""
        self._period = 1.0 / frames_per_second
        self._due_at = started_at
        self._shown_at: list[float] = []
        self.num_stalls = 0
        self.stalled_seconds = 0.0

    @property
    def due_at(self) -> float:
        """When the next frame should be seen."""
        return self._due_at

    @property
    def shown_at(self) -> Sequence[float]:
        """When each frame was seen."""
        return self._shown_at

    @property
    def played_seconds(self) -> float:
        """Time from the first frame seen to the end of the last one, stalls included."""
        if not self._shown_at:
            return 0.0
        return self._shown_at[-1] - self._shown_at[0] + self._period

    def show(self, arrived_at: float) -> float:
        """Take the next frame; return when it is seen."""
        late = arrived_at - self._due_at
        shown_at = self._due_at
        if late > 0:
            self.num_stalls += 1
            self.stalled_seconds += late
            shown_at = arrived_at
        self._shown_at.append(shown_at)
        self._due_at = shown_at + self._period
        return shown_at

    def intervals(self) -> list[float]:
        """Return the times between frames that were seen one after the other."""
        return [
            later - sooner
            for sooner, later in zip(self._shown_at, self._shown_at[1:], strict=False)
        ]
