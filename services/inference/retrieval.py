"""Sessions that another process began, fetched from the store to go on here.

Fetching happens on the keeper's thread, with a slot held for the session; its client waits on the
stream that asked. It does not know how sessions are stored.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from services import contract
from services.contract import ErrorCode, SessionError
from services.inference.keeper import Fetched, Keeper, Lost
from services.inference.live_session import LiveSession, QueuedActions
from services.inference.outbox import Delivery, Outbox
from services.inference.response import ResponseSink
from services.inference.sessions import Arrival, Sessions
from services.inference.stored_part import StoredPart


class Retrieval:
    """Brings stored sessions to life."""

    def __init__(
        self,
        sessions: Sessions,
        keeper: Keeper,
        outbox: Outbox,
        *,
        release_digest: str,
        frames_per_segment: int,
        clock: Callable[[], float],
    ) -> None:
        """Bring them among these sessions."""
        self._sessions = sessions
        self._keeper = keeper
        self._outbox = outbox
        self._digest = release_digest
        self._frames_per_segment = frames_per_segment
        self._clock = clock

    @property
    def is_possible(self) -> bool:
        """Tell whether there is a store."""
        return self._keeper.has_store

    def fetch(self, message: contract.SessionResume, sink: ResponseSink) -> None:
        """Ask the store for a session that is not here, or only as it once was; the lock is held.

        Raises:
            SessionError: `unknown_session` where there is no store, or that there is no slot.
        """
        if not self.is_possible:
            raise _unknown(message.session_id)
        earlier = self._sessions.arriving.pop(message.session_id, None)
        if earlier is not None:  # the same client again, on another stream
            event = contract.SessionEnd(
                session_id=message.session_id, reason="taken_over", num_frames=0
            )
            self._outbox.post(Delivery(earlier.sink, event, is_last=True))
        self._sessions.require_slot()
        arrival = Arrival(message, sink, self._clock())
        self._sessions.arriving[message.session_id] = arrival
        self._keeper.fetch(message.session_id, lambda found: self._arrive(arrival, found))

    def _arrive(self, arrival: Arrival, found: Fetched) -> None:
        session_id = arrival.message.session_id
        with self._sessions.changed:
            if self._sessions.arriving.get(session_id) is not arrival:
                return
            del self._sessions.arriving[session_id]
            try:
                session = self._parked(session_id, found) or self._session(arrival, found)
                self._sessions.add(session)
                if session_id in self._sessions.parking:
                    self._sessions.parking.take(session_id)
                session.go_on(arrival.message, arrival.sink, arrival.asked_at)
            except SessionError as error:
                event = contract.ErrorEvent.of(error, session_id)
                self._outbox.post(Delivery(arrival.sink, event, is_last=True))
            self._sessions.changed.notify_all()

    def _parked(self, session_id: str, found: Fetched) -> LiveSession | None:
        """Return the session as it is parked here, if the store knows no more of it."""
        parked = self._sessions.parking.get(session_id)
        if parked is None or not isinstance(found, StoredPart):
            return parked
        return parked if found.progress.num_frames <= parked.num_frames else None

    def _session(self, arrival: Arrival, found: Fetched) -> LiveSession:
        session_id = arrival.message.session_id
        if found is None:
            raise _unknown(session_id)
        if isinstance(found, Lost):
            sentence = f"session {session_id} cannot be read from the store: {found.sentence}"
            raise SessionError(ErrorCode.STATE_LOST, sentence)
        if found.record.release != self._digest:
            sentence = (
                f"session {session_id} was begun with release {found.record.release or 'unnamed'},"
                f" here is {self._digest or 'an unnamed one'}"
            )
            raise SessionError(ErrorCode.UNKNOWN_RELEASE, sentence)
        return self._revived(arrival, found)

    def _revived(self, arrival: Arrival, found: StoredPart) -> LiveSession:
        now = self._clock()
        age_seconds = max(0.0, time.time() - found.record.opened_at_ms / 1000)
        pending = deque([] if found.pending is None else [QueuedActions(found.pending, now)])
        num_pending = 0 if found.pending is None else len(found.pending)
        return LiveSession(
            record=found.record,
            encoding=arrival.message.encoding,
            sink=arrival.sink,
            frames_per_segment=self._frames_per_segment,
            opened_at=now - age_seconds,
            last_heard=now,
            playout_end=now,
            state=found.state,
            pending=pending,
            num_actions=found.progress.num_frames + num_pending,
            num_frames=found.progress.num_frames,
            num_segments=found.state.num_segments,
            is_finishing=found.progress.is_finishing,
            paused_at=now if found.progress.is_paused else None,
            num_durable_units=found.state.stop,
        )


def _unknown(session_id: str) -> SessionError:
    sentence = f"session {session_id} is not here to be resumed"
    return SessionError(ErrorCode.UNKNOWN_SESSION, sentence)
