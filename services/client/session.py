"""A session through a gateway, for asyncio: act, take frames, pause, snapshot, close.

    async with connect("http://127.0.0.1:8080", options=SessionOptions(seed=7)) as session:
        receipt = await session.act(keyboard, mouse)   # [F, 6] and [F, 2], or one action
        await session.finish()
        async for frame in session.frames():
            ...

A connection that breaks is resumed behind the caller's back: frames come once each and in order,
actions are told again. A caller that does not take frames slows its own session only. It does not
decode frames.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from numpy.typing import ArrayLike
from pydantic import ValidationError

from .. import protocol
from ..contract import EndReason, ErrorCode, SessionError
from ..protocol import MAX_IMAGE_BYTES
from ..session_state import SessionState
from .api_key import fetch_token
from .bell import Bell
from .courier import Courier, OnNews
from .endpoint import Endpoint
from .frame import Frame
from .ledger import Ledger
from .options import DEFAULT_OPTIONS, DEFAULT_TIMEOUTS, SessionOptions, Timeouts


class Receipt:
    """What becomes of actions: they are received, then frames obey them."""

    def __init__(self, session: Session, first_action_index: int, next_action_index: int) -> None:
        """Speak of actions of one `act`."""
        self.first_action_index = first_action_index
        self.num_actions = next_action_index - first_action_index
        self._session = session

    async def received(self) -> None:
        """Wait until the server has the last of the actions in its queue."""
        await self._session.actions_received(self.first_action_index + self.num_actions)

    async def applied(self) -> int:
        """Wait for the first frame that obeys and return its index.

        The frame itself comes by `frames`, which somebody must read meanwhile.
        """
        return await self._session.frame_arrived(self.first_action_index + 1)


class Session:
    """One session, on whatever connection; made by `connect`, used in one event loop."""

    def __init__(
        self,
        url: str,
        options: SessionOptions = DEFAULT_OPTIONS,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        on_news: OnNews | None = None,
    ) -> None:
        """Describe a session at a gateway's session address; `open` asks for it."""
        self._options = options
        self._timeouts = timeouts
        self._bell = Bell()
        self._ledger = Ledger(options.encoding, options.late_frames)
        self._courier = Courier(url, self._ledger, self._bell, timeouts, on_news)
        self._task: asyncio.Task[None] | None = None
        self._num_pings = 0

    @property
    def ready(self) -> protocol.Ready:
        """What the gateway said as it opened the session, or resumed it the last time."""
        assert self._ledger.ready is not None, "before the session was opened"
        return self._ledger.ready

    @property
    def state(self) -> SessionState:
        """Where the session stands."""
        return self._ledger.state

    @property
    def end_reason(self) -> EndReason | None:
        """Why the server ended the session; None before that, and when it was lost."""
        return None if self._ledger.end is None else self._ledger.end.reason

    @property
    def notices(self) -> Sequence[protocol.Notice]:
        """The latest of what a player should be shown, the oldest first."""
        return tuple(self._ledger.notices)

    @property
    def num_dropped(self) -> int:
        """Frames that were left out because they were late, by the gateway or here."""
        return self._ledger.num_dropped

    @property
    def num_reconnects(self) -> int:
        """How often a broken connection was resumed."""
        return self._courier.num_reconnects

    async def act(self, keyboard: ArrayLike, mouse: ArrayLike) -> Receipt:
        """Append actions [F, 6] and [F, 2], or one; does not wait for the server.

        They are sent as the server has room for them, however many they are.

        Raises:
            SessionError: for a wrong shape or value, or a session that is over.
        """
        receipt = Receipt(self, *self._ledger.act(keyboard, mouse))
        await self._courier.send_due()
        return receipt

    async def finish(self) -> None:
        """Ask for the frames of all actions so far and for the end after them."""
        self._ledger.wants_finish = True
        await self._courier.send_due()

    async def frames(self) -> AsyncIterator[Frame]:
        """Yield every frame once and in order, the start image first, until the session ends.

        Taking a segment's last frame lets the server make another segment. One reader at a time.

        Raises:
            SessionError: when the session ends without being asked to, or the server owes a frame
                and is silent for too long.
        """
        while await self._has_frame():
            frame, acknowledgement = self._ledger.take_frame()
            self._bell.ring()
            if acknowledgement is not None:
                await self._courier.send(acknowledgement)
            yield frame

    async def pause(self) -> None:
        """Let the server make no more frames; its slot may be another's meanwhile."""
        await self._ask(protocol.Pause(), lambda: self.state is SessionState.PAUSED)

    async def unpause(self) -> None:
        """End a pause; raises `SessionError` `no_free_slot` while the device is full."""
        await self._ask(protocol.Continue(), lambda: self.state is SessionState.ACTIVE)

    async def snapshot(self) -> int:
        """Let the server store the session's state now; return the last frame in it."""
        taken = self._ledger.num_snapshots
        await self._ask(protocol.Snapshot(), lambda: self._ledger.num_snapshots > taken)
        return self._ledger.snapshot_frame_index

    async def ping(self) -> float:
        """Return the seconds of a round trip to the gateway."""
        self._num_pings += 1
        nonce, started = self._num_pings, time.monotonic()
        await self._ask(protocol.Ping(nonce=nonce), lambda: self._ledger.last_pong >= nonce)
        return time.monotonic() - started

    async def actions_received(self, num_actions: int) -> None:
        """Wait until the server has queued this many actions of the session."""
        await self._until(
            lambda: self._ledger.num_actions_received >= num_actions,
            self._timeouts.reply_seconds,
            f"receipt of action {num_actions - 1}",
        )

    async def frame_arrived(self, frame_index: int) -> int:
        """Wait until this frame or a later one has arrived; return the index asked for."""
        await self._until(
            lambda: self._ledger.last_frame_index >= frame_index,
            self._timeouts.frame_seconds,
            f"frame {frame_index}",
        )
        return frame_index

    async def open(self, token: str | None) -> None:
        """Ask for the session and wait for it, in the queue too; for `connect`.

        Raises:
            SessionError: when it is refused, or the time is over.
        """
        hello = _hello(self._options, token)
        self._ledger.life.move(SessionState.OPENING)
        self._task = asyncio.create_task(self._courier.run(hello), name="worldloom-session")
        self._task.add_done_callback(self._on_left)
        await self._until(
            lambda: self._ledger.ready is not None, self._timeouts.open_seconds, "session"
        )

    async def close(self) -> None:
        """End the session, at once, and its connection; never raises for how it ended."""
        if self._task is None:
            return
        try:
            if self._ledger.is_in_play or self.state is SessionState.QUEUED:
                await self._courier.send(protocol.Close())
                with contextlib.suppress(SessionError):
                    await self._bell.until(
                        lambda: self._ledger.is_over,
                        timeout_seconds=self._timeouts.reply_seconds,
                        what="end of the session",
                    )
        finally:
            await self.abandon()

    async def abandon(self) -> None:
        """Leave without a word: the gateway keeps the session for a while, to be resumed."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _on_left(self, _task: asyncio.Task[None]) -> None:
        # Whatever ended the courier, even before its first step, nobody may wait any longer.
        self._ledger.fail(SessionError(ErrorCode.DISCONNECTED, "the session was given up"))
        self._bell.ring()

    async def _ask(self, message: protocol.ClientMessage, is_answered: Callable[[], bool]) -> None:
        """Send a message and wait for its answer; raises the refusal if that is what comes."""
        refusals = self._ledger.refusals
        self._ledger.require_open()
        refusals.pop(message.type, None)

        def is_settled() -> bool:
            return is_answered() or message.type in refusals

        while not is_settled():
            # An answer may break with its connection: then the question is asked again.
            await self._ask_once(message, is_settled)
        refusal = refusals.pop(message.type, None)
        if refusal is not None:
            raise refusal

    async def _ask_once(
        self, message: protocol.ClientMessage, is_settled: Callable[[], bool]
    ) -> None:
        """Send a message and wait until it is settled or its connection has been replaced."""
        seconds, what = self._timeouts.reply_seconds, f"answer to {message.type}"
        await self._until(lambda: self._ledger.is_in_play, seconds, what)
        attempt = self.num_reconnects
        await self._courier.send(message)
        await self._until(lambda: is_settled() or self.num_reconnects > attempt, seconds, what)

    async def _until(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        """Wait for a condition; raises `SessionError` when the session ends before it."""
        await self._bell.until(
            lambda: condition() or self._ledger.is_over, timeout_seconds=seconds, what=what
        )
        if not condition():
            self._ledger.require_open()

    async def _has_frame(self) -> bool:
        """Wait for a frame; False when the session ended as it was asked to."""
        ledger, seconds = self._ledger, self._timeouts.frame_seconds
        while not ledger.has_frames:
            if ledger.failure is not None:
                raise ledger.failure
            if ledger.is_over:
                return False
            try:
                async with asyncio.timeout(seconds if ledger.owes_frames else None):
                    await self._bell.wait()
            except TimeoutError as error:
                sentence = f"no frame after {ledger.last_frame_index} within {seconds:g} s"
                raise SessionError(ErrorCode.TIMEOUT, sentence) from error
        return True


@asynccontextmanager
async def connect(
    url: str,
    *,
    api_key: str | None = None,
    token: str | None = None,
    options: SessionOptions = DEFAULT_OPTIONS,
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
    on_news: OnNews | None = None,
) -> AsyncIterator[Session]:
    """Give an open session of the gateway at this address; the session ends with the block.

    Args:
        url: http://, https://, ws:// or wss:// and the gateway's host and port.
        api_key: a lasting key, exchanged for a token here.
        token: a short-lived token, where another program holds the key.
        options: how the session starts.
        timeouts: how long to wait for what.
        on_news: called with the place in the queue and with notices, as they come.

    Raises:
        SessionError: when the gateway refuses the session or does not answer.
        ValueError: for an address that is no gateway's, or a key and a token at once.
    """
    if api_key is not None and token is not None:
        message = "both an API key and a token are given, expected one of them or none"
        raise ValueError(message)
    endpoint = Endpoint.parse(url)
    if api_key is not None:
        token = await asyncio.to_thread(
            fetch_token,
            endpoint.token_url,
            api_key,
            timeout_seconds=timeouts.connect_seconds,
        )
    session = Session(endpoint.session_url, options, timeouts, on_news)
    try:
        await session.open(token)
        yield session
    finally:
        await session.close()


def _hello(options: SessionOptions, token: str | None) -> protocol.Open:
    image = options.image
    if image is not None and len(image) > MAX_IMAGE_BYTES:
        sentence = f"image of {len(image)} bytes, expected at most {MAX_IMAGE_BYTES}"
        raise SessionError(ErrorCode.TOO_LARGE, sentence)
    try:
        return protocol.Open(
            token=token,
            world=options.world,
            image=None if image is None else base64.b64encode(image).decode(),
            prompt=options.prompt,
            seed=options.seed,
            enable_memory=options.enable_memory,
            encoding=options.encoding,
            late_frames=options.late_frames,
            release=options.release,
            traceparent=options.traceparent,
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        sentence = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise SessionError(ErrorCode.BAD_MESSAGE, sentence) from error
