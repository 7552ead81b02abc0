"""Which sessions there are: those with a stream, with or without a slot, and the parked ones.

Whoever reads or changes them holds `changed`. Ending a session tells its client and retires its
generator, which only the device's thread may close. It does not know messages, stores or
generators' work.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from services import contract
from services.contract import ErrorCode, SessionError
from services.inference.engine_config import EngineConfig
from services.inference.generator import SegmentGenerator
from services.inference.live_session import LiveSession
from services.inference.metrics import EngineMetrics
from services.inference.outbox import Delivery, Outbox
from services.inference.parking import Parking
from services.inference.response import ResponseSink
from worldloom.log import log_event

logger = logging.getLogger(__name__)


# Sessions that ended so are over for good; what was stored of them goes.
_OVER: frozenset[contract.EndReason] = frozenset({"finished", "stopped", "too_long"})


@dataclass(frozen=True, eq=False)
class Arrival:
    """A session that is being fetched from the store, and the stream that waits for it."""

    message: contract.SessionResume
    sink: ResponseSink
    asked_at: float


class Sessions:
    """The sessions of one engine."""

    def __init__(
        self,
        config: EngineConfig,
        outbox: Outbox,
        *,
        metrics: EngineMetrics,
        clock: Callable[[], float],
        forget: Callable[[str], None],
    ) -> None:
        """Begin with none; `forget` deletes what was stored of a session."""
        self.changed = threading.Condition()
        self.is_stopping = False
        self.is_draining = False
        self.parking = Parking(config)
        self._config = config
        self._outbox = outbox
        self.arriving: dict[str, Arrival] = {}
        self._clock = clock
        self._forget = forget
        self._metrics = metrics
        self._live: dict[str, LiveSession] = {}
        self._retired: list[SegmentGenerator] = []

    @property
    def live(self) -> list[LiveSession]:
        """Sessions that have a stream."""
        return list(self._live.values())

    @property
    def known(self) -> list[LiveSession]:
        """Sessions that have a stream and those that are parked."""
        return [*self._live.values(), *self.parking]

    @property
    def num_slots_used(self) -> int:
        """Slots in use."""
        held = sum(session.has_slot for session in self._live.values())
        return held + len(self.arriving)

    @property
    def num_waiting(self) -> int:
        """Sessions that wait in host memory, parked or in a long pause."""
        return len(self.parking) + sum(not session.has_slot for session in self._live.values())

    def get(self, session_id: str) -> LiveSession | None:
        """Return the session of an id that has a stream, if there is one."""
        return self._live.get(session_id)

    def is_live(self, session: LiveSession) -> bool:
        """Tell whether this very session has a stream."""
        return self._live.get(session.session_id) is session

    def add(self, session: LiveSession) -> None:
        """Give a session a slot; raises `SessionError` when there is none."""
        self.require_slot()
        session.has_slot = True
        self._live[session.session_id] = session

    def require_slot(self) -> None:
        """Raise `SessionError` while every slot is in use, or the engine comes to its end."""
        if self.is_stopping or self.is_draining:
            raise SessionError(ErrorCode.SHUTTING_DOWN, "the server is shutting down")
        if self.num_slots_used >= self._config.num_slots:
            sentence = f"all {self._config.num_slots} slots are in use"
            raise SessionError(ErrorCode.NO_FREE_SLOT, sentence)

    def end(self, session: LiveSession, reason: contract.EndReason) -> None:
        """End a session that will not be resumed here."""
        del self._live[session.session_id]
        self.retire(session)
        self._refuse_snapshots(session)
        self.close_stream(session, session.sink, reason)
        if session.record.is_resumable and reason in _OVER:
            self._forget(session.session_id)

    def end_parked(self, session_id: str) -> None:
        """Forget a parked session that nobody will resume, and what was stored of it."""
        self.parking.take(session_id)
        self._forget(session_id)

    def park(self, session: LiveSession) -> None:
        """Let a session, whose state was taken, wait until it is resumed; the stream stays."""
        del self._live[session.session_id]
        self.leave_slot(session)
        session.resumption = None
        self.parking.add(session, self._clock())

    def leave_slot(self, session: LiveSession) -> None:
        """Free the slot of a session whose state was taken."""
        self.retire(session)
        session.has_slot = False

    def close_stream(
        self, session: LiveSession, sink: ResponseSink, reason: contract.EndReason
    ) -> None:
        """Say on a stream of a session that nothing more comes on it, and why."""
        event = contract.SessionEnd(
            session_id=session.session_id, reason=reason, num_frames=session.num_frames
        )
        self._outbox.post(
            Delivery(
                sink,
                event,
                is_last=True,
                after=lambda: self._metrics.sessions_ended[reason].add(1),
            )
        )
        log_event(
            logger,
            "session_ended",
            session_id=session.session_id,
            reason=reason,
            num_frames=session.num_frames,
            is_parked=session.state is not None and not session.has_slot,
        )

    def retire(self, session: LiveSession) -> None:
        """Take a session's generator away, to be closed."""
        if session.generator is not None:
            self._retired.append(session.generator)
            session.generator = None

    def take_retired(self) -> list[SegmentGenerator]:
        """Return the generators that are to be closed; the caller closes them."""
        retired, self._retired = self._retired, []
        return retired

    def _refuse_snapshots(self, session: LiveSession) -> None:
        sentence = f"session {session.session_id} ended before its state was taken"
        error = SessionError(ErrorCode.WRONG_STATE, sentence)
        event = contract.ErrorEvent.of(error, session.session_id)
        for sink in session.snapshot_sinks:
            self._outbox.post(Delivery(sink, event, is_last=True))
        session.snapshot_sinks = []
