"""One player's session over a WebSocket, from its first message to its last.

Three tasks serve it: one listens to the player, one to the engine, one writes to the player.
Whatever ends one of them ends the connection, and only the connection where the session can be
resumed. It does not know HTTP or how an engine is reached.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import Any

from pydantic import BaseModel

from services import protocol
from services.contract import EndReason, ErrorCode, SessionError
from services.gateway.entrance import Visitor, new_session_id, require_version
from services.gateway.parts import Parts
from services.gateway.player_socket import PlayerGoneError, PlayerSocket
from services.gateway.refusal import REFUSALS
from services.gateway.seat import take_seat
from services.gateway.serving import Serving
from services.session_state import SessionState
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
        self._parts = parts
        self._limits = parts.config.limits
        self._socket = socket
        self._seat = take_seat(parts, socket, visitor)
        self._serving = Serving(parts, self._seat, new_session_id())
        self._aborted: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        self._over = asyncio.Event()

    @property
    def session_id(self) -> str:
        """Its id."""
        return self._serving.session_id

    @property
    def state(self) -> SessionState:
        """Where it stands."""
        return self._seat.life.state

    @property
    def backend_address(self) -> str:
        """Where its engine is, empty while it has none."""
        return self._seat.attachment.address

    def tell(self, message: BaseModel) -> None:
        """Tell the player something."""
        self._seat.outbox.push(message)

    def abort(self, error: Exception) -> None:
        """End the connection; what can be resumed later can be."""
        if not self._aborted.done():
            self._aborted.set_result(error)

    def make_way(self) -> None:
        """End the connection: the session goes on on another."""
        self.abort(_EndedEarlyError("taken_over"))

    def move(self) -> None:
        """Let another backend of the release go on with the session."""
        self._serving.move()

    def tick(self, now: float) -> None:
        """Look at the clocks."""
        if self._seat.outbox.blocked_seconds() > self._limits.stuck_seconds:
            log_event(logger, "player_stuck", logging.WARNING, session_id=self._serving.session_id)
            self.abort(PlayerGoneError())
        if self._seat.life.state not in {SessionState.ACTIVE, SessionState.PAUSED}:
            return
        reason = self._seat.clock.reached(now)
        warning = self._seat.clock.warning(now)
        if reason is not None:
            self.abort(_EndedEarlyError(reason))
        elif warning is not None:
            self.tell(warning)

    async def wait_until_over(self) -> None:
        """Return once everything is given back."""
        await self._over.wait()

    async def run(self) -> None:
        """Serve the player until the connection is over."""
        writing = asyncio.create_task(self._seat.outbox.write_to(self._socket))
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
            logger.exception("session_failed %s, request %s", self._serving.session_id, request_id)
            sentence = f"the gateway has a fault; its log has it as request {request_id}"
            close_code = self._refuse(SessionError(ErrorCode.INTERNAL, sentence))
        finally:
            if self._serving.is_unborn:
                # Its engine would keep it for a client that cannot resume it.
                await self._seat.attachment.stop(self.session_id)
            self._give_back()
            self._seat.outbox.finish()
            await asyncio.wait({writing}, timeout=_FAREWELL_SECONDS)
            await _cancel(writing)
            self._seat.meter.hand_on()
            self._over.set()
        await self._socket.close(close_code)

    async def _converse(self, writing: asyncio.Task[None]) -> None:
        first = await self._seat.listener.first_message()
        require_version(first.version)
        serving = asyncio.create_task(self._serving.serve(first, self._enter))
        listening = asyncio.create_task(self._listen())
        try:
            ends: set[asyncio.Future[Any]] = {serving, listening, writing, self._aborted}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _cancel(serving, listening)
        if self._seat.life.is_over:
            return
        if self._aborted.done():
            raise self._aborted.result()
        for task in (serving, listening, writing):
            if task.done() and not task.cancelled():
                task.result()

    def _enter(self) -> None:
        self._parts.directory.enter(self)

    async def _listen(self) -> None:
        await self._seat.listener.listen(self._take_message, self._on_refused)
        raise _EndedEarlyError("stopped")

    def _take_message(self) -> None:
        if self._seat.listener.is_steady:
            self._seat.entrance.confirm()
        if self._seat.entrance.key is not None:
            self._parts.quota.take_message(self._seat.entrance.key)

    def _on_refused(self, error: SessionError, refused: str) -> None:
        self._tell_error(error, is_fatal=False, refused=refused)

    async def _end_early(self, reason: EndReason) -> None:
        if reason != "taken_over":
            await self._seat.attachment.stop(self._serving.session_id)
        self._seat.life.move(SessionState.ENDED)
        self._seat.relay.end_reason = reason
        self.tell(protocol.Ended(reason=reason, num_frames=self._seat.relay.last_frame_index))

    def _refuse(self, error: SessionError) -> int:
        self._tell_error(error, is_fatal=True)
        is_resumable = error.is_retryable or error.code is ErrorCode.INTERNAL
        self._fall(SessionState.DROPPED if is_resumable else SessionState.ENDED)
        key = self._seat.entrance.key
        self._parts.audit.write(
            "refuse",
            session_id=self._serving.session_id,
            key_id="" if key is None else key.key_id,
            code=error.code,  # without its sentence, which may repeat what the client sent
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
        if self._seat.life.is_over:
            return
        if self._seat.life.state in {SessionState.NEW, SessionState.QUEUED, SessionState.OPENING}:
            state = SessionState.ENDED
        self._seat.life.move(state)

    def _give_back(self) -> None:
        ticket = self._serving.ticket
        address = self._seat.attachment.address or ("" if ticket is None else ticket.backend)
        self._seat.attachment.close()
        key = self._seat.entrance.key
        self._seat.entrance.leave()
        self._parts.directory.leave(self, address)
        if ticket is None:
            return
        outcome = self._seat.relay.end_reason or self._seat.life.state.value
        self._parts.metrics.ended.labels(outcome).inc()
        self._parts.audit.write(
            "end",
            session_id=self._serving.session_id,
            key_id="" if key is None else key.key_id,
            outcome=outcome,
            num_frames=self._seat.relay.last_frame_index,
            num_dropped=self._seat.outbox.num_dropped,
        )


async def _cancel(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
