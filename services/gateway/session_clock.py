"""The clocks of one session: how old it is, how long its player has been silent.

It does not know who ends a session.
"""

from __future__ import annotations

import time
from typing import Literal

from services import protocol
from services.gateway.settings import SessionLimits

LimitReason = Literal["idle", "too_long"]


class SessionClock:
    """Warns before a limit and says when one is reached."""

    def __init__(self, limits: SessionLimits) -> None:
        """Begin now."""
        self._limits = limits
        self._ends_at = time.monotonic() + limits.max_session_seconds
        self._heard_at = time.monotonic()
        self._is_warned_of_end = False
        self._is_warned_of_idleness = False

    def begin(self, opened_at: float) -> None:
        """Count the age from a time of the wall clock, that of the session's first opening."""
        age = max(0.0, time.time() - opened_at)
        self._ends_at = time.monotonic() + self._limits.max_session_seconds - age
        self.hear()

    def hear(self) -> None:
        """Note that the player has said something."""
        self._heard_at = time.monotonic()
        self._is_warned_of_idleness = False

    def reached(self, now: float) -> LimitReason | None:
        """Return which limit is reached."""
        if now >= self._ends_at:
            return "too_long"
        if now >= self._heard_at + self._limits.max_idle_seconds:
            return "idle"
        return None

    def warning(self, now: float) -> protocol.Notice | None:
        """Return what a player should be shown now, once each."""
        until_end = self._ends_at - now
        until_idle = self._heard_at + self._limits.max_idle_seconds - now
        if until_end <= self._limits.notice_seconds and not self._is_warned_of_end:
            self._is_warned_of_end = True
            return protocol.Notice(kind="session_limit", seconds=max(0.0, until_end))
        if until_idle <= self._limits.notice_seconds and not self._is_warned_of_idleness:
            self._is_warned_of_idleness = True
            return protocol.Notice(kind="idle", seconds=max(0.0, until_idle))
        return None
