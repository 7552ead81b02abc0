"""Sessions without a stream that wait in host memory to be resumed; a bounded number of them.

Plain data: the engine holds its lock while it calls these methods. It does not know stores.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from services.inference.engine_config import EngineConfig
from services.inference.live_session import LiveSession


@dataclass(frozen=True)
class ParkedSession:
    """A session and since when it waits."""

    session: LiveSession
    parked_at: float

    @property
    def num_bytes(self) -> int:
        """Host memory that its state takes."""
        state = self.session.state
        return 0 if state is None else state.num_bytes


class Parking:
    """Parked sessions by id, the longest parked first."""

    def __init__(self, config: EngineConfig) -> None:
        """Begin empty."""
        self._config = config
        self._parked: dict[str, ParkedSession] = {}

    def __len__(self) -> int:
        """Return the number of sessions that wait."""
        return len(self._parked)

    def __contains__(self, session_id: object) -> bool:
        """Tell whether a session waits here."""
        return session_id in self._parked

    def __iter__(self) -> Iterator[LiveSession]:
        """Iterate over the sessions, the longest parked first."""
        return iter([parked.session for parked in self._parked.values()])

    def add(self, session: LiveSession, now: float) -> None:
        """Let a session wait."""
        self._parked[session.session_id] = ParkedSession(session, now)

    def get(self, session_id: str) -> LiveSession | None:
        """Return a session that waits, None when it is not here."""
        parked = self._parked.get(session_id)
        return None if parked is None else parked.session

    def take(self, session_id: str) -> None:
        """Let a session wait no longer."""
        del self._parked[session_id]

    def drop_stored(self) -> list[LiveSession]:
        """Forget the sessions that another process can go on with; return them."""
        stored = [session for session in self if session.is_stored]
        for session in stored:
            self.take(session.session_id)
        return stored

    def drop_excess(self, now: float) -> list[LiveSession]:
        """Forget the longest parked sessions that waited too long or are too many; return them."""
        dropped = []
        num_bytes = sum(parked.num_bytes for parked in self._parked.values())
        for session_id, parked in list(self._parked.items()):
            is_late = now - parked.parked_at > self._config.max_parked_seconds
            is_excess = (
                len(self._parked) > self._config.max_parked_sessions
                or num_bytes > self._config.max_parked_bytes
            )
            if not is_late and not is_excess:
                break
            del self._parked[session_id]
            num_bytes -= parked.num_bytes
            dropped.append(parked.session)
        return dropped
