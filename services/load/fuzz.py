"""A gateway under malformed messages, while one ordinary player walks on beside them.

Hostile connections send what `malformed` draws, some to a session of their own, some before there
is one. After each burst a `ping` must be answered or the connection must be closed for a reason
that the protocol has; an odd HTTP request must be answered with anything but a server's fault. The
witness must get every frame, once and in order. It does not know how a gateway is started.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from random import Random

import httpx
import numpy as np
from pydantic import Field, ValidationError
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_websocket
from websockets.exceptions import ConnectionClosed

from services import protocol
from services.client import SessionError, SessionOptions, connect
from services.client.endpoint import Endpoint
from services.contract import NUM_KEYS, NUM_MOUSE_AXES
from services.load import malformed
from worldloom.config import Config

Tick = Callable[[int], None]

_PING_NONCE = 2**53 - 1
_SHARE_WITH_SESSION = 0.6  # of the hostile connections; the others begin with malformed messages
_NO_CLOSE_CODE = 1006
# What RFC 6455 and the protocol have for a peer that is refused; all else is a fault.
_LEGAL_CLOSES = frozenset(
    {
        1000,  # the session is over
        1001,
        1002,  # no WebSocket
        1003,
        1007,  # text that is no UTF-8
        1009,  # too large
        protocol.CLOSE_REFUSED,
        protocol.CLOSE_UNAUTHORIZED,
        protocol.CLOSE_NOT_FOUND,
        protocol.CLOSE_TOO_LARGE,
        protocol.CLOSE_TRY_AGAIN,
    }
)
_LEGAL_STATUSES = frozenset({501, 503})  # not implemented; not ready
_TRACES = ("Traceback", 'File "', "site-packages", "Error:")


class FuzzConfig(Config):
    """How much malformed input is sent, and how."""

    num_messages: int = Field(18_000, ge=1, description="malformed messages in all")
    num_requests: int = Field(2_000, ge=0, description="odd HTTP requests in all")
    num_connections: int = Field(4, ge=1, description="hostile connections at once")
    burst: int = Field(24, ge=1, description="most messages before a sign of life is asked for")
    answer_seconds: float = Field(30.0, gt=0, description="silence that counts as a hang, seconds")
    seed: int = Field(0, ge=0, description="seed of the messages")


@dataclass
class FuzzResult:
    """What came of it.

    Attributes:
        num_messages: malformed messages that were sent.
        num_connections: connections that they took.
        num_requests: odd HTTP requests that were sent.
        statuses: how often each HTTP status was answered.
        codes: how often each error code was answered.
        closes: how often a connection was closed with each code.
        faults: what a gateway must never do, in words; empty when all is well.
        num_witness_frames: frames of the player beside, who saw nothing of it all.
    """

    num_messages: int = 0
    num_connections: int = 0
    num_requests: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    closes: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    num_witness_frames: int = 0


async def fuzz_gateway(url: str, config: FuzzConfig, tick: Tick | None = None) -> FuzzResult:
    """Send malformed messages to a gateway that asks for no keys; `tick` hears of each burst."""
    result = FuzzResult()
    texts = malformed.messages(config.seed)
    hostile = [
        asyncio.create_task(
            _Attacker(url, config, texts, result, Random(config.seed + k), tick).run()
        )
        for k in range(config.num_connections)
    ]
    is_over = asyncio.Event()
    witness = asyncio.create_task(_walk(url, result, is_over))
    try:
        await asyncio.gather(*hostile, _send_requests(url, config, result, tick))
    finally:
        is_over.set()
        await witness
    return result


class _Attacker:
    """One hostile client, which connects again whenever it is thrown out."""

    def __init__(
        self, url: str, config: FuzzConfig, texts: Iterator[str | bytes], result: FuzzResult,
        random: Random, tick: Tick | None,
    ) -> None:  # fmt: skip
        self._url = Endpoint.parse(url).session_url
        self._config = config
        self._texts = texts
        self._result = result
        self._random = random
        self._tick = tick

    async def run(self) -> None:
        while burst := self._draw():
            self._result.num_connections += 1
            try:
                async with connect_websocket(
                    self._url, compression=None, max_size=None, ping_interval=None
                ) as socket:
                    await self._visit(socket, burst)
            except OSError as error:
                self._result.faults.append(f"no connection any more: {error}")
                return
            if self._tick is not None:
                self._tick(self._result.num_messages + self._result.num_requests)

    def _draw(self) -> list[str | bytes]:
        """Return the next burst, empty when enough has been sent."""
        num_left = self._config.num_messages - self._result.num_messages
        size = min(num_left, self._random.randint(1, self._config.burst))
        return list(islice(self._texts, max(0, size)))

    async def _visit(self, socket: ClientConnection, burst: list[str | bytes]) -> None:
        if self._random.random() < _SHARE_WITH_SESSION:
            with contextlib.suppress(ConnectionClosed):
                await socket.send(protocol.Open(seed=self._random.randrange(99)).model_dump_json())
        # Only a connection that stays open is worth another burst.
        while burst and await self._is_alive_after(socket, burst):
            burst = self._draw()
        await socket.close()
        code = socket.close_code or _NO_CLOSE_CODE
        self._result.closes[code] += 1
        if code not in _LEGAL_CLOSES:
            self._result.faults.append(f"closed with {code}: {socket.close_reason}")

    async def _is_alive_after(self, socket: ClientConnection, burst: list[str | bytes]) -> bool:
        """Send a burst and a ping; tell whether it was answered, which it need not be if closed."""
        reading = asyncio.create_task(self._read_until_pong(socket))
        with contextlib.suppress(ConnectionClosed):
            for text in burst:
                self._result.num_messages += 1
                await socket.send(text)
            await socket.send(protocol.Ping(nonce=_PING_NONCE).model_dump_json())
        try:
            return await asyncio.wait_for(reading, self._config.answer_seconds)
        except ConnectionClosed:
            return False
        except TimeoutError:
            sentence = f"no answer within {self._config.answer_seconds:g} s"
            self._result.faults.append(f"{sentence}, last sent {burst[-1][:200]!r}")
            return False

    async def _read_until_pong(self, socket: ClientConnection) -> bool:
        """Check every answer until the ping's; False when the connection ends in order."""
        async for data in socket:
            if isinstance(data, bytes):
                protocol.FrameHeader.unpack(data)
                continue
            if any(trace in data for trace in _TRACES):
                self._result.faults.append(f"an answer shows the inside: {data[:300]}")
            try:
                message = protocol.parse_server_message(data)
            except ValidationError:
                self._result.faults.append(f"an answer is not of the protocol: {data[:300]}")
                continue
            if isinstance(message, protocol.Error):
                self._result.codes[message.code] += 1
            if isinstance(message, protocol.Pong) and message.nonce == _PING_NONCE:
                return True
        return False


async def _send_requests(
    url: str, config: FuzzConfig, result: FuzzResult, tick: Tick | None
) -> None:
    """Send odd HTTP requests, to every path that the gateway says it has and to others."""
    async with httpx.AsyncClient(base_url=url, timeout=config.answer_seconds) as client:
        paths = [*(await client.get("/openapi.json")).json()["paths"], protocol.SESSION_PATH]
        for request in islice(malformed.requests(config.seed, paths), config.num_requests):
            result.num_requests += 1
            try:
                answer = await client.request(
                    request.method, request.path, headers=request.headers, content=request.body
                )
            except httpx.InvalidURL:
                continue  # the client itself refuses to send it
            except httpx.HTTPError as error:
                # A server may hang up on what is no HTTP, not on others.
                result.faults.append(f"{request.method} {request.path[:80]}: {error!r}")
                continue
            result.statuses[answer.status_code] += 1
            is_fault = answer.status_code >= 500 and answer.status_code not in _LEGAL_STATUSES
            if is_fault or any(trace in answer.text for trace in _TRACES[:3]):
                what = f"{request.method} {request.path[:80]} with {request.body[:80]!r}"
                result.faults.append(f"{what}: {answer.status_code} {answer.text[:200]}")
            if tick is not None and result.num_requests % config.burst == 0:
                tick(result.num_messages + result.num_requests)


async def _walk(url: str, result: FuzzResult, is_over: asyncio.Event) -> None:
    """Walk until it is over, and note a fault unless each frame comes once and in order."""
    try:
        async with connect(url, options=SessionOptions(seed=1)) as session:
            length = session.ready.frames_per_segment
            keyboard = np.zeros((length, NUM_KEYS), np.float32)
            keyboard[:, 0] = 1
            mouse = np.zeros((length, NUM_MOUSE_AXES), np.float32)
            await session.act(keyboard, mouse)
            started, expected = time.monotonic(), 0
            async for frame in session.frames():
                if frame.frame_index != expected:
                    result.faults.append(
                        f"the witness got frame {frame.frame_index} for {expected}"
                    )
                expected = frame.frame_index + 1
                result.num_witness_frames = frame.frame_index
                if frame.frame_index % length == 0:
                    if is_over.is_set():
                        break
                    await session.act(keyboard, mouse)
                due = started + frame.frame_index / session.ready.frames_per_second
                await asyncio.sleep(max(0.0, due - time.monotonic()))
            if session.num_reconnects:
                result.faults.append(f"the witness lost its connection {session.num_reconnects} x")
    except SessionError as error:
        result.faults.append(f"the witness was disturbed: {error.code}: {error.message}")
