"""One WebSocket to a gateway: messages out, messages and frames in.

The only module of the client that knows `websockets`. It does not know what a session does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic import BaseModel, ValidationError
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from ..contract import ErrorCode, SessionError, to_json
from ..protocol import SUBPROTOCOL, ServerMessage, parse_server_message
from .frame import Frame
from .options import Timeouts

_MAX_MESSAGE_BYTES = 16 << 20
# Frames that `websockets` reads ahead of us; more would only hide that the caller is slow.
_MAX_READ_AHEAD = 4
# A gateway that does not even say goodbye is not waited for.
_CLOSE_SECONDS = 2.0


class Connection:
    """An open WebSocket."""

    def __init__(self, socket: ClientConnection) -> None:
        """Take over a socket after its handshake."""
        self._socket = socket

    async def send(self, message: BaseModel) -> None:
        """Send a message; one for a connection that has broken is lost, as it would be later."""
        try:
            await self._socket.send(to_json(message), text=True)
        except ConnectionClosed:
            return

    async def receive(self) -> ServerMessage | Frame | None:
        """Return the next message or frame, None when the connection is over.

        Raises:
            SessionError: `bad_message`, for what is neither.
        """
        try:
            received = await self._socket.recv()
        except ConnectionClosed:
            return None
        try:
            if isinstance(received, bytes):
                return Frame.of_message(received, time.monotonic())
            return parse_server_message(received)
        except (ValidationError, ValueError) as error:
            sentence = f"the gateway sent what protocol {SUBPROTOCOL} does not have: {error}"
            raise SessionError(ErrorCode.BAD_MESSAGE, sentence[:400]) from error


@asynccontextmanager
async def open_connection(url: str, timeouts: Timeouts) -> AsyncIterator[Connection]:
    """Give an open connection to the session address of a gateway.

    Raises:
        SessionError: `disconnected` when nobody answers, `unsupported_version` when who answers
            does not speak the protocol.
    """
    try:
        # JPEG and H.264 are compressed already: another compression would only cost time.
        socket = await connect(
            url,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,
            max_size=_MAX_MESSAGE_BYTES,
            max_queue=_MAX_READ_AHEAD,
            open_timeout=timeouts.connect_seconds,
            ping_interval=timeouts.keepalive_seconds,
            ping_timeout=timeouts.keepalive_seconds,
            close_timeout=_CLOSE_SECONDS,
        )
    except InvalidStatus as error:
        raise _refused_handshake(url, error.response.status_code) from error
    except (OSError, WebSocketException, TimeoutError) as error:
        sentence = f"the gateway at {url} does not answer ({error})"
        raise SessionError(ErrorCode.DISCONNECTED, sentence) from error
    try:
        yield Connection(socket)
    except asyncio.CancelledError:
        socket.transport.abort()  # who is told to leave does not wait for a goodbye
        raise
    finally:
        await socket.close()


def _refused_handshake(url: str, status: int) -> SessionError:
    sentence = f"{url} refused the WebSocket with status {status}"
    # A gateway that starts or stops is behind a proxy's 5xx; anything else will not pass.
    code = ErrorCode.DISCONNECTED if status >= 500 else ErrorCode.UNSUPPORTED_VERSION
    return SessionError(code, sentence)
