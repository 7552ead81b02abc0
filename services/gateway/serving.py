"""The side of a session that listens to its engine, and brings it back when it is lost.

It lets the session in, passes on what the engine says, and resumes it elsewhere without its
player. It does not know sockets.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from services import contract, protocol
from services.contract import ErrorCode, SessionError
from services.gateway.entrance import Admitted, route_back
from services.gateway.link import Received
from services.gateway.outbox import LateRule
from services.gateway.parts import Parts
from services.gateway.relay import actions_to_engine, ready_message
from services.gateway.resume_token import ResumeTicket
from services.gateway.seat import Seat
from services.gateway.tracing import ActionTraces
from services.session_state import SessionState
from worldloom.log import log_event

logger = logging.getLogger(__name__)


class Serving:
    """Serves one session from its first message to its end."""

    def __init__(self, parts: Parts, seat: Seat, session_id: str) -> None:
        """Use a session's parts; a session that is resumed has its own id."""
        self._parts = parts
        self._limits = parts.config.limits
        self._seat = seat
        self._traces: ActionTraces | None = None
        self._moves_from = ""
        self.is_unborn = False  # asked for at an engine, and nobody has its resume token
        self.session_id = session_id
        self.ticket: ResumeTicket | None = None

    def move(self) -> None:
        """Let another backend of the release go on with the session."""
        if self._seat.listener.is_steady:
            self._moves_from = self._seat.attachment.address
            self._seat.attachment.break_off()

    async def serve(
        self, first: protocol.Open | protocol.Resume, on_entered: Callable[[], None]
    ) -> None:
        """Let the session in, then pass on what its engine says until it has ended.

        Args:
            first: what the player asks for.
            on_entered: called once the session's id is known.

        Raises:
            SessionError: when the session is refused, or cannot be brought back.
        """
        self._begin(await self._let_in(first, on_entered))
        while not self._seat.life.is_over:
            try:
                received = await self._seat.attachment.receive()
            except SessionError as error:
                await self._recover(error)
            else:
                await self._take(received)

    async def _let_in(
        self, first: protocol.Open | protocol.Resume, on_entered: Callable[[], None]
    ) -> Admitted:
        if isinstance(first, protocol.Open):
            self.is_unborn = True
            admitted = await self._seat.entrance.open(first, self.session_id, on_entered)
            self.is_unborn = False
            return admitted

        def on_named(ticket: ResumeTicket) -> None:
            self.session_id = ticket.session_id
            self._seat.life.move(SessionState.RESUMING)
            on_entered()

        self._seat.relay.last_frame_index = first.last_frame_index
        return await self._seat.entrance.resume(first, on_named)

    async def _take(self, received: Received) -> None:
        event = received.event
        if isinstance(event, contract.SessionEnd) and event.reason == "shutdown":
            await self._recover(SessionError(ErrorCode.SHUTTING_DOWN, "the engine shuts down"))
            return
        if self._traces is not None and isinstance(event, contract.FramesEvent):
            self._traces.made(event, received.action_index[-1])
        self._seat.relay.take(received)
        if isinstance(event, contract.FramesEvent):
            await self._on_segment(event)
        elif isinstance(event, contract.Acknowledged):
            self._count_slot()
        elif isinstance(event, contract.ErrorEvent):
            self._parts.metrics.count_error(event.code)

    def _begin(self, admitted: Admitted) -> None:
        event, ticket = admitted.ready, admitted.ticket
        self.ticket = ticket
        most = max(self._limits.max_late_frames, 2 * event.frames_per_segment)
        self._seat.outbox.obey(LateRule(ticket.late_frames, self._limits.late_seconds, most))
        self._seat.clock.begin(ticket.opened_at)
        token = self._parts.resume_tokens.issue(ticket)
        version = self._seat.attachment.model_version
        ready = ready_message(event, ticket, self._limits, version, token)
        self._seat.life.move(SessionState.PAUSED if event.is_paused else SessionState.ACTIVE)
        self._seat.relay.tell_ready(admitted.received, ready)
        self._count_slot()
        self._seat.listener.session_id = self.session_id
        self._seat.listener.late_frames = ticket.late_frames
        self._traces = self._parts.tracing.of_session(self.session_id, ticket.traceparent)
        if self._traces is not None:
            self._seat.listener.traces = self._traces
            self._seat.outbox.on_frame = self._traces.sent
        self._seat.listener.go_on()

    async def _on_segment(self, event: contract.FramesEvent) -> None:
        self._seat.meter.hand_on()
        seconds = self._seat.relay.action_to_frame_seconds
        if seconds is not None:
            self._parts.metrics.action_to_frame_seconds.observe(seconds)
        if self.ticket is not None and self.ticket.late_frames == "drop":
            credit = contract.FramesReceived(
                session_id=self.session_id, segment_index=event.segment_index
            )
            try:
                await self._seat.attachment.send(credit)
            except SessionError:
                return  # the next event says so too, and the session is brought back

    def _count_slot(self) -> None:
        if self._seat.life.state is SessionState.PAUSED:
            self._seat.attachment.give_slot_away()
        else:
            self._seat.attachment.take_slot_back()

    async def _recover(self, error: SessionError) -> None:
        """Bring the session back after its engine was lost; raises `SessionError` when it can't."""
        ticket = self.ticket
        self._seat.listener.hold()
        self._seat.attachment.lose()
        log_event(
            logger, "backend_lost", logging.WARNING, session_id=self.session_id,
            reason=error.message,
        )  # fmt: skip
        if ticket is None or self._seat.life.state is SessionState.CLOSING:
            sentence = f"the engine was lost ({error.message}); resume the session"
            raise SessionError(ErrorCode.NO_BACKEND, sentence)
        was_paused = self._seat.life.state is SessionState.PAUSED
        self._seat.life.move(SessionState.RESUMING)
        self._seat.outbox.push(
            protocol.Notice(kind="backend_lost", seconds=self._limits.recover_seconds)
        )
        message = contract.SessionResume(
            session_id=self.session_id,
            last_frame_index=self._seat.relay.last_frame_index,
            encoding=self._seat.relay.encoding,
        )
        received = await self._seat.attachment.resume(
            route_back(ticket, without=self._moves_from),
            message,
            self._limits.recover_seconds,
            _ignore_position,
            _nothing,
        )
        self._moves_from = ""
        self.ticket = ticket.model_copy(update={"backend": self._seat.attachment.address})
        if not isinstance(received.event, contract.SessionReady):
            sentence = f"the engine answered with {received.event.type}, expected session_ready"
            raise SessionError(ErrorCode.INTERNAL, sentence)
        await self._tell_again(received.event.next_action_index, is_paused=was_paused)
        self._seat.life.move(SessionState.PAUSED if was_paused else SessionState.ACTIVE)
        self._count_slot()
        self._seat.listener.go_on()
        self._parts.metrics.resumes.labels("gateway").inc()

    async def _tell_again(self, next_action_index: int, *, is_paused: bool) -> None:
        try:
            missing = list(self._seat.log.since(next_action_index))
        except SessionError as error:
            sentence = f"{error.message}; resume the session and send them again"
            raise SessionError(ErrorCode.NO_BACKEND, sentence) from error
        for actions in missing:
            await self._seat.attachment.send(*actions_to_engine(self.session_id, actions))
        if is_paused:
            await self._seat.attachment.send(contract.SessionPause(session_id=self.session_id))


def _ignore_position(_position: int, _length: int) -> None:
    """Do not tell a player of a queue that it does not stand in."""


def _nothing() -> None:
    """Do nothing when a slot is granted."""
