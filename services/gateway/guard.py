"""What stands around the whole application: who may reach an open gateway, how much, and faults.

A gateway that asks for no key is for programs and pages of this machine: a page of another origin
in the same browser is turned away, by whatever name it was made to reach here. A fault is logged
once and told by its number. It does not know routes.
"""

from __future__ import annotations

import logging
import uuid
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from services import protocol
from services.contract import ErrorCode
from services.gateway.settings import LOOPBACK_HOSTS

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 64 * 1024


class OwnPagesOnly:
    """Lets in what comes by a name of this machine, from no page or from a page of the same."""

    def __init__(self, app: ASGIApp) -> None:
        """Stand before an application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or turn it away."""
        if scope["type"] == "lifespan" or is_own(Headers(scope=scope)):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await WebSocketClose(protocol.CLOSE_UNAUTHORIZED)(scope, receive, send)
        else:
            sentence = (
                "a gateway without keys answers pages of its own origin alone, by the name"
                " localhost or 127.0.0.1"
            )
            answer = JSONResponse(_body(ErrorCode.BAD_KEY, sentence), 403)
            await answer(scope, receive, send)


class BodyLimit:
    """Takes in no more of a request's body than any route needs."""

    def __init__(self, app: ASGIApp) -> None:
        """Stand before an application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it for its size."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "0")
        if int(declared) > MAX_BODY_BYTES:
            sentence = f"a body of {declared} bytes, at most {MAX_BODY_BYTES} are taken here"
            answer = JSONResponse(_body(ErrorCode.TOO_LARGE, sentence), 413)
            await answer(scope, receive, send)
            return
        num_bytes = 0

        async def receive_some() -> Message:
            nonlocal num_bytes
            message = await receive()
            num_bytes += len(message.get("body", b""))
            # A body that does not say its size is cut off as if its sender had left.
            return message if num_bytes <= MAX_BODY_BYTES else {"type": "http.disconnect"}

        await self._app(scope, receive_some, send)


class FaultGuard:
    """Answers for an application that has failed."""

    def __init__(self, app: ASGIApp) -> None:
        """Stand before an application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; log a fault once, and tell the client its number."""
        is_begun = False

        async def send_and_note(message: Message) -> None:
            nonlocal is_begun
            is_begun = True
            await send(message)

        try:
            # A WebSocket's frames are not to go through one more hand.
            is_http = scope["type"] == "http"
            await self._app(scope, receive, send_and_note if is_http else send)
        except Exception:
            request_id = uuid.uuid4().hex[:12]
            logger.exception("request_failed %s, request %s", scope.get("path"), request_id)
            if scope["type"] == "http" and not is_begun:
                sentence = f"the gateway has a fault; its log has it as request {request_id}"
                await JSONResponse(_body(ErrorCode.INTERNAL, sentence), 500)(scope, receive, send)


def is_own(headers: Headers) -> bool:
    """Tell whether a request came by a name of this machine and from no foreign page."""
    host = headers.get("host", "")
    if urlsplit(f"//{host}").hostname not in LOOPBACK_HOSTS:
        return False
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc == host


def _body(code: ErrorCode, sentence: str) -> dict[str, object]:
    return {"code": code, "message": sentence, "is_retryable": False}
