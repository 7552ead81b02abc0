"""When the state of which session is stored, and what is known to be stored.

States are taken between segments by the device's thread, in parts that begin where the last one
ended; one part of a session is under way at a time, so that a slow store costs memory for no more.
Now and then a larger part takes the place of many. It does not know how parts are stored.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from services import contract
from services.contract import ErrorCode, SessionError
from services.inference.engine_config import EngineConfig
from services.inference.keeper import Keeper
from services.inference.live_session import LiveSession
from services.inference.outbox import Delivery, Outbox
from services.inference.response import ResponseSink
from services.inference.sessions import Sessions
from services.inference.stored_part import Progress, StoredPart
from services.inference.world_state import WorldState

logger = logging.getLogger(__name__)

# Units after which one part takes the place of those before: an hour's session stays below 150
# parts, and each unit is written twice at most.
_UNITS_PER_LARGE_PART = 64


class Durability:
    """Has the states of resumable sessions stored."""

    def __init__(
        self,
        config: EngineConfig,
        sessions: Sessions,
        keeper: Keeper,
        outbox: Outbox,
        *,
        clock: Callable[[], float],
    ) -> None:
        """Work for these sessions."""
        self._config = config
        self._sessions = sessions
        self._keeper = keeper
        self._outbox = outbox
        self._clock = clock

    @property
    def is_possible(self) -> bool:
        """Tell whether there is a store."""
        return self._keeper.has_store

    def due(self) -> list[LiveSession]:
        """Return the sessions whose state is to be taken now."""
        if not self.is_possible:
            return []
        now = self._clock()
        with self._sessions.changed:
            return [session for session in self._sessions.known if self._is_due(session, now)]

    def due_at_the_end(self) -> list[LiveSession]:
        """Return the sessions whose state is to be taken as the engine stops."""
        if not self.is_possible:
            return []
        with self._sessions.changed:
            parking = self._sessions.parking
            due = [
                session
                for session in self._sessions.known
                if (session.record.is_resumable or session.snapshot_sinks)
                and not (session.session_id in parking and session.is_stored)
            ]
            for session in due:
                session.needs_saving = True
        return due

    def save(self, session: LiveSession, then: Callable[[], None] | None = None) -> None:
        """Take a session's state and have it stored; only on the device's thread.

        Args:
            session: one that is known.
            then: called once, on the keeper's thread when the store has answered, or at once
                where there is nothing to store.
        """
        with self._sessions.changed:
            generator, state = session.generator, session.state
            num_units, start = session.num_units, self._start_of_part(session)
        if not num_units:  # it has not begun
            _call(then)
            return
        if start == num_units:  # only what is beside the state has changed
            part = WorldState(start, start, {})
        elif generator is not None:
            part = generator.snapshot(start)
        else:
            assert state is not None, "a session that has begun has a generator or a state"
            part = state.part(start, num_units)
        self._store(session, part, then)

    def _is_due(self, session: LiveSession, now: float) -> bool:
        if session.is_saving or not session.num_units or now < session.save_after:
            return False
        if session.needs_saving:
            return True
        if not session.record.is_resumable:
            return False
        num_new = session.num_units - session.num_durable_units
        return num_new >= (self._config.durable_every_segments if session.num_durable_units else 1)

    def _start_of_part(self, session: LiveSession) -> int:
        start, stop = session.num_durable_units, session.num_units
        large = stop // _UNITS_PER_LARGE_PART
        if large > start // _UNITS_PER_LARGE_PART:
            return (large - 1) * _UNITS_PER_LARGE_PART
        # After a rewind the store may be ahead; what it holds is the same.
        return min(start, stop)

    def _store(
        self, session: LiveSession, state: WorldState, then: Callable[[], None] | None
    ) -> None:
        with self._sessions.changed:
            if session not in self._sessions.known:  # what was stored of it is being deleted
                _call(then)
                return
            is_asked, session.needs_saving = session.needs_saving, False
            sinks, session.snapshot_sinks = session.snapshot_sinks, []
            replaces_others = state.start < min(session.num_durable_units, state.stop)
            part = StoredPart(
                record=session.record,
                progress=Progress(
                    num_frames=session.num_frames,
                    # Without the actions that wait, the client sends them and its wish again.
                    is_finishing=session.is_finishing and (is_asked or not session.num_queued),
                    is_paused=session.is_paused,
                ),
                state=state,
                pending=session.queued_actions() if is_asked else None,
            )
            session.is_saving = True

        def done(failure: str) -> None:
            with self._sessions.changed:
                session.is_saving = False
                if failure:
                    session.save_after = self._clock() + self._config.store_retry_seconds
                    session.needs_saving |= is_asked
                else:
                    session.num_durable_units = max(session.num_durable_units, state.stop)
                self._sessions.changed.notify_all()
            self._answer(sinks, part, failure)
            _call(then)

        self._keeper.save(part, done, replaces_others=replaces_others)

    def _answer(self, sinks: list[ResponseSink], part: StoredPart, failure: str) -> None:
        session_id = part.record.session_id
        event: contract.Event = contract.SnapshotTaken(
            session_id=session_id, frame_index=part.progress.num_frames
        )
        if failure:
            sentence = f"the state of session {session_id} was not stored: {failure}"
            event = contract.ErrorEvent.of(SessionError(ErrorCode.INTERNAL, sentence), session_id)
        for sink in sinks:
            self._outbox.post(Delivery(sink, event, is_last=True))


def _call(then: Callable[[], None] | None) -> None:
    if then is not None:
        then()
