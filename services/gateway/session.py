"""One player's session over a WebSocket, from its first message to its last.

Three tasks serve it: one listens to the player, one to the engine, one writes to the player.
Whatever ends one of them ends the connection, and only the connection where the session can be
resumed. When the engine is lost, the session is brought back here, without its player. It does
not know HTTP or how an engine is reached.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import Any

from pydantic import BaseModel

from services import contract, protocol
from services.contract import EndReason, ErrorCode, SessionError
from services.gateway.action_log import ActionLog
from services.gateway.attachment import Attachment
from services.gateway.entrance import (
    Admitted,
    Entrance,
    Visitor,
    new_session_id,
    require_version,
    route_back,
)
from services.gateway.listener import Listener
from services.gateway.metrics import FrameMeter
from services.gateway.outbox import LateRule, Outbox
from services.gateway.parts import Parts
from services.gateway.player_socket import PlayerGoneError, PlayerSocket
from services.gateway.refusal import REFUSALS
from services.gateway.relay import Relay, actions_to_engine, ready_message
from services.gateway.resume_token import ResumeTicket
from services.gateway.session_clock import SessionClock
from services.session_state import SessionLife, SessionState
from worldloom.log import log_event

logger = logging.getLogger(__name__)

_FAREWELL_SECONDS = 2.0


class _EndedEarlyError(Exception):
    """The session is over before its engine says so."""

    def __init__(self, reason: EndReason) -> None:
        super().__init__(reason)
        self.reason = reason


class Session:
    """One connection of a player and the session that it carries."""

    def __init__(self, parts: Parts, socket: PlayerSocket, visitor: Visitor) -> None:
        """Take over a socket that was accepted."""
        limits = parts.config.limits
        self._parts = parts
        self._limits = limits
        self._socket = socket
        self._life = SessionLife()
        self._clock = SessionClock(limits)
        self._outbox = Outbox()
        self._meter = FrameMeter(parts.metrics, self._outbox)
        self._log = ActionLog(limits.max_kept_actions)
        self._relay = Relay(self._life, self._outbox, self._log)
        self._attachment = Attachment(parts.admission, parts.pool, limits.ready_seconds)
        self._entrance = Entrance(parts, visitor, self._attachment, self._life, self._outbox)
        self._listener = Listener(
            socket, self._life, self._outbox, self._log, self._attachment, self._clock, limits
        )
        self._session_id = new_session_id()
        self._ticket: ResumeTicket | None = None
        self._moves_from = ""
        self._aborted: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        self._over = asyncio.Event()

    @property
    def session_id(self) -> str:
        """Its id."""
        return self._session_id

    @property
    def state(self) -> SessionState:
        """Where it stands."""
        return self._life.state

    @property
    def backend_address(self) -> str:
        """Where its engine is, empty while it has none."""
        return self._attachment.address

    def tell(self, message: BaseModel) -> None:
        """Tell the player something."""
        self._outbox.push(message)

    def abort(self, error: Exception) -> None:
        """End the connection; what can be resumed later can be."""
        if not self._aborted.done():
            self._aborted.set_result(error)

    def make_way(self) -> None:
        """End the connection: the session goes on on another."""
        self.abort(_EndedEarlyError("taken_over"))

    def move(self) -> None:
        """Let another backend of the release go on with the session."""
        if self._listener.is_steady:
            self._moves_from = self._attachment.address
            self._attachment.break_off()

    def tick(self, now: float) -> None:
        """Look at the clocks."""
        if self._outbox.blocked_seconds() > self._limits.stuck_seconds:
            log_event(logger, "player_stuck", logging.WARNING, session_id=self._session_id)
            self.abort(PlayerGoneError())
        if self._life.state not in {SessionState.ACTIVE, SessionState.PAUSED}:
            return
        reason = self._clock.reached(now)
        warning = self._clock.warning(now)
        if reason is not None:
            self.abort(_EndedEarlyError(reason))
        elif warning is not None:
            self.tell(warning)

    async def wait_until_over(self) -> None:
        """Return once everything is given back."""
        await self._over.wait()

    async def run(self) -> None:
        """Serve the player until the connection is over."""
        writing = asyncio.create_task(self._outbox.write_to(self._socket))
        close_code = protocol.CLOSE_NORMAL
        try:
            await self._converse(writing)
        except PlayerGoneError:
            self._fall(SessionState.DROPPED)
        except _EndedEarlyError as ended:
            await self._end_early(ended.reason)
        except SessionError as error:
            close_code = self._refuse(error)
        except Exception:
            request_id = uuid.uuid4().hex[:12]
            logger.exception("session_failed %s, request %s", self._session_id, request_id)
            sentence = f"the gateway has a fault; its log has it as request {request_id}"
            close_code = self._refuse(SessionError(ErrorCode.INTERNAL, sentence))
        finally:
            self._give_back()
            self._outbox.finish()
            await asyncio.wait({writing}, timeout=_FAREWELL_SECONDS)
            await _cancel(writing)
            self._meter.hand_on()
            self._over.set()
        await self._socket.close(close_code)

    async def _converse(self, writing: asyncio.Task[None]) -> None:
        first = await self._listener.first_message()
        require_version(first.version)
        serving = asyncio.create_task(self._serve(first))
        listening = asyncio.create_task(self._listen())
        try:
            ends: set[asyncio.Future[Any]] = {serving, listening, writing, self._aborted}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _cancel(serving, listening)
        if self._life.is_over:
            return
        if self._aborted.done():
            raise self._aborted.result()
        for task in (serving, listening, writing):
            if task.done() and not task.cancelled():
                task.result()

    async def _listen(self) -> None:
        await self._listener.listen(self._take_message, self._on_refused)
        raise _EndedEarlyError("stopped")

    def _take_message(self) -> None:
        if self._listener.is_steady:
            self._entrance.confirm()
        if self._entrance.key is not None:
            self._parts.quota.take_message(self._entrance.key)

    def _on_refused(self, error: SessionError, refused: str) -> None:
        self._tell_error(error, is_fatal=False, refused=refused)

    async def _serve(self, first: protocol.Open | protocol.Resume) -> None:
        if isinstance(first, protocol.Open):
            admitted = await self._entrance.open(first, self._session_id, self._enter)
        else:
            admitted = await self._entrance.resume(first, self._enter_again)
        self._begin(admitted)
        while not self._life.is_over:
            try:
                received = await self._attachment.receive()
            except SessionError as error:
                await self._recover(error)
                continue
            event = received.event
            if isinstance(event, contract.SessionEnd) and event.reason == "shutdown":
                await self._recover(SessionError(ErrorCode.SHUTTING_DOWN, "the engine shuts down"))
                continue
            self._relay.take(received)
            if isinstance(event, contract.FramesEvent):
                await self._on_segment(event)
            elif isinstance(event, contract.Acknowledged):
                self._count_slot()
            elif isinstance(event, contract.ErrorEvent):
                self._parts.metrics.count_error(event.code)

    def _enter(self) -> None:
        self._parts.directory.enter(self)

    def _enter_again(self, ticket: ResumeTicket) -> None:
        self._session_id = ticket.session_id
        self._life.move(SessionState.RESUMING)
        self._parts.directory.enter(self)

    def _begin(self, admitted: Admitted) -> None:
        event, ticket = admitted.ready, admitted.ticket
        self._ticket = ticket
        most = max(self._limits.max_late_frames, 2 * event.frames_per_segment)
        self._outbox.obey(LateRule(ticket.late_frames, self._limits.late_seconds, most))
        self._clock.begin(ticket.opened_at)
        token = self._parts.resume_tokens.issue(ticket)
        version = self._attachment.model_version
        ready = ready_message(event, ticket, self._limits, version, token)
        self._life.move(SessionState.PAUSED if event.is_paused else SessionState.ACTIVE)
        self._relay.tell_ready(admitted.received, ready)
        self._count_slot()
        self._listener.session_id = self._session_id
        self._listener.late_frames = ticket.late_frames
        self._listener.go_on()

    async def _on_segment(self, event: contract.FramesEvent) -> None:
        self._meter.hand_on()
        seconds = self._relay.action_to_frame_seconds
        if seconds is not None:
            self._parts.metrics.action_to_frame_seconds.observe(seconds)
        if self._ticket is not None and self._ticket.late_frames == "drop":
            credit = contract.FramesReceived(
                session_id=self._session_id, segment_index=event.segment_index
            )
            try:
                await self._attachment.send(credit)
            except SessionError:
                return  # the next event says so too, and the session is brought back

    def _count_slot(self) -> None:
        if self._life.state is SessionState.PAUSED:
            self._attachment.give_slot_away()
        else:
            self._attachment.take_slot_back()

    async def _recover(self, error: SessionError) -> None:
        """Bring the session back after its engine was lost; raises `SessionError` when it can't."""
        ticket = self._ticket
        self._listener.hold()
        self._attachment.lose()
        log_event(
            logger, "backend_lost", logging.WARNING, session_id=self._session_id,
            reason=error.message,
        )  # fmt: skip
        if ticket is None or self._life.state is SessionState.CLOSING:
            sentence = f"the engine was lost ({error.message}); resume the session"
            raise SessionError(ErrorCode.NO_BACKEND, sentence)
        was_paused = self._life.state is SessionState.PAUSED
        self._life.move(SessionState.RESUMING)
        self.tell(protocol.Notice(kind="backend_lost", seconds=self._limits.recover_seconds))
        message = contract.SessionResume(
            session_id=self._session_id,
            last_frame_index=self._relay.last_frame_index,
            encoding=self._relay.encoding,
        )
        received = await self._attachment.resume(
            route_back(ticket, without=self._moves_from),
            message,
            self._limits.recover_seconds,
            _ignore_position,
            _nothing,
        )
        self._moves_from = ""
        self._ticket = ticket.model_copy(update={"backend": self._attachment.address})
        if not isinstance(received.event, contract.SessionReady):
            sentence = f"the engine answered with {received.event.type}, expected session_ready"
            raise SessionError(ErrorCode.INTERNAL, sentence)
        await self._tell_again(received.event.next_action_index, is_paused=was_paused)
        self._life.move(SessionState.PAUSED if was_paused else SessionState.ACTIVE)
        self._count_slot()
        self._listener.go_on()
        self._parts.metrics.resumes.labels("gateway").inc()

    async def _tell_again(self, next_action_index: int, *, is_paused: bool) -> None:
        for actions in list(self._log.since(next_action_index)):
            await self._attachment.send(*actions_to_engine(self._session_id, actions))
        if is_paused:
            await self._attachment.send(contract.SessionPause(session_id=self._session_id))

    async def _end_early(self, reason: EndReason) -> None:
        if reason != "taken_over":
            await self._attachment.stop(self._session_id)
        self._life.move(SessionState.ENDED)
        self._relay.end_reason = reason
        self.tell(protocol.Ended(reason=reason, num_frames=self._relay.last_frame_index))

    def _refuse(self, error: SessionError) -> int:
        self._tell_error(error, is_fatal=True)
        is_resumable = error.is_retryable or error.code is ErrorCode.INTERNAL
        self._fall(SessionState.DROPPED if is_resumable else SessionState.ENDED)
        key = self._entrance.key
        self._parts.audit.write(
            "refuse",
            session_id=self._session_id,
            key_id="" if key is None else key.key_id,
            code=error.code,
            message=error.message,
        )
        return REFUSALS[error.code].close_code

    def _tell_error(self, error: SessionError, *, is_fatal: bool, refused: str = "") -> None:
        self._parts.metrics.count_error(error.code)
        self.tell(
            protocol.Error(
                code=error.code,
                message=error.message,
                is_retryable=error.is_retryable,
                is_fatal=is_fatal,
                refused=refused,
            )
        )

    def _fall(self, state: SessionState) -> None:
        """Go where a session goes whose connection is over: it waits, or is over too."""
        if self._life.is_over:
            return
        if self._life.state in {SessionState.NEW, SessionState.QUEUED, SessionState.OPENING}:
            state = SessionState.ENDED
        self._life.move(state)

    def _give_back(self) -> None:
        address = self._attachment.address or ("" if self._ticket is None else self._ticket.backend)
        self._attachment.close()
        key = self._entrance.key
        self._entrance.leave()
        self._parts.directory.leave(self, address)
        if self._ticket is None:
            return
        outcome = self._relay.end_reason or self._life.state.value
        self._parts.metrics.ended.labels(outcome).inc()
        self._parts.audit.write(
            "end",
            session_id=self._session_id,
            key_id="" if key is None else key.key_id,
            outcome=outcome,
            num_frames=self._relay.last_frame_index,
            num_dropped=self._outbox.num_dropped,
        )


async def _cancel(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _ignore_position(_position: int, _length: int) -> None:
    """Do not tell a player of a queue that it does not stand in."""


def _nothing() -> None:
    """Do nothing when a slot is granted."""
