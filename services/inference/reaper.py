"""Which sessions leave, and why: ended for good, parked, or out of a slot for a long pause.

Looked at between segments, on the device's thread. It does not know how segments are made.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from services import contract
from services.inference.drain import DrainSign
from services.inference.durability import Durability
from services.inference.engine_config import EngineConfig
from services.inference.live_session import LiveSession
from services.inference.response import ResponseSink
from services.inference.sessions import Sessions
from worldloom.log import log_event

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Leaving:
    """A session whose state is to be taken; without a reason it keeps its stream."""

    session: LiveSession
    reason: contract.EndReason | None


class Reaper:
    """Lets sessions go."""

    def __init__(
        self,
        config: EngineConfig,
        sessions: Sessions,
        durability: Durability,
        *,
        drain: DrainSign,
        clock: Callable[[], float],
    ) -> None:
        """Look after these sessions."""
        self._config = config
        self._sessions = sessions
        self._durability = durability
        self._drain = drain
        self._clock = clock

    def leaving(self) -> list[Leaving]:
        """End the sessions that are over; return those whose state is to be taken first."""
        now = self._clock()
        with self._sessions.changed:
            live = self._sessions.live
            self._sessions.is_draining = self._drain.end_at() is not None
            dropped = self._sessions.parking.drop_excess(now)
            if self._sessions.is_draining:
                dropped += self._sessions.parking.drop_stored()
        for parked in dropped:
            log_event(logger, "parked_session_dropped", session_id=parked.session_id)
        looked_at = [self._look_at(session, now) for session in live]
        return [leaving for leaving in looked_at if leaving is not None]

    def put_away(self, session: LiveSession, reason: contract.EndReason | None) -> None:
        """Take a session's state out of its generator; without a reason it keeps its stream."""
        generator = session.generator
        state = session.state if generator is None else generator.snapshot()
        with self._sessions.changed:
            if not self._sessions.is_live(session) or session.resumption is not None:
                return
            if reason is None:
                if session.is_paused:  # it may have been continued meanwhile
                    session.state = state
                    self._sessions.leave_slot(session)
                return
            session.state = state
            self._sessions.park(session)
            session.needs_saving = True
            sink = session.sink
        self._say_parked(session, sink, reason)

    def can_be_handed_over(self, session: LiveSession) -> bool:
        """Tell whether another process can go on with a session."""
        return session.record.is_resumable and self._durability.is_possible

    def _look_at(self, session: LiveSession, now: float) -> Leaving | None:
        is_cancelled = _is_cancelled(session)
        with self._sessions.changed:
            if not self._sessions.is_live(session) or session.resumption is not None:
                return None
            reason = "cancelled" if is_cancelled else self._end_reason(session, now)
            is_long_pause = (
                session.paused_at is not None
                and session.has_slot
                and now - session.paused_at >= self._config.park_after_seconds
            )
            if reason is None and not is_long_pause:
                return None
            if reason is not None and not self._outlives(session, reason):
                self._sessions.end(session, reason)
                return None
            session.is_busy = True
            return Leaving(session, reason)

    def _say_parked(
        self, session: LiveSession, sink: ResponseSink, reason: contract.EndReason
    ) -> None:
        """Close a parked session's stream, as the last thing where another process goes on."""

        def close_stream() -> None:
            with self._sessions.changed:
                self._sessions.close_stream(session, sink, reason)

        if reason != "shutdown":
            close_stream()
        if self._durability.is_possible:
            is_handed_over = reason == "shutdown"
            self._durability.save(session, then=close_stream if is_handed_over else None)

    def _end_reason(self, session: LiveSession, now: float) -> contract.EndReason | None:
        end_at = self._drain.end_at()
        if end_at is not None and (now >= end_at or self.can_be_handed_over(session)):
            return "shutdown"
        patience = (
            self._config.max_parked_seconds if session.is_paused else self._config.max_idle_seconds
        )
        if session.is_finished() and not self._may_be_acknowledged(session, now):
            return "finished"
        if now - session.last_heard > patience:
            return "idle"
        if now - session.opened_at > self._config.max_session_seconds:
            return "too_long"
        return None

    def _may_be_acknowledged(self, session: LiveSession, now: float) -> bool:
        """Tell whether the last frames of a resumable session may still be acknowledged."""
        return (
            session.record.is_resumable
            and session.num_acknowledged < session.num_segments
            and now - session.made_at < self._config.last_acknowledgement_seconds
        )

    def _outlives(self, session: LiveSession, reason: contract.EndReason) -> bool:
        """Tell whether a session can be resumed after its stream ended for this reason."""
        if not session.record.is_resumable:
            return False
        if reason == "finished":
            return session.num_acknowledged < session.num_segments
        if reason == "shutdown":
            return self.can_be_handed_over(session)
        return reason in {"cancelled", "idle"}


def _is_cancelled(session: LiveSession) -> bool:
    # A sink that cannot even say whether somebody listens has nobody who does.
    try:
        return session.sink.is_cancelled()
    except Exception:
        logger.exception("sink_failed")
        return True
