"""The sessions that are live in this gateway, and those that wait to be resumed.

One clock tick a second serves all of them. It knows of a session what stands in `Live`.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from pydantic import BaseModel

from services.contract import ErrorCode, SessionError
from services.gateway.metrics import Metrics
from services.session_state import SessionState

_TICK_SECONDS = 0.5


class Live(Protocol):
    """What the directory needs to know of a session."""

    @property
    def session_id(self) -> str:
        """Its id."""

    @property
    def state(self) -> SessionState:
        """Where it stands."""

    @property
    def backend_address(self) -> str:
        """Where its engine is, empty while it has none."""

    def tell(self, message: BaseModel) -> None:
        """Tell its player something."""

    def abort(self, error: SessionError) -> None:
        """End its connection; what can be resumed later can be."""

    def move(self) -> None:
        """Let another backend of its release go on with it."""

    def make_way(self) -> None:
        """End its connection: its session goes on on another."""

    def tick(self, now: float) -> None:
        """Look at its clocks; `now` is the monotonic one."""

    async def wait_until_over(self) -> None:
        """Return once it has given back everything."""


class _Dropped(NamedTuple):
    at: float
    address: str


class Directory:
    """All sessions of one gateway."""

    def __init__(self, metrics: Metrics, resume_seconds: float) -> None:
        """Let a dropped session wait for so many seconds."""
        self._metrics = metrics
        self._resume_seconds = resume_seconds
        self._live: dict[str, Live] = {}
        self._dropped: dict[str, _Dropped] = {}

    def __len__(self) -> int:
        """Return how many sessions are live."""
        return len(self._live)

    def __iter__(self) -> Iterator[Live]:
        """Iterate over the live sessions."""
        return iter(list(self._live.values()))

    def on(self, address: str) -> list[Live]:
        """Return the live sessions of one backend."""
        return [session for session in self if session.backend_address == address]

    def enter(self, session: Live) -> None:
        """Take in a session that was opened or resumed."""
        self._live[session.session_id] = session
        self._dropped.pop(session.session_id, None)

    def is_live(self, session_id: str) -> bool:
        """Tell whether a session of this id has a connection."""
        return session_id in self._live

    def address_of(self, session_id: str) -> str | None:
        """Return the backend that has a session, live or waiting, if it is known here."""
        live = self._live.get(session_id)
        if live is not None and live.backend_address:
            return live.backend_address
        dropped = self._dropped.get(session_id)
        return None if dropped is None else dropped.address

    def is_needed(self, address: str) -> bool:
        """Tell whether a session is on a backend, or waits there to be resumed."""
        since = time.monotonic() - self._resume_seconds
        waiting = (d.address == address and d.at >= since for d in self._dropped.values())
        return bool(self.on(address)) or any(waiting)

    def leave(self, session: Live, address: str) -> None:
        """Forget a session, or let it wait at its backend if it can be resumed."""
        if self._live.get(session.session_id) is session:
            del self._live[session.session_id]
            if session.state is SessionState.DROPPED:
                dropped = _Dropped(time.monotonic(), address)
                self._dropped[session.session_id] = dropped

    async def take_over(self, session_id: str) -> str | None:
        """Make way for a client that resumes a session; return the backend that has it, if known.

        Raises:
            SessionError: `unknown_session`, when it waited for too long.
        """
        live = self._live.get(session_id)
        if live is not None:
            address = live.backend_address
            live.make_way()
            await live.wait_until_over()
            return address or None
        dropped = self._dropped.get(session_id)
        if dropped is None:
            return None
        if time.monotonic() - dropped.at > self._resume_seconds:
            sentence = f"session {session_id} waited {self._resume_seconds:g} s and is over"
            raise SessionError(ErrorCode.EXPIRED_TOKEN, sentence)
        return dropped.address

    async def keep_time(self) -> None:
        """Tick for all sessions; never returns."""
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            now = time.monotonic()
            for session in self:
                session.tick(now)
            # Twice as long, so that a late client is told why it is too late.
            horizon = now - 2 * self._resume_seconds
            for session_id, dropped in list(self._dropped.items()):
                if dropped.at < horizon:
                    del self._dropped[session_id]

    def measure(self) -> None:
        """Set the gauges of sessions by state."""
        counts = Counter(session.state for session in self)
        waiting_since = time.monotonic() - self._resume_seconds
        counts[SessionState.DROPPED] = sum(d.at >= waiting_since for d in self._dropped.values())
        for state in SessionState:
            self._metrics.sessions.labels(state).set(counts[state])
