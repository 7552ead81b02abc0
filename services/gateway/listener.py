"""What a player says: its first message, then everything that goes on to the engine.

A message that is refused is answered and the session goes on. While the gateway brings a lost
engine back, messages wait here and nothing is lost. It does not know how an engine is found.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from services import protocol
from services.contract import ErrorCode, SessionError
from services.gateway.action_log import ActionLog
from services.gateway.attachment import Attachment
from services.gateway.outbox import Outbox
from services.gateway.player_socket import PlayerSocket
from services.gateway.relay import actions_to_engine, log_of, message_to_engine
from services.gateway.session_clock import SessionClock
from services.gateway.settings import SessionLimits
from services.gateway.tracing import ActionTraces
from services.session_state import SessionLife, SessionState


class Listener:
    """Listens to one player."""

    def __init__(
        self, socket: PlayerSocket, life: SessionLife, outbox: Outbox, log: ActionLog,
        attachment: Attachment, clock: SessionClock, limits: SessionLimits,
    ) -> None:  # fmt: skip
        """Know the session's parts; `steady` is set while the engine's stream is there."""
        self._socket = socket
        self._life = life
        self._outbox = outbox
        self._log = log
        self._attachment = attachment
        self._clock = clock
        self._limits = limits
        self._was_steady = False
        self._steady = asyncio.Event()
        self.session_id = ""
        self.traces: ActionTraces | None = None
        self.late_frames: protocol.LatePolicy = "keep"

    @property
    def is_steady(self) -> bool:
        """Tell whether messages go on to the engine now."""
        return self._steady.is_set()

    def go_on(self) -> None:
        """Let messages go on to the engine: its stream is there."""
        self._was_steady = True
        self._steady.set()

    def hold(self) -> None:
        """Let messages wait: the stream is broken."""
        self._steady.clear()

    async def first_message(self) -> protocol.Open | protocol.Resume:
        """Return what the player asks for.

        Raises:
            SessionError: for anything else, or when nothing comes.
        """
        while True:
            try:
                async with asyncio.timeout(self._limits.open_seconds):
                    data = await self._socket.receive()
            except TimeoutError as error:
                sentence = f"no message within {self._limits.open_seconds:g} s, expected open"
                raise SessionError(ErrorCode.TIMEOUT, sentence) from error
            message = _parse(data, protocol.MAX_MESSAGE_BYTES)
            if isinstance(message, protocol.Ping):
                self._outbox.push(protocol.Pong(nonce=message.nonce))
            elif isinstance(message, protocol.Open | protocol.Resume):
                return message
            else:
                sentence = f"{message.type} as the first message, expected open or resume"
                raise SessionError(ErrorCode.WRONG_STATE, sentence)

    async def listen(
        self,
        take_message: Callable[[], None],
        on_refused: Callable[[SessionError, str], None],
    ) -> None:
        """Take in messages until the player is gone or gives up waiting.

        Args:
            take_message: counts a message, or refuses it.
            on_refused: told of a message that was refused, and of its type where it is known.

        Raises:
            PlayerGoneError: when the connection is over.
        """
        while True:
            data = await self._socket.receive()
            await self._outbox.wait_for_room()
            refused = ""
            try:
                take_message()
                message = _parse(data, self._limits.max_message_bytes)
                refused = message.type
                if await self._hear(message):
                    return
            except SessionError as error:
                on_refused(error, refused)

    async def _hear(self, message: protocol.ClientMessage) -> bool:
        """Take in one message; True when the player gives up before its session is ready."""
        if isinstance(message, protocol.Ping):
            self._outbox.push(protocol.Pong(nonce=message.nonce))
            return False
        self._clock.hear()
        if isinstance(message, protocol.Close) and not self.is_steady:
            return True
        if self._was_steady:
            await self._steady.wait()
        if not self._life.allows(message.type):
            sentence = f"{message.type} does not belong into a session that is {self._life.state}"
            raise SessionError(ErrorCode.WRONG_STATE, sentence)
        if isinstance(message, protocol.FramesReceived):
            self._require_sent(message.segment_index)
        if isinstance(message, protocol.Actions):
            await self._send_actions(message)
        elif not isinstance(message, protocol.FramesReceived) or self.late_frames == "keep":
            if isinstance(message, protocol.Close):
                self._life.move(SessionState.CLOSING)
            await self._send(message)
        return False

    def _require_sent(self, segment_index: int) -> None:
        # Credits for what was never sent would let frames pile up before a socket nobody reads.
        sent = self._outbox.last_segment_index
        if segment_index > sent:
            sentence = f"segment {segment_index} was not sent yet, the latest is {sent}"
            raise SessionError(ErrorCode.BAD_MESSAGE, sentence)

    async def _send_actions(self, message: protocol.Actions) -> None:
        actions = log_of(message, time.monotonic())
        # Logged first: if the stream breaks now, who brings it back sends them again.
        self._log.append(actions)
        if self.traces is not None:
            self.traces.received(actions.action_index, len(actions.keyboard))
        try:
            await self._attachment.send(*actions_to_engine(self.session_id, actions))
        except SessionError as error:
            if error.code is not ErrorCode.DISCONNECTED:
                raise
        if self.traces is not None:
            self.traces.forwarded(actions.action_index)

    async def _send(self, message: protocol.ClientMessage) -> None:
        outgoing = message_to_engine(self.session_id, message)
        while True:
            await self._steady.wait()
            try:
                await self._attachment.send(*outgoing)
            except SessionError as error:
                if error.code is not ErrorCode.DISCONNECTED:
                    raise
                self.hold()  # until the task that reads the same stream has it back
            else:
                return


def _parse(data: str | bytes, max_bytes: int) -> protocol.ClientMessage:
    if len(data) > max_bytes:
        sentence = f"a message of {len(data)} bytes, at most {max_bytes} are taken here"
        raise SessionError(ErrorCode.TOO_LARGE, sentence)
    if isinstance(data, bytes):
        sentence = f"a binary message of {len(data)} bytes, expected text"
        raise SessionError(ErrorCode.BAD_MESSAGE, sentence)
    return protocol.parse_client_message(data)
