"""One player's WebSocket: text in, text and bytes out, closed in bounded time.

A player that is gone is one error, however it left. It knows no messages and no session.
"""

from __future__ import annotations

import asyncio

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

_CLOSE_SECONDS = 1.0  # a player that reads nothing also reads no close frame
_MAX_REASON_BYTES = 120  # a close frame holds 123


class PlayerGoneError(Exception):
    """The player's connection is over."""


class PlayerSocket:
    """A WebSocket that was accepted."""

    def __init__(self, websocket: WebSocket) -> None:
        """Take the socket over."""
        self._websocket = websocket

    async def receive(self) -> str | bytes:
        """Return the next message; raises `PlayerGoneError`."""
        message = await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            raise PlayerGoneError
        text: str | bytes | None = message.get("text")
        return message["bytes"] if text is None else text

    async def send_text(self, text: str) -> None:
        """Send text, waiting while the player takes none; raises `PlayerGoneError`."""
        try:
            await self._websocket.send({"type": "websocket.send", "text": text})
        except (WebSocketDisconnect, RuntimeError) as error:
            raise PlayerGoneError from error

    async def send_bytes(self, data: bytes) -> None:
        """Send bytes, waiting while the player takes none; raises `PlayerGoneError`."""
        try:
            await self._websocket.send({"type": "websocket.send", "bytes": data})
        except (WebSocketDisconnect, RuntimeError) as error:
            raise PlayerGoneError from error

    async def close(self, code: int, reason: str = "") -> None:
        """Close the connection; gives up on a player that takes nothing."""
        if self._websocket.application_state is not WebSocketState.CONNECTED:
            return
        text = reason.encode()[:_MAX_REASON_BYTES].decode(errors="ignore")
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._websocket.close(code, text)
        except (TimeoutError, WebSocketDisconnect, RuntimeError):
            return
