"""The gateway's plain HTTP routes: tokens, worlds, health, metrics.

It does not know sessions.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from services import protocol
from services.gateway.asyncapi import asyncapi
from services.gateway.auth import bearer_token
from services.gateway.drain import Drain
from services.gateway.parts import Parts
from services.gateway.worlds import WorldsAnswer

router = APIRouter()


def parts_of(request: Request) -> Parts:
    """Return the gateway's parts."""
    parts: Parts = request.app.state.parts
    return parts


def drain_of(request: Request) -> Drain:
    """Return what says whether the gateway drains."""
    drain: Drain = request.app.state.drain
    return drain


PartsOf = Annotated[Parts, Depends(parts_of)]
DrainOf = Annotated[Drain, Depends(drain_of)]


class TokenRequest(BaseModel):
    """What a token is asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    releases: tuple[str, ...] = Field(
        (), max_length=16, description="digests or versions that it may open, the key's when empty"
    )


class TokenAnswer(BaseModel):
    """A token for one session."""

    token: str = Field(description="for the Authorization header or `open.token`")
    expires_at: float = Field(description="seconds since 1970")


class Readiness(BaseModel):
    """Whether a session can be opened now, and how much room there is."""

    is_ready: bool
    is_draining: bool
    num_backends_up: int
    num_free_slots: int
    num_sessions: int = Field(description="live ones of this gateway")
    num_queued_sessions: int


@router.post(protocol.TOKEN_PATH)
def issue_token(
    parts: PartsOf,
    authorization: Annotated[str | None, Header()] = None,
    asked: TokenRequest | None = None,
) -> TokenAnswer:
    """Give a short-lived token, good for one session, for an API key."""
    key = parts.authority.key_of(bearer_token(authorization))
    parts.quota.take_message(key)
    token, expires_at = parts.authority.issue(key, () if asked is None else asked.releases)
    parts.audit.write("token", key_id=key.key_id, expires_at=expires_at)
    return TokenAnswer(token=token, expires_at=expires_at)


@router.get(protocol.WORLDS_PATH)
def list_worlds(request: Request, parts: PartsOf) -> WorldsAnswer:
    """Say which releases are served and in which worlds a session can start."""
    return WorldsAnswer.of(parts.pool, is_fake=request.app.state.is_fake)


@router.get("/health/live")
def is_live() -> dict[str, bool]:
    """Say that the process answers."""
    return {"is_live": True}


@router.get("/health/ready", responses={503: {"model": Readiness}})
def is_ready(parts: PartsOf, drain: DrainOf) -> JSONResponse:
    """Say whether a session can be opened: 503 while draining and while no backend takes one."""
    readiness = readiness_of(parts, drain)
    return JSONResponse(readiness.model_dump(), 200 if readiness.is_ready else 503)


@router.get("/metrics")
def metrics(parts: PartsOf) -> Response:
    """Return Prometheus's series."""
    parts.directory.measure()
    parts.metrics.queued_sessions.set(parts.admission.length)
    parts.metrics.measure_backends(parts.pool)
    return Response(parts.metrics.text(), media_type=parts.metrics.content_type)


@router.get("/asyncapi.json")
def describe_protocol() -> JSONResponse:
    """Return the WebSocket protocol as an AsyncAPI 3 document."""
    return JSONResponse(asyncapi())


def readiness_of(parts: Parts, drain: Drain) -> Readiness:
    """Return whether a session can be opened now."""
    has_room = parts.pool.num_free > 0 or parts.admission.length < parts.config.max_queued_sessions
    return Readiness(
        is_ready=parts.pool.is_any_up and has_room and not drain.is_begun,
        is_draining=drain.is_begun,
        num_backends_up=sum(backend.is_up for backend in parts.pool),
        num_free_slots=parts.pool.num_free,
        num_sessions=len(parts.directory),
        num_queued_sessions=parts.admission.length,
    )
