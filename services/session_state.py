"""The life of a session as client and gateway both see it: states and the legal ways between them.

      new -> queued -> opening -> active <-> paused
                          ^       |  |         |
                          |       v  +---------+--> closing -> ended
                       resuming <- dropped

Each state also says which messages a client may send in it. This module imports nothing of the
project beside it, so that clients and servers share it; it does not know transports.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class SessionState(StrEnum):
    """Where a session stands."""

    NEW = "new"  # connected, nothing asked for
    QUEUED = "queued"  # waits for a slot, its position is told
    OPENING = "opening"  # has a slot, waits for its start image
    ACTIVE = "active"  # actions in, frames out
    PAUSED = "paused"  # no frames until it is continued; its slot may be another's
    DROPPED = "dropped"  # the connection broke; waits to be resumed
    RESUMING = "resuming"  # connected again, waits for a slot and its state
    CLOSING = "closing"  # asked to end; last frames may come
    ENDED = "ended"  # over


_S = SessionState
TRANSITIONS: Mapping[SessionState, frozenset[SessionState]] = {
    _S.NEW: frozenset({_S.QUEUED, _S.OPENING, _S.RESUMING, _S.ENDED}),
    _S.QUEUED: frozenset({_S.OPENING, _S.RESUMING, _S.ENDED}),
    _S.OPENING: frozenset({_S.ACTIVE, _S.QUEUED, _S.ENDED}),
    _S.ACTIVE: frozenset({_S.PAUSED, _S.DROPPED, _S.RESUMING, _S.CLOSING, _S.ENDED}),
    _S.PAUSED: frozenset({_S.ACTIVE, _S.DROPPED, _S.RESUMING, _S.CLOSING, _S.ENDED}),
    _S.DROPPED: frozenset({_S.RESUMING, _S.ENDED}),
    _S.RESUMING: frozenset({_S.ACTIVE, _S.PAUSED, _S.QUEUED, _S.DROPPED, _S.ENDED}),
    _S.CLOSING: frozenset({_S.DROPPED, _S.ENDED}),
    _S.ENDED: frozenset(),
}

# What a client may send in which state (types of the WebSocket protocol's messages).
_IN_SESSION = frozenset({"frames_received", "snapshot", "close", "ping"})
LEGAL_MESSAGES: Mapping[SessionState, frozenset[str]] = {
    _S.NEW: frozenset({"open", "resume", "ping"}),
    _S.QUEUED: frozenset({"close", "ping"}),
    _S.OPENING: frozenset({"close", "ping"}),
    _S.ACTIVE: _IN_SESSION | {"actions", "pause"},
    _S.PAUSED: _IN_SESSION | {"continue"},
    _S.DROPPED: frozenset(),
    _S.RESUMING: frozenset({"close", "ping"}),
    _S.CLOSING: frozenset({"frames_received", "ping"}),
    _S.ENDED: frozenset(),
}


class IllegalTransitionError(ValueError):
    """A step that the life of a session does not have: a fault of the program, not of a client."""


class SessionLife:
    """One session's state; every step is checked against the table."""

    def __init__(self, state: SessionState = SessionState.NEW) -> None:
        """Begin in a state."""
        self._state = state

    @property
    def state(self) -> SessionState:
        """Where the session stands."""
        return self._state

    @property
    def is_over(self) -> bool:
        """Tell whether the session has ended."""
        return self._state is SessionState.ENDED

    def move(self, state: SessionState) -> None:
        """Go to a state.

        Raises:
            IllegalTransitionError: naming both states and where the session could go.
        """
        allowed = TRANSITIONS[self._state]
        if state not in allowed:
            known = ", ".join(sorted(allowed)) or "nowhere"
            message = f"a session cannot go from {self._state} to {state}, expected {known}"
            raise IllegalTransitionError(message)
        self._state = state

    def allows(self, message_type: str) -> bool:
        """Tell whether a client may send a message of this type now."""
        return message_type in LEGAL_MESSAGES[self._state]
