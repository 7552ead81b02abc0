"""The gateway's HTTP and WebSocket application.

It puts routes before the parts and turns refusals into answers. It does not know how sessions are
served or how the process is started and stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.websockets import WebSocket

from services import protocol
from services.contract import ErrorCode, SessionError
from services.gateway import admin, kserve, routes
from services.gateway.auth import bearer_token
from services.gateway.discovery import SCHEME, follow
from services.gateway.drain import Drain
from services.gateway.entrance import Visitor
from services.gateway.grpc_proxy import GrpcProxy
from services.gateway.guard import BodyLimit, FaultGuard, OwnPagesOnly
from services.gateway.parts import Parts
from services.gateway.player_socket import PlayerSocket
from services.gateway.refusal import REFUSALS, refuse_socket
from services.gateway.session import Session
from services.gateway.viewer_files import ViewerFiles

_VERSION = "1"


def create_app(
    build: Callable[[], Parts], *, is_fake: bool = False, is_open: bool = False
) -> FastAPI:
    """Return the application; the parts are built when its event loop runs.

    Args:
        build: makes the parts.
        is_fake: whether the engines only draw patterns, which is told to clients.
        is_open: whether no key is asked for, so that foreign pages must be kept out.
    """
    app = FastAPI(
        title="Worldloom gateway",
        version=_VERSION,
        description="Sessions of an interactive world model. The WebSocket is in asyncapi.yaml.",
        lifespan=_lifespan(build, is_fake=is_fake),
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
    )
    app.include_router(routes.router)
    app.include_router(admin.router)
    app.include_router(kserve.router)
    app.add_exception_handler(SessionError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _no_such_thing)
    app.add_middleware(BodyLimit)
    app.add_middleware(FaultGuard)
    if is_open:
        app.add_middleware(OwnPagesOnly)
    app.add_api_websocket_route(protocol.SESSION_PATH, _play)
    app.mount("/", ViewerFiles(), name="viewer")
    return app


def _lifespan(
    build: Callable[[], Parts], *, is_fake: bool
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def live(app: FastAPI) -> AsyncIterator[None]:
        parts = build()
        app.state.parts = parts
        app.state.drain = Drain(parts)
        app.state.is_fake = is_fake
        chores = [parts.directory.keep_time(), *_backends(parts)]
        tasks = [asyncio.create_task(chore) for chore in chores]
        proxy = GrpcProxy(parts, app.state.drain)
        app.state.grpc = proxy
        if parts.config.grpc_port is not None:
            await proxy.start(parts.config.host, parts.config.grpc_port)
        try:
            yield
        finally:
            await proxy.stop()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await parts.retirement.close()
            await parts.pool.close()
            parts.audit.close()
            parts.tracing.close()

    return live


def _backends(parts: Parts) -> Iterator[Coroutine[None, None, None]]:
    """Add the backends of the settings; yield the work of following those behind a name."""
    for config in parts.config.backends:
        if config.address.startswith(SCHEME):
            seconds = parts.config.resolve_seconds
            yield follow(config, parts.pool, parts.retirement, seconds)
        else:
            parts.pool.add(config)


async def _play(websocket: WebSocket) -> None:
    offered = websocket.scope["subprotocols"]
    is_spoken = protocol.SUBPROTOCOL in offered
    await websocket.accept(subprotocol=protocol.SUBPROTOCOL if is_spoken else None)
    socket = PlayerSocket(websocket)
    parts: Parts = websocket.app.state.parts
    if offered and not is_spoken:
        sentence = f"subprotocols {', '.join(offered)}, expected {protocol.SUBPROTOCOL}"
        await refuse_socket(socket, SessionError(ErrorCode.UNSUPPORTED_VERSION, sentence))
        return
    drain: Drain = websocket.app.state.drain
    if drain.is_begun:
        sentence = "the gateway is draining, try again elsewhere"
        await refuse_socket(socket, SessionError(ErrorCode.SHUTTING_DOWN, sentence))
        return
    headers = websocket.headers
    visitor = Visitor(
        address="" if websocket.client is None else websocket.client.host,
        token=bearer_token(headers.get("authorization")),
        traceparent=headers.get("traceparent"),
    )
    await Session(parts, socket, visitor).run()


async def _refused(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, SessionError):
        raise error
    body = {"code": error.code, "message": error.message, "is_retryable": error.is_retryable}
    return JSONResponse(body, REFUSALS[error.code].http_status)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    first = error.errors()[0]
    path = ".".join(map(str, first["loc"]))
    sentence = f"{path}: {first['msg']} (value {str(first.get('input'))[:200]!r})"
    return await _refused(request, SessionError(ErrorCode.BAD_MESSAGE, sentence))


async def _no_such_thing(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    body = {"code": ErrorCode.BAD_MESSAGE, "message": error.detail, "is_retryable": False}
    return JSONResponse(body, error.status_code)
