"""A gateway small enough to be read at once: one world, credits, resume tokens, drops on demand.

A frame's data says its index and the action that led to it, so a frame that is lost, repeated, out
of order or made of another action shows at once.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from services import protocol
from services.contract import ErrorCode, SessionError

FRAMES_PER_SEGMENT = 4
CREDITS = 2


def frame_data(frame_index: int, action: list[float] | None) -> bytes:
    return f"frame {frame_index} after {action}".encode()


@dataclass
class FakeSession:
    """What outlives a connection."""

    opened: protocol.Open
    actions: list[list[float]] = field(default_factory=list)
    num_frames: int = 0
    num_segments: int = 0
    acknowledged: int = -1
    is_paused: bool = False
    is_finishing: bool = False

    def has_work(self, *, ignores_credits: bool = False) -> bool:
        waiting = len(self.actions) - self.num_frames
        enough = waiting >= (1 if self.is_finishing else FRAMES_PER_SEGMENT)
        has_credit = self.num_segments - self.acknowledged - 1 < CREDITS
        return enough and not self.is_paused and (has_credit or ignores_credits)


@dataclass
class FakeGateway:
    """Serves until its block ends; the fields say what goes wrong, and tell what was seen.

    Attributes:
        drop_at: frames at which a connection is broken, before the frame is sent; once each.
        forget_actions: how many of the last actions a dropped session loses.
        repeat_frames: how many frames that a client has are sent again after a resume.
        queue_positions: positions told before a session opens.
        refuse_open: code with which every `open` is refused.
        refuse_resume: codes with which resumes are refused, one after the other.
        refuse: code with which messages of a type are refused, without ending the session.
        ignores_credits: make frames without waiting for acknowledgements.
        lose_end: break the connection instead of saying `ended`.
        picture: makes a frame's data from its index and its action.
    """

    drop_at: set[int] = field(default_factory=set)
    forget_actions: int = 0
    repeat_frames: int = 0
    queue_positions: tuple[int, ...] = ()
    refuse_open: ErrorCode | None = None
    refuse_resume: list[ErrorCode] = field(default_factory=list)
    refuse: dict[str, ErrorCode] = field(default_factory=dict)
    ignores_credits: bool = False
    lose_end: bool = False
    picture: Callable[[int, list[float] | None], bytes] = frame_data
    most_at_once: int = 0
    url: str = ""
    port: int = 0
    sessions: dict[str, FakeSession] = field(default_factory=dict)
    connections: set[ServerConnection] = field(default_factory=set)
    received: list[protocol.ClientMessage] = field(default_factory=list)
    _num_tokens: int = 0

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[FakeGateway]:
        async with serve(
            self._connected, "127.0.0.1", self.port, subprotocols=[protocol.SUBPROTOCOL]
        ) as server:
            self.port = server.sockets[0].getsockname()[1]
            self.url = f"http://127.0.0.1:{self.port}"
            yield self

    @contextmanager
    def serve_on_thread(self) -> Iterator[FakeGateway]:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        serving = self.serve()
        asyncio.run_coroutine_threadsafe(serving.__aenter__(), loop).result()
        try:
            yield self
        finally:
            asyncio.run_coroutine_threadsafe(serving.__aexit__(None, None, None), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    def of_type(self, kind: type) -> list:
        return [message for message in self.received if isinstance(message, kind)]

    async def _connected(self, socket: ServerConnection) -> None:
        self.connections.add(socket)
        self.most_at_once = max(self.most_at_once, len(self.connections))
        try:
            await self._converse(socket)
        except ConnectionClosed:
            pass
        except SessionError as error:
            await self._refuse(socket, error.code, is_fatal=True)
        finally:
            self.connections.discard(socket)

    async def _converse(self, socket: ServerConnection) -> None:
        hello = await self._next(socket)
        if isinstance(hello, protocol.Open):
            token = await self._open(socket, hello)
        else:
            assert isinstance(hello, protocol.Resume)
            token = await self._resume(socket, hello)
        session = self.sessions[token]
        while await self._produce(socket, session, token):
            await self._handle(socket, session, await self._next(socket))

    async def _next(self, socket: ServerConnection) -> protocol.ClientMessage:
        message = protocol.parse_client_message(await socket.recv())
        self.received.append(message)
        return message

    async def _open(self, socket: ServerConnection, hello: protocol.Open) -> str:
        for position in self.queue_positions:
            await _say(socket, protocol.Queued(position=position, length=9))
        if self.refuse_open is not None:
            raise SessionError(self.refuse_open, "refused as the test wants it")
        token = self._new_token()
        self.sessions[token] = FakeSession(hello)
        await self._ready(socket, token, is_resumed=False)
        await self._frame(socket, 0, 0, None)
        return token

    async def _resume(self, socket: ServerConnection, hello: protocol.Resume) -> str:
        if self.refuse_resume:
            raise SessionError(self.refuse_resume.pop(0), "refused as the test wants it")
        session = self.sessions.pop(hello.resume_token, None)
        if session is None:
            raise SessionError(ErrorCode.UNKNOWN_SESSION, "no such session")
        token = self._new_token()
        self.sessions[token] = session
        session.num_frames = max(0, hello.last_frame_index - self.repeat_frames)
        kept = max(session.num_frames, len(session.actions) - self.forget_actions)
        del session.actions[kept:]
        session.acknowledged = session.num_segments - 1
        session.is_finishing = False
        await self._ready(socket, token, is_resumed=True)
        return token

    def _new_token(self) -> str:
        self._num_tokens += 1
        return f"token-{self._num_tokens}"

    async def _ready(self, socket: ServerConnection, token: str, *, is_resumed: bool) -> None:
        session = self.sessions[token]
        ready = protocol.Ready(
            session_id="s", resume_token=token, release="", model_version="3", world="grey",
            prompt="", seed=session.opened.seed, height=64, width=64,
            frames_per_segment=FRAMES_PER_SEGMENT, frames_per_second=16,
            max_unacknowledged_segments=CREDITS, max_actions_per_message=10,
            encoding=session.opened.encoding, next_action_index=len(session.actions),
            next_segment_index=session.num_segments, is_resumed=is_resumed,
            is_paused=session.is_paused, max_idle_seconds=60, max_session_seconds=60,
        )  # fmt: skip
        await _say(socket, ready)

    async def _produce(self, socket: ServerConnection, session: FakeSession, token: str) -> bool:
        while session.has_work(ignores_credits=self.ignores_credits):
            first = session.num_frames + 1
            count = min(FRAMES_PER_SEGMENT, len(session.actions) - session.num_frames)
            await _say(socket, _segment(session.num_segments, first, count))
            for index in range(first, first + count):
                if index in self.drop_at:
                    self.drop_at.remove(index)
                    socket.transport.abort()
                    raise ConnectionAbortedSession
                await self._frame(socket, session.num_segments, index, session.actions[index - 1])
                session.num_frames = index
            session.num_segments += 1
        if session.is_finishing and session.num_frames == len(session.actions):
            await self._end(socket, token, "finished")
            return False
        return True

    async def _end(self, socket: ServerConnection, token: str, reason: str) -> None:
        session = self.sessions.pop(token)
        if self.lose_end:
            socket.transport.abort()
            return
        await _say(socket, protocol.Ended(reason=reason, num_frames=session.num_frames))

    async def _handle(
        self, socket: ServerConnection, session: FakeSession, message: protocol.ClientMessage
    ) -> None:
        code = self.refuse.pop(message.type, None)
        if code is not None:
            await self._refuse(socket, code, refused=message.type)
        elif isinstance(message, protocol.Actions):
            assert message.action_index == len(session.actions), "a gap or a repetition"
            rows = [k + m for k, m in zip(message.keyboard, message.mouse, strict=True)]
            session.actions += rows
            received = protocol.ActionsReceived(
                action_index=message.action_index, num_actions=len(rows), num_queued_actions=0
            )
            await _say(socket, received)
        elif isinstance(message, protocol.FramesReceived):
            session.acknowledged = max(session.acknowledged, message.segment_index)
        elif isinstance(message, protocol.Pause):
            session.is_paused = True
            await _say(socket, protocol.Paused())
        elif isinstance(message, protocol.Continue):
            session.is_paused = False
            await _say(socket, protocol.Continued())
        elif isinstance(message, protocol.Snapshot):
            await _say(socket, protocol.SnapshotTaken(frame_index=session.num_frames))
        elif isinstance(message, protocol.Ping):
            await _say(socket, protocol.Pong(nonce=message.nonce))
        elif isinstance(message, protocol.Close) and message.finish_queue:
            session.is_finishing = True
        elif isinstance(message, protocol.Close):
            token = next(t for t, s in self.sessions.items() if s is session)
            await self._end(socket, token, "stopped")
            raise ConnectionAbortedSession

    async def _refuse(
        self,
        socket: ServerConnection,
        code: ErrorCode,
        *,
        is_fatal: bool = False,
        refused: str = "",
    ) -> None:
        sentence = "refused as the test wants it"
        retryable = SessionError(code, sentence).is_retryable
        await _say(
            socket,
            protocol.Error(
                code=code, message=sentence, is_retryable=retryable, is_fatal=is_fatal,
                refused=refused,
            ),
        )  # fmt: skip

    async def _frame(
        self, socket: ServerConnection, segment: int, index: int, action: list[float] | None
    ) -> None:
        header = protocol.FrameHeader(protocol.KIND_JPEG, segment, index, index - 1, 0.0)
        await socket.send(header.pack() + self.picture(index, action))


class ConnectionAbortedSession(ConnectionClosed):
    """Leaves the conversation; the session stays in the books."""

    def __init__(self) -> None:
        super().__init__(None, None)


async def _say(socket: ServerConnection, message: protocol._FromServer) -> None:
    await socket.send(message.model_dump_json())


def _segment(segment_index: int, first: int, count: int) -> protocol.Segment:
    return protocol.Segment(
        segment_index=segment_index, first_frame_index=first, first_action_index=first - 1,
        num_frames=count, waited_seconds=0, segment_seconds=0, action_to_frame_seconds=0,
        durable_frame_index=max(0, first - 1 - FRAMES_PER_SEGMENT),
    )  # fmt: skip
